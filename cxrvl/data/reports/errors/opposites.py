"""Opposite sentence: a statement is turned into its contrary: clear lungs are not clear, what improved has worsened."""

import re
from functools import cache
from typing import NamedTuple

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors.injection import like
from cxrvl.data.reports.errors.reading import Reading, read_rules

_MARK = re.compile(r"\(?\d{1,2}[.)]\s+|[-*\u2022]\s+")
_OPENING = ("no ", "there ")


class _Rules(NamedTuple):
    statements: re.Pattern[str]
    contrary: dict[str, str]
    denied: re.Pattern[str]
    unless: re.Pattern[str]


def places(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every statement of the table with its contrary."""
    rules, text, edits = _rules(), reading.lower, []
    for span in reading.sentences:
        mark = _MARK.match(text, span.start, span.end)
        begin = mark.end() if mark else span.start
        for match in rules.statements.finditer(text, span.start, span.end):
            statement = " ".join(match[0].split())
            if statement.startswith(_OPENING):
                if match.start() != begin or not rules.denied.match(text[match.end() : span.end]):
                    continue
            elif rules.unless.match(text, match.end()):
                continue
            contrary = like(reading.text[match.start() : match.end()], rules.contrary[statement])
            edits.append(Edit(match.start(), match.end(), contrary, "opposite_sentence"))
    return edits


def holds(before: Reading, after: Reading, change: Change) -> bool:
    """One sentence says something else; all others are the same."""
    at = [s.of(before.text) for s in before.sentences], [s.of(after.text) for s in after.sentences]
    return len(at[0]) == len(at[1]) and sum(a != b for a, b in zip(*at, strict=True)) == 1


@cache
def _rules() -> _Rules:
    content = read_rules("opposites.yaml")
    contrary = dict(content["forward"])
    for first, second in content["both"]:
        contrary.setdefault(first, second)
        contrary.setdefault(second, first)
    forms = (re.escape(s).replace(r"\ ", r"\s+") for s in sorted(contrary, key=len, reverse=True))
    return _Rules(
        re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?!\w)"),
        contrary,
        re.compile(content["denied"]),
        re.compile(content["not_before"]),
    )
