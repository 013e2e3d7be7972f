"""What does a report say, sentence by sentence, in the form in which the errors look for their places?"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from cxrvl.data.labeler import Labeler, Mention, strongest
from cxrvl.data.reports.sentences import split_sentences
from cxrvl.data.reports.spans import Span

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0
DEVICES = "Support Devices"
FAR = 300
"""Words further away than this many characters belong to something else."""
_LABELER = Labeler("findings")


@dataclass(frozen=True)
class Reading:
    """A text, its sentences, every mention of a finding, and what the whole says of each finding."""

    text: str
    sentences: tuple[Span, ...]
    mentions: tuple[Mention, ...]
    values: Mapping[str, float]

    @staticmethod
    def of(text: str) -> "Reading":
        """Read a text."""
        mentions = tuple(_LABELER.mentions(text))
        return Reading(text, tuple(split_sentences(text)), mentions, strongest(mentions))

    def sentence_at(self, place: int) -> Span:
        """Return the sentence of a place in the text; an empty one between sentences."""
        number = bisect_right(self.sentences, place, key=lambda span: span.start) - 1
        span = self.sentences[number] if number >= 0 else Span(place, place)
        return span if place < span.end else Span(place, place)

    def within(self, span: Span) -> tuple[Mention, ...]:
        """Return the mentions that begin inside a span."""
        first = bisect_left(self.mentions, span.start, key=lambda m: m.start)
        return self.mentions[first : bisect_left(self.mentions, span.end, key=lambda m: m.start)]

    def nearest(self, place: int, end: int) -> Mention | None:
        """Return what the words [place, end) are said of.

        It is the mention around them, else the first one behind them in the same part of the sentence, else the last
        one before them there.
        """
        span = self.sentence_at(place)
        before = self.within(Span(max(span.start, place - FAR), place))[::-1]
        around = [m for m in (*before, *self.within(Span(place, end))) if place < m.end]
        behind = self.within(Span(end, min(span.end, end + FAR)))[:1]
        before = tuple(m for m in before if m.end <= place)[:1]
        reached = [m for m in behind if not set(self.text[end : m.start]) & set(",;:.")]
        reached += [m for m in before if not set(self.text[m.end : place]) & set(";:.")]
        return next(iter((*around, *reached)), None)

    @cached_property
    def lower(self) -> str:
        """The text in lower case, of the same length."""
        return "".join(c.lower() if len(c.lower()) == 1 else c for c in self.text)


def changed(before: Reading, after: Reading) -> Iterator[str]:
    """Yield the findings of which the two say different things."""
    for label in sorted({*before.values, *after.values}):
        if before.values.get(label) != after.values.get(label):
            yield label


def says_the_same(before: Reading, after: Reading) -> bool:
    """Whether two texts state every finding alike."""
    return before.values == after.values


def read_rules(name: str) -> Any:
    """Return the content of one of this folder's YAML files."""
    import yaml

    return yaml.safe_load(files("cxrvl.data.reports.errors").joinpath(name).read_text(encoding="utf-8"))
