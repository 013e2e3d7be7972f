"""False prediction and false negation: a finding that is denied or not named is claimed, a claimed one denied."""

import re
from functools import cache
from typing import Any

import numpy as np

from cxrvl.data.reports.edits import Change, Edit
from cxrvl.data.reports.errors.reading import ABSENT, PRESENT, UNCERTAIN, Reading, changed, read_rules
from cxrvl.data.reports.spans import Span

_PREDICTION, _NEGATION = "false_prediction", "false_negation"
_LIST = re.compile(r"(, (?:or |and |nor )?| or | and | nor )")
_AGAIN = re.compile(r"(?i)\s*(?:no|without|or|and|there)\b")
LONGEST = 400
"""Characters of a sentence that is taken apart: a longer one is no plain statement."""
_MARK = re.compile(r"\(?\d{1,2}[.)]\s+|[-*\u2022]\s+")


def predictions(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return edits that claim a finding: one that a list denies is taken out of it, else one not named is added."""
    edits = [edit for span in reading.sentences for edit in _taken_out(reading, span, rng)]
    return edits or _added(reading, rng)


def prediction_holds(before: Reading, after: Reading, change: Change) -> bool:
    """The finding is present and was not; nothing else is said otherwise."""
    label = change.kind.partition(":")[2]
    return (
        before.values.get(label, ABSENT) == ABSENT
        and after.values.get(label) == PRESENT
        and set(changed(before, after)) <= {label, *_rules()["findings"][label].get("with", ())}
    )


def negations(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """Return edits that deny a finding which one sentence alone claims, in its own words where they allow it."""
    edits = []
    for span in reading.sentences:
        claimed = [m for m in reading.within(span) if m.value != ABSENT]
        labels = {m.label for m in claimed}
        if len(claimed) < len(reading.within(span)):
            continue  # what the sentence denies already would be lost
        for label in sorted(labels & set(_rules()["findings"])):
            if labels <= {label, *_rules()["findings"][label].get("with", ())}:
                edit = _turned_round(reading, span) or _denied(reading, span, label, rng)
                edits += [edit._replace(kind=f"{_NEGATION}:{label}")] if edit else []
    return edits


def negation_holds(before: Reading, after: Reading, change: Change) -> bool:
    """The finding is denied and was present or uncertain; nothing else is said otherwise."""
    label = change.kind.partition(":")[2]
    return (
        before.values.get(label) in (PRESENT, UNCERTAIN)
        and after.values.get(label) == ABSENT
        and set(changed(before, after)) <= {label, *_rules()["findings"][label].get("with", ())}
    )


def _taken_out(reading: Reading, span: Span, rng: np.random.Generator) -> list[Edit]:
    """One edit for each finding of "No A, B, or C.": "No A or C. There is B."."""
    start = _behind_mark(reading, span)
    match = _denial().fullmatch(reading.lower, start, span.end) if span.end - start <= LONGEST else None
    if match is None:
        return []
    pieces = _LIST.split(reading.text[match.start("list") : match.end("list")])
    items, edits = pieces[::2], []
    if any(not item.strip() or len(item.split()) > 6 or _AGAIN.match(item) for item in items):
        return []
    place = match.start("list")
    for number, item in enumerate(items):
        labels = {m.label for m in reading.within(Span(place, place + len(item))) if m.value == ABSENT}
        place += len(item) + len(pieces[2 * number + 1] if 2 * number + 1 < len(pieces) else "")
        for label in sorted(labels & set(_rules()["findings"])):
            claim = _claim(label, rng)
            rest = items[:number] + items[number + 1 :]
            if not rest:
                edits.append(Edit(start, span.end, claim, f"{_PREDICTION}:{label}"))
                continue
            joined = f"{', '.join(rest[:-1])}{',' * (len(rest) > 2)} or {rest[-1]}" if len(rest) > 1 else rest[0]
            edits.append(
                _shortened(
                    reading,
                    match.start("list"),
                    span.end,
                    f"{joined}{reading.text[match.end('list') : match.end()]} {claim}",
                    label,
                )
            )
    return edits


def _shortened(reading: Reading, start: int, end: int, new: str, label: str) -> Edit:
    """Leave out of an edit the words that both texts begin with."""
    old, same = reading.text[start:end], 0
    for place, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            break
        same = place + 1 if a == " " else same
    return Edit(start + same, end, new[same:], f"{_PREDICTION}:{label}")


def _added(reading: Reading, rng: np.random.Generator) -> list[Edit]:
    """One edit for each finding that the text does not name: a sentence behind one of its sentences."""
    if not reading.sentences:
        return []
    edits, clear = [], re.search(_rules()["clear"], reading.lower) is not None
    for label in _rules()["findings"]:
        place = reading.sentences[int(rng.integers(len(reading.sentences)))].end
        claim = _claim(label, rng)
        if label not in reading.values and not (clear and label in _rules()["of_the_lungs"]):
            stop = "" if reading.text[place - 1] in ".!?:" else "."
            edits.append(Edit(place, place, f"{stop} {claim}", f"{_PREDICTION}:{label}"))
    return edits


def _claim(label: str, rng: np.random.Generator) -> str:
    """A sentence that claims a finding: "There is a small left pleural effusion." or "Small left pleural effusion."."""
    claims = _rules()["findings"][label]["claim"]
    claim, full = str(claims[int(rng.integers(len(claims)))]), rng.random() < 0.5
    several, claim = claim.startswith("s:"), claim.removeprefix("s:")
    if full:
        return f"There {'are' if several else 'is'} {claim}."
    bare = re.sub(r"^an? ", "", claim)
    return f"{bare[0].upper()}{bare[1:]}."


def _turned_round(reading: Reading, span: Span) -> Edit | None:
    """Deny in the sentence's own words: "There is a small left effusion." becomes "There is no left effusion."."""
    start = _behind_mark(reading, span)
    if span.end - start > LONGEST:
        return None
    match, rule = _assertion().fullmatch(reading.lower, start, span.end), _rules()["asserted"]
    if match is None or len(match["what"].split()) > rule["longest"] or re.search(rule["not_what"], match["what"]):
        return None
    if re.search(rule["not_in"], f"{match['what']}{match['where'] or ''}"):
        return None
    # "There remains" and the like lead up to what is there; denied, they would say that it had been.
    there, capital = match["there"], reading.text[start].isupper()
    opening = (
        f"{'There' if capital else 'there'} {'are' if ' are ' in there else 'is'} no "
        if there
        else "No "
        if capital
        else "no "
    )
    word = reading.text[match.start("what") : match.start("what") + 2]
    first = word[0].lower() if word[1:].islower() else word[0]  # an abbreviation keeps its capitals
    end = match.start("what") + len(match["what"].split()[0])
    return Edit(start, end, opening + first + reading.text[match.start("what") + 1 : end], _NEGATION)


def _denied(reading: Reading, span: Span, label: str, rng: np.random.Generator) -> Edit | None:
    """Put a plain denial in the place of a short sentence that says nothing else."""
    ways, start = _rules()["findings"][label]["deny"], _behind_mark(reading, span)
    way, old = str(ways[int(rng.integers(len(ways)))]), reading.text[start : span.end]
    if len(old.split()) > _rules()["replaced"] or re.search(_rules()["replaced_not"], old.lower()):
        return None
    return Edit(start, span.end, way if old.endswith(".") else way.removesuffix("."), _NEGATION)


def _behind_mark(reading: Reading, span: Span) -> int:
    """Where a sentence begins behind its list mark."""
    mark = _MARK.match(reading.text, span.start, span.end)
    return mark.end() if mark else span.start


@cache
def _rules() -> Any:
    return read_rules("claims.yaml")


@cache
def _denial() -> re.Pattern[str]:
    rule = _rules()["denied"]
    return re.compile(rf"{rule['opens']}(?P<list>[a-z][a-z ,/-]*?){rule['closes']}")


@cache
def _assertion() -> re.Pattern[str]:
    rule = _rules()["asserted"]
    return re.compile(rf"{rule['opens']}{rule['degree']}(?P<what>[a-z][a-z -]*?){rule['closes']}")
