"""How is one error put into a text, such that it says what it should and nothing else?"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cxrvl.data.reports.edits import Change, Edit, Styled, apply_edits
from cxrvl.data.reports.errors.reading import Reading

TRIED = 8
"""How many places are tried: of a text with more, where none of so many held, the rest is taken to be like them."""
_ARTICLE = re.compile(r"(?<![\w-])(?P<a>[Aa])(?P<n>n?)\s\Z")

Places = Callable[[Reading, np.random.Generator], Sequence[Edit]]
Holds = Callable[[Reading, Reading, Change], bool]


@dataclass(frozen=True)
class Injection:
    """One kind of error.

    places: the edits that would make the error, one per place. holds: whether the text before and after one differ in
    what the error claims and in nothing else, judged by the rule labeler and by the error's own words.
    """

    name: str
    places: Places
    holds: Holds

    def __call__(self, text: str, rng: np.random.Generator) -> Styled | None:
        """Return the text with the error at one place, drawn among those where it holds; None if there is none."""
        before = Reading.of(text)
        edits = self.places(before, rng)
        for number in rng.permutation(len(edits))[:TRIED]:
            found = apply_edits(text, [edits[number]])
            if found.changes and self.holds(before, Reading.of(found.text), found.changes[0]):
                return found
        return None


def with_article(text: str, start: int, end: int, replacement: str, kind: str) -> Edit:
    """Replace words, and "a" or "an" before them where the new words need the other one."""
    article = _ARTICLE.search(text, max(0, start - 4), start)
    if article is None or not replacement[:1].isalpha():
        return Edit(start, end, replacement, kind)
    new = article["a"] + "n" * (replacement[0].lower() in "aeiou")
    if new == article["a"] + article["n"]:
        return Edit(start, end, replacement, kind)
    return Edit(article.start("a"), end, f"{new} {replacement}", kind)


def like(written: str, words: str) -> str:
    """Give words the case of those they replace: all capitals, a capital at the beginning, or as they are."""
    if len(written) > 1 and written.isupper() and " " in written:
        return words.upper()
    return words[0].upper() + words[1:] if written[:1].isupper() and not written[1:2].isupper() else words
