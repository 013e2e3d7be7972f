"""On which side is a finding that a report mentions, where, how severe, how large, and has it changed?"""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

from cxrvl.data.labeler.labeler import Labeler
from cxrvl.data.labeler.mentions import ABSENT, Mention
from cxrvl.data.reports.sentences import split_sentences

KINDS = ("side", "severity", "zone", "change")


class Cue(NamedTuple):
    """A value and the characters of the text that say it."""

    value: str
    start: int
    end: int


class Size(NamedTuple):
    """A measurement in millimetres (the largest of several) and the characters of the text that say it."""

    mm: float
    start: int
    end: int


class Described(NamedTuple):
    """A mention that is not denied, and what its sentence says of it; None = nothing.

    side: right, left, both; severity: mild, moderate, severe; zone: upper, middle, lower; change: new, worse, better,
    unchanged; size: a measurement.
    """

    mention: Mention
    side: Cue | None = None
    severity: Cue | None = None
    zone: Cue | None = None
    change: Cue | None = None
    size: Size | None = None


def describe(text: str, labeler: Labeler | None = None) -> list[Described]:
    """Return the mentions of `text` that are present or uncertain with their attributes, in the order of the text.

    A cue belongs to the finding it stands beside: in one sentence the words before a finding and behind it, up to
    where the next finding's begin. A finding without a side of its own takes that of its neighbour in the sentence
    ("right effusion and atelectasis"); nothing else is handed on. Abbreviations are best expanded before.
    """
    mentions = (labeler or Labeler("findings")).mentions(text)
    described: list[Described] = []
    for span in split_sentences(text):
        inside = [m for m in mentions if span.start <= m.start < span.end]
        if inside:
            described += _described(text, span.start, span.end, inside)
    return described


def _described(text: str, start: int, end: int, mentions: list[Mention]) -> list[Described]:
    sentence = text[start:end].lower()
    if len(sentence) != end - start:  # a few letters have a longer lower case; places must stay right
        sentence = "".join(c.lower() if len(c.lower()) == 1 else c for c in text[start:end])
    sites = _sites([(m.start - start, m.end - start) for m in mentions])
    edges = [0, *(_edge(sentence, a[1], b[0]) for a, b in pairwise(sites)), len(sentence)]
    cues = {kind: _cues(kind, sentence) for kind in KINDS}
    sizes = _sizes(sentence)
    own: list[dict[str, Cue | None]] = []
    for number, site in enumerate(sites):
        from_, to = edges[number], edges[number + 1]
        own.append({kind: _nearest([c for c in cues[kind] if from_ <= c.start < to], site, kind) for kind in KINDS})
    result = []
    for mention in mentions:
        if mention.value == ABSENT:
            continue
        number = next(n for n, (a, b) in enumerate(sites) if a <= mention.start - start < b)
        found = {kind: own[number][kind] for kind in KINDS}
        if mention.label in _content()["midline"]:
            found["side"] = None
        elif found["side"] is None:
            found["side"] = _handed_on([o["side"] for o in own], number)
        size = _nearest_size([s for s in sizes if edges[number] <= s.start < edges[number + 1]], sites[number])
        moved = {k: c._replace(start=c.start + start, end=c.end + start) if c else None for k, c in found.items()}
        measured = size._replace(start=size.start + start, end=size.end + start) if size else None
        result.append(Described(mention, size=measured, **moved))
    return result


def _sites(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join mentions that overlap: one phrase may name several findings."""
    sites: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if sites and start < sites[-1][1]:
            sites[-1] = (sites[-1][0], max(end, sites[-1][1]))
        else:
            sites.append((start, end))
    return sites


def _edge(sentence: str, end: int, start: int) -> int:
    """Where, between two findings, the second one's words begin."""
    marks = _marks()
    for pattern in marks:
        found = [match.start() for match in pattern.finditer(sentence, end, start)]
        if found:
            return found[-1]
    return end


def _cues(kind: str, sentence: str) -> list[Cue]:
    patterns, excluded = _rules()[kind]
    barred = [match.span() for match in excluded.finditer(sentence)] if excluded else []
    found = [Cue(value, *match.span()) for value, pattern in patterns for match in pattern.finditer(sentence)]
    found = [cue for cue in found if not any(a <= cue.start < b for a, b in barred)]
    kept: list[Cue] = []
    for cue in sorted(found, key=lambda c: (c.start - c.end, c.start)):  # the longest first
        if not any(cue.start < other.end and other.start < cue.end for other in kept):
            kept.append(cue)
    return sorted(kept, key=lambda c: c.start)


def _nearest(cues: list[Cue], site: tuple[int, int], kind: str) -> Cue | None:
    """Take the cue next to the finding, one before it rather than one behind it; two sides are both."""
    if not cues:
        return None
    if kind == "side" and len({cue.value for cue in cues}) > 1:
        return Cue("both", cues[0].start, cues[-1].end)
    before = [cue for cue in cues if cue.start < site[1]]
    return before[-1] if before else cues[0]


def _handed_on(sides: list[Cue | None], number: int) -> Cue | None:
    """The side of the neighbour before, else of the next one."""
    before = [side for side in sides[:number] if side is not None]
    return before[-1] if before else next((side for side in sides[number + 1 :] if side is not None), None)


_MEASURE = re.compile(
    r"(?P<numbers>\d+(?:\.\d+)?(?:\s*(?:mm|cm))?(?:\s*(?:x|by)\s*\d+(?:\.\d+)?(?:\s*(?:mm|cm))?){0,2})(?<=m|\d)\s*-?"
    r"(?P<unit>mm|cm|millimeters?|centimeters?)?\b"
)


def _sizes(sentence: str) -> list[Size]:
    sizes = []
    for match in _MEASURE.finditer(sentence):
        unit = match["unit"] or (match["numbers"][-2:] if match["numbers"][-1] == "m" else "")
        if unit:
            factor = 10.0 if unit.startswith("c") else 1.0
            largest = max(float(number) for number in re.findall(r"\d+(?:\.\d+)?", match["numbers"]))
            sizes.append(Size(largest * factor, *match.span()))
    return sizes


def _nearest_size(sizes: list[Size], site: tuple[int, int]) -> Size | None:
    return min(sizes, key=lambda s: min(abs(s.end - site[0]), abs(s.start - site[1])), default=None)


_Rule = tuple[tuple[tuple[str, re.Pattern[str]], ...], re.Pattern[str] | None]


@cache
def _rules() -> dict[str, _Rule]:
    content = _content()
    return {
        kind: (
            tuple((value, _any(patterns)) for value, patterns in content[kind].items() if value != "not"),
            _any(content[kind]["not"]) if content[kind].get("not") else None,
        )
        for kind in KINDS
    }


@cache
def _marks() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(_content()["strong"]), re.compile(_content()["weak"])


@cache
def _content() -> dict:
    import yaml

    text = files("cxrvl.data.labeler").joinpath("attributes.yaml").read_text(encoding="utf-8")
    content: dict = yaml.safe_load(text)
    return content


def _any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
