"""What did the user probably mean by this misspelt word?"""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to `word`, or None when nothing is close."""
    matches = get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` and, when the list is short, what is known."""
    words = sorted(str(k) for k in known)
    close = nearest(word, words)
    hint = f"; did you mean '{close}'?" if close else ""
    return hint + (f" (known: {', '.join(words)})" if words and len(words) <= 30 else "")
