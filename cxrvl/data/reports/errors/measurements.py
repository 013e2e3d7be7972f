"""Measurement: another number stands before the unit, or another unit behind the number."""

import re

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors.reading import Reading, says_the_same

_NUMBER = r"\d{1,3}(?:\.\d{1,2})?"
_MEASURE = re.compile(
    rf"(?<![\w.,/-])(?P<first>{_NUMBER})(?:(?P<between> ?[x\u00d7] ?| ?- ?| to | by )(?P<second>{_NUMBER}))?"
    r"(?P<gap>[ -]?)(?P<unit>cm|mm|centimeters?|centimetres?|millimeters?|millimetres?|%|percent|degrees?)(?!\w)",
    re.I,
)
_OTHER_UNIT = {"cm": "mm", "mm": "cm"}
FACTORS = (0.3, 0.4, 0.5, 2.0, 2.5, 3.0)
"""By what a number is multiplied: no rounding makes the two alike."""
MOST_PERCENT = 100
_SHARES = ("%", "percent")


def places(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every measure with a unit, with another number, or (one in four of cm and mm) the other unit."""
    edits = []
    for match in _MEASURE.finditer(reading.text):
        unit = _OTHER_UNIT.get(match["unit"])
        change_unit, factor = rng.random() < 0.25, FACTORS[int(rng.integers(len(FACTORS)))]
        if unit and change_unit:
            edits.append(Edit(match.start("unit"), match.end("unit"), unit, "measurement"))
            continue
        numbers = [match[name] for name in ("first", "second") if match[name]]
        new = _scaled(numbers, factor)
        if new is None or (match["unit"].lower() in _SHARES and any(float(number) > MOST_PERCENT for number in new)):
            continue
        end = match.end("second") if match["second"] else match.end("first")
        edits.append(Edit(match.start("first"), end, (match["between"] or "").join(new), "measurement"))
    return edits


def holds(before: Reading, after: Reading, change: Change) -> bool:
    """The findings are the same, with another number or unit."""
    return change.before != change.after and says_the_same(before, after)


def _scaled(numbers: list[str], factor: float) -> list[str] | None:
    """Multiply all numbers of a measure, written with as many decimals; doubled where that makes nought or no change."""
    for by in (factor, 2.0):
        new = [f"{float(number) * by:.{len(number.partition('.')[2])}f}" for number in numbers]
        moved = all(float(a) > 0 and float(a) != float(b) for a, b in zip(new, numbers, strict=True))
        if moved and len({*map(float, new)}) == len({*map(float, numbers)}):
            return new
    return None
