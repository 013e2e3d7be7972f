"""What does a whole report say of each finding?"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from cxrvl.data.labeler.mentions import Mention, mentions
from cxrvl.data.labeler.vocabulary import to_chestxray14, to_chexpert
from cxrvl.data.reports.cleaning import clean
from cxrvl.data.reports.sentences import split_sentences
from cxrvl.data.reports.spans import Span
from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 1000
"""Characters of a sentence that is read as one; no real one is longer."""
VOCABULARIES = ("chexpert", "chestxray14", "findings")
_STRENGTH = {1.0: 2, -1.0: 1, 0.0: 0}


class Labeler:
    """A rule labeler of chest X-ray reports.

    Args:
        vocabulary: chexpert (14 observations), chestxray14 (14 labels), or findings: all that the rules tell apart.

    A finding is present if any mention says so, else uncertain, else absent; NaN = not mentioned (CheXpert's order).
    """

    def __init__(self, vocabulary: str = "chexpert") -> None:
        if vocabulary not in VOCABULARIES:
            raise ConfigError(f"labeler vocabulary {vocabulary!r}: expected one of {', '.join(VOCABULARIES)}")
        self.vocabulary = vocabulary

    def mentions(self, text: str) -> list[Mention]:
        """Return every mention with its place in `text`, in order."""
        found = []
        for span in _pieces(text):
            found += [m._replace(start=span.start + m.start, end=span.start + m.end) for m in _cached(span.of(text))]
        return sorted(found, key=lambda m: (m.start, m.end, m.label))

    def label(self, text: str) -> dict[str, float]:
        """Return the value of each label of the vocabulary: 1, 0, -1, NaN."""
        found = strongest(m for span in _pieces(text) for m in _cached(span.of(text)))
        if self.vocabulary == "findings":
            return found
        return to_chexpert(found) if self.vocabulary == "chexpert" else to_chestxray14(found)


def strongest(mentions: Iterable[Mention]) -> dict[str, float]:
    """Return what mentions say together of each finding: present before uncertain before absent."""
    found: dict[str, float] = {}
    for mention in mentions:
        held = found.get(mention.label)
        if held is None or _STRENGTH[mention.value] > _STRENGTH[held]:
            found[mention.label] = mention.value
    return found


def label_many(
    texts: Sequence[str], vocabulary: str = "chexpert", cleaning: Iterable[str] | None = None
) -> "pd.DataFrame":
    """Label texts: one row each, one float32 column per label; cleaned first unless `cleaning` is empty."""
    import pandas as pd

    labeler = Labeler(vocabulary)
    steps = None if cleaning is None else list(cleaning)
    rows = [labeler.label(clean(text) if steps is None else clean(text, steps)) for text in texts]
    return pd.DataFrame(rows).astype("float32")


def _pieces(text: str) -> Iterator[Span]:
    """Yield the sentences; what has no full stop for very long is cut at a space, so that any text takes linear time."""
    for span in split_sentences(text):
        begin = span.start
        while span.end - begin > LONGEST:
            space = text.rfind(" ", begin + 1, begin + LONGEST)
            end = space if space > 0 else begin + LONGEST
            yield Span(begin, end)
            begin = end
        yield span if begin == span.start else Span(begin, span.end)


@lru_cache(maxsize=65536)
def _cached(sentence: str) -> tuple[Mention, ...]:
    """Reports repeat their sentences: most are judged once."""
    return tuple(mentions(sentence))
