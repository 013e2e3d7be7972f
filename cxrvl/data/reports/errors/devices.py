"""Devices: one is added that is not there, called something else, or put somewhere else."""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors import locations
from cxrvl.data.reports.errors.injection import like, with_article
from cxrvl.data.reports.errors.reading import ABSENT, DEVICES, PRESENT, Reading, changed, read_rules, says_the_same


class _Rules(NamedTuple):
    names: re.Pattern[str]
    device: dict[str, str]
    written: dict[str, str]
    adds: dict[str, list[str]]
    alike: dict[str, list[str]]
    positions: re.Pattern[str]
    elsewhere: dict[str, list[str]]
    unless_before: re.Pattern[str]
    unless_after: re.Pattern[str]


def additions(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return a sentence on each device that the text does not name, behind a sentence drawn for it."""
    if not reading.sentences or reading.values.get(DEVICES) == ABSENT:
        return []
    there, edits = {device for _, _, device in _named(reading.lower)}, []
    for device, sentences in _rules().adds.items():
        place = reading.sentences[int(rng.integers(len(reading.sentences)))].end
        words = sentences[int(rng.integers(len(sentences)))]
        if device not in there:
            stop = "" if reading.text[place - 1] in ".!?:" else "."
            edits.append(Edit(place, place, f"{stop} {words}", "add_device"))
    return edits


def addition_holds(before: Reading, after: Reading, change: Change) -> bool:
    """One device more is named; nothing is said otherwise but that there is a device."""
    more = _count(after) - _count(before)
    return more == 1 and after.values.get(DEVICES) == PRESENT and set(changed(before, after)) <= {DEVICES}


def renamings(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every device's name with the name of another that the text does not name, and that may stand there."""
    rules, edits = _rules(), []
    named = list(_named(reading.lower))
    there = {device for _, _, device in named}
    for start, end, device in named:
        others = [other for other in rules.alike.get(device, ()) if other not in there]
        about = reading.nearest(start, end)
        if not others or (about is not None and about.value == ABSENT) or _bound(reading.lower, start, end):
            continue
        new = rules.written[others[int(rng.integers(len(others)))]]
        if reading.lower[start:end].endswith("s") and not new.endswith("s"):
            new += "s"
        edits.append(with_article(reading.text, start, end, like(reading.text[start:end], new), "rename_device"))
    return edits


def renaming_holds(before: Reading, after: Reading, change: Change) -> bool:
    """One device gives way to another kind; the findings are the same."""
    a, b = [d for _, _, d in _named(before.lower)], [d for _, _, d in _named(after.lower)]
    return len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1 and says_the_same(before, after)


def movings(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return every place where a device ends, and every side it is on, with another one."""
    rules, edits = _rules(), []
    for match in rules.positions.finditer(reading.lower):
        if _of_a_device(reading, match.start(), match.end()):
            others = rules.elsewhere[match[0]]
            new = like(reading.text[match.start() : match.end()], others[int(rng.integers(len(others)))])
            edits.append(with_article(reading.text, match.start(), match.end(), new, "move_device"))
    covered = {place for edit in edits for place in range(edit.start, edit.end)}
    sides = locations.sides(reading, rng, "move_device")
    return edits + [s for s in sides if s.start not in covered and _of_a_device(reading, s.start, s.end)]


def moving_holds(before: Reading, after: Reading, change: Change) -> bool:
    """The devices and the findings are the same; a device's place is not."""
    a, b = [d for _, _, d in _named(before.lower)], [d for _, _, d in _named(after.lower)]
    return a == b and change.before.lower() != change.after.lower() and says_the_same(before, after)


def _of_a_device(reading: Reading, start: int, end: int) -> bool:
    """Whether a place is said of a device that is there."""
    about = reading.nearest(start, end)
    return about is not None and about.label == DEVICES and about.value != ABSENT


def _bound(text: str, start: int, end: int) -> bool:
    """Whether the words around a name belong to that device alone ("dual-lead pacemaker", "pacemaker leads")."""
    rules = _rules()
    return bool(rules.unless_before.search(text[max(0, start - 20) : start]) or rules.unless_after.match(text, end))


def _count(reading: Reading) -> int:
    return len({device for _, _, device in _named(reading.lower)})


def _named(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and device of each name."""
    for match in _rules().names.finditer(text):
        yield match.start(), match.end(), _rules().device[match[0]]


@cache
def _rules() -> _Rules:
    content = read_rules("devices.yaml")
    devices = content["devices"]
    device = {name.lower(): key for key, rule in devices.items() for name in rule["names"]}
    alike: dict[str, list[str]] = {}
    for group in content["alike"]:
        for one in group:
            alike[one] = alike.get(one, []) + [other for other in group if other != one]
    elsewhere: dict[str, list[str]] = {}
    for group in content["positions"]:
        for place in group:
            elsewhere.setdefault(place, [other for other in group if other != place])
    return _Rules(
        _words(device), device, {key: rule["names"][0] for key, rule in devices.items()},
        {key: rule["adds"] for key, rule in devices.items()}, alike, _words(elsewhere), elsewhere,
        re.compile(rf"{content['not_before']}\Z"), re.compile(content["not_after"]),
    )  # fmt: skip


def _words(words: dict[str, str] | dict[str, list[str]]) -> re.Pattern[str]:
    forms = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])")
