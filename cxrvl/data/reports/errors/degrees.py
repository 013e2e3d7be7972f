"""Severity: a mild finding is called severe, a large effusion small."""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors.injection import like, with_article
from cxrvl.data.reports.errors.reading import ABSENT, DEVICES, Reading, read_rules, says_the_same


class _Rules(NamedTuple):
    words: re.Pattern[str]
    levels: dict[str, dict[str, int]]
    written: dict[str, list[str]]
    manner: re.Pattern[str]
    sized: re.Pattern[str]
    unless: re.Pattern[str]


def places(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every word of degree of a finding that is not denied, with another degree drawn for it."""
    edits = []
    for start, end, scale, level in _degrees(reading.lower):
        about = reading.nearest(start, end)
        if about is None or about.value == ABSENT or about.label == DEVICES:
            continue
        others = [words for number, words in enumerate(_rules().written[scale]) if number != level]
        word = like(reading.text[start:end], others[int(rng.integers(len(others)))])
        edits.append(with_article(reading.text, start, end, word, "severity"))
    return edits


def holds(before: Reading, after: Reading, change: Change) -> bool:
    """The findings are the same, one of them to another degree."""
    written, now = list(_degrees(change.before.lower(), False)), list(_degrees(change.after.lower(), False))
    return (
        len(written) == len(now) == 1
        and (written[0][2] != now[0][2] or written[0][3] != now[0][3])
        and says_the_same(before, after)
    )


def _degrees(text: str, inside: bool = True) -> Iterator[tuple[int, int, str, int]]:
    """Yield start, end, scale and level of each statement of degree; of a range the higher level counts."""
    rules = _rules()
    for match in rules.words.finditer(text):
        if inside and rules.unless.match(text, match.start()):
            continue
        last = match["last"] or match["first"]
        scale = "manner" if last in rules.levels["manner"] else "amount"
        if last in rules.levels["size"] and (
            last not in rules.levels["amount"] or rules.sized.match(text, match.end() + 1)
        ):
            scale = "size"
        if inside and scale == "manner" and not rules.manner.match(text, match.end()):
            continue
        if match["first"] in rules.levels[scale] or match["last"] is None:
            yield match.start(), match.end(), scale, rules.levels[scale][last]


@cache
def _rules() -> _Rules:
    content = read_rules("degrees.yaml")
    levels = {
        name: {word: number for number, words in enumerate(scale["levels"]) for word in words}
        for name, scale in content["scales"].items()
    }
    written = {name: [words[0] for words in scale["levels"]] for name, scale in content["scales"].items()}
    words = "|".join(sorted({re.escape(w) for those in levels.values() for w in those}, key=lambda w: (-len(w), w)))
    return _Rules(
        re.compile(rf"(?<![\w-])(?P<first>{words})(?:{content['range']}(?P<last>{words}))?(?![\w-])"),
        levels,
        written,
        re.compile(rf" {content['scales']['manner']['before']}"),
        re.compile(content["sized"]),
        re.compile(content["not"]),
    )
