"""Where does a text have one of many fixed phrases? One look-up per word instead of one long expression per character."""

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[a-z0-9]+")
_TOUCHES = re.compile(r"[\w/-]")


def lower(text: str) -> str:
    """Return a text in lower case and of the same length: the few letters with a longer lower case stay as they are."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class Phrases:
    """Phrases that stand alone: no letter, digit, hyphen or slash touches them.

    Args:
        phrases: in any case; each begins with a letter a-z or a digit. Of several at one place the longest is found.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_word: dict[str, list[str]] = {}
        for phrase in sorted({phrase.lower() for phrase in phrases}, key=lambda p: (-len(p), p)):
            word = _WORD.match(phrase)
            if word is None:
                raise ValueError(f"phrase {phrase!r} begins with no letter and no digit")
            self._by_word.setdefault(word[0], []).append(phrase)

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and phrase (in lower case), in order, without overlaps."""
        small, place, by_word = lower(text), 0, self._by_word
        for word in _WORD.finditer(small):
            phrases = by_word.get(word[0])
            if phrases is None:
                continue
            start = word.start()
            if start < place or (start and _TOUCHES.match(small, start - 1)):
                continue
            for phrase in phrases:
                end = start + len(phrase)
                if small.startswith(phrase, start) and not _TOUCHES.match(small, end):
                    yield start, end, phrase
                    place = end
                    break
