"""Location: a finding is put on the other side, into another lobe or zone."""

import re
from functools import cache
from typing import NamedTuple

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors.injection import like, with_article
from cxrvl.data.reports.errors.reading import ABSENT, DEVICES, Reading, read_rules, says_the_same


class _Rules(NamedTuple):
    words: re.Pattern[str]
    others: dict[str, list[str]]
    compared: re.Pattern[str]
    unless: re.Pattern[str]
    unless_after: re.Pattern[str]


def places(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every word of place of a finding that is not denied, with another place drawn for it."""
    return [edit for edit in _edits(reading, rng, "location") if _finding(reading, edit)]


def sides(reading: Reading, rng: np.random.Generator, kind: str) -> list[Edit]:
    """Return an edit to the other side for every "left" and "right" that names a place, whatever is there."""
    return [
        edit
        for edit in _edits(reading, rng, kind, device=True)
        if edit.replacement.strip().lower() in ("left", "right")
    ]


def holds(before: Reading, after: Reading, change: Change) -> bool:
    """The findings are the same, one of them in another place."""
    return change.before.lower().split() != change.after.lower().split() and says_the_same(before, after)


def _finding(reading: Reading, edit: Edit) -> bool:
    about = reading.nearest(edit.start, edit.end)
    return about is not None and about.value != ABSENT and about.label != DEVICES


def _edits(reading: Reading, rng: np.random.Generator, kind: str, device: bool = False) -> list[Edit]:
    rules, text, edits = _rules(), reading.lower, []
    for match in rules.compared.finditer(text):
        if match["first"] != match["second"]:
            turned = f"{match['second']}{text[match.start('between') : match.start('second')]}{match['first']}"
            edits.append(
                Edit(match.start(), match.end(), like(reading.text[match.start() : match.end()], turned), kind)
            )
    covered = {place for edit in edits for place in range(edit.start, edit.end)}
    for match in rules.words.finditer(text):
        start, end = match.span()
        if start in covered or (not device and rules.unless.match(text, start)) or _one_of_several(text, start, end):
            continue
        others = rules.others[match[0]]
        word = like(reading.text[start:end], others[int(rng.integers(len(others)))])
        edits.append(with_article(reading.text, start, end, word, kind))
    return edits


def _one_of_several(text: str, start: int, end: int) -> bool:
    """Whether the place is one of a list of places ("left and right", "upper and lower"), or none at all."""
    before, after = text[max(0, start - 24) : start], text[end : end + 28]
    return _rules().unless_after.search(before) is not None or _AND_ANOTHER.match(after) is not None


_AND_ANOTHER = re.compile(
    r"(?: \w+)?(?:,| and| or|/| to| than) ?(?:the )?(?:left|right|upper|middle|lower|apex|base|apical|basal|basilar|lingula)\b"
)


@cache
def _rules() -> _Rules:
    content = read_rules("locations.yaml")
    others: dict[str, list[str]] = {}
    for group in content["groups"]:
        for word in group:
            others[word] = others.get(word, []) + [w for w in group if w not in (word, "middle lobe")]
    for pair in content["pairs"]:
        others[pair["whole"]] = list(pair["others"])
    words = "|".join(re.escape(word) for word in sorted(others, key=len, reverse=True))
    return _Rules(
        re.compile(rf"(?<![\w-])(?:{words})(?![\w-])"),
        others,
        re.compile(rf"\b{content['compared']}"),
        re.compile(content["not"]),
        re.compile(rf"(?<!\w)(?:{content['not_after']})\Z"),
    )
