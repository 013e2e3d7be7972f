"""Where does a text have one of many fixed phrases? One expression, a tree of their letters, reads each place once."""

import re
from collections.abc import Iterable, Iterator

_BEGINS = re.compile(r"[a-z0-9]")


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
        small = {phrase.lower() for phrase in phrases}
        for phrase in small:
            if not _BEGINS.match(phrase):
                raise ValueError(f"phrase {phrase!r} begins with no letter and no digit")
        self._pattern = re.compile(rf"(?<![\w/-]){_tree(small)}(?![\w/-])")

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and phrase (in lower case), in order, without overlaps."""
        for match in self._pattern.finditer(lower(text)):
            yield match.start(), match.end(), match[0]


def _tree(words: Iterable[str]) -> str:
    """An expression for any of these words, the longest first, that branches where they part."""
    behind: dict[str, list[str]] = {}
    for word in words:
        behind.setdefault(word[:1], []).append(word[1:])
    ends = behind.pop("", None) is not None
    branches = "|".join(re.escape(letter) + _tree(rest) for letter, rest in sorted(behind.items()))
    return f"(?:{branches}){'?' if ends else ''}" if behind and (ends or len(behind) > 1) else branches
