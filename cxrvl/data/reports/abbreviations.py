"""What does an abbreviation stand for, and how is a phrase abbreviated? A table of radiology's own, with its ambiguities."""

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from cxrvl.data.reports.edits import Edit
from cxrvl.data.reports.phrases import Phrases, lower

TRUNCATION, AMBIGUOUS = "truncation", "ambiguous"
FAR = 120
"""Characters before and behind an abbreviation that may decide what it means."""
_FIRST = re.compile(r"[A-Za-z0-9]+")
_NEVER_LAST = ("versus", "with", "without", "status post", "rule out", "consistent with")


class Abbreviation(NamedTuple):
    """One row of the table.

    kind: anatomy, finding, device, procedure, clinical; truncation: a word cut short, one only with its full stop;
    ambiguous: several meanings, told apart by the beginnings of words in `context`.
    """

    short: str
    long: str
    kind: str
    context: tuple[str, ...]


@cache
def table() -> tuple[Abbreviation, ...]:
    """Return all rows of abbreviations.csv."""
    text = files("cxrvl.data.reports").joinpath("abbreviations.csv").read_text(encoding="utf-8")
    return tuple(
        Abbreviation(r["short"], r["long"], r["kind"], tuple(w.lower() for w in r["context"].split(";") if w))
        for r in csv.DictReader(text.splitlines())
    )


def expansions(text: str) -> list[Edit]:
    """Return where `text` has abbreviations and what they stand for.

    An ambiguous one is expanded only where words of its sentence speak for one meaning alone; else it is left as it is.
    """
    found: list[Edit] = []
    cut = -1  # where an abbreviation's own full stop ended: no sentence begins behind it
    for match in _shorts(text):
        written, end = match[0], match.end()
        short = _key(written)
        rows = _rows(short)
        long = _meaning(rows, text, match.start(), end)
        if long is None:
            continue
        begins = _sentence_begins(text, match.start(), cut)
        dotted = written.endswith(".") and not short.endswith(".")
        stop = dotted and long not in _NEVER_LAST and _sentence_ends(text, end, rows[0].kind == TRUNCATION)
        cut = end if dotted and not stop else -1
        found.append(Edit(match.start(), end - stop, long[0].upper() + long[1:] if begins else long, "expand"))
    return found


def contractions(text: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """Return where `text` has phrases with an abbreviation: start, end, and all ways to write it, see `contraction`.

    Only abbreviations with one meaning are written, so that `expansions` gives the phrase back.
    """
    phrases, ways = _contractions()
    places = []
    for start, end, phrase in phrases.find(text):
        inside, last = ways[phrase]
        shorts = last if text[end : end + 1] in (".", "") else inside
        if shorts:
            places.append((start, end, shorts))
    return places


def contraction(text: str, start: int, end: int, short: str) -> Edit:
    """Return the edit that abbreviates [start, end), with a capital where a sentence begins."""
    if short[0].islower() and _sentence_begins(text, start, -1):
        short = short[0].upper() + short[1:]
    return Edit(start, end, short, "abbreviate")


def _meaning(rows: tuple[Abbreviation, ...], text: str, start: int, end: int) -> str | None:
    if not rows:
        return None
    if rows[0].kind != AMBIGUOUS:
        return rows[0].long
    from_, to = _sentence(text, start, end)
    around = f"{text[from_:start]} {text[end:to]}".lower()
    if not any(stem in around for row in rows for stem in row.context):
        return None
    words = re.findall(r"[a-z:]+", around)
    votes = [sum(any(word.startswith(stem) for word in words) for stem in row.context) for row in rows]
    best = max(votes)
    if best == 0 or votes.count(best) > 1:
        return None
    return rows[votes.index(best)].long


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the sentence around [start, end) begins and ends, or as much of it as decides."""
    first, last = max(0, start - FAR), min(len(text), end + FAR)
    before = max(text.rfind(". ", first, start), text.rfind("\n", first, start), first - 1)
    after = [place for place in (text.find(". ", end, last), text.find("\n", end, last)) if place >= 0]
    return before + 1, min(after, default=last)


def _sentence_ends(text: str, end: int, truncation: bool) -> bool:
    """Whether the full stop before `end` ends a sentence too.

    It does at the end of the text and before a capital; behind a word cut short, which has a stop of its own, only if
    the capital begins no abbreviation.
    """
    rest = text[end : end + FAR].lstrip()
    if not rest or rest[0] == "\n" or text[end : end + 1] == "\n":
        return True
    if not text[end].isspace() or not (rest[0].isupper() or rest[0].isdigit()):
        return False
    return not truncation or (rest[1:2].islower() and re.split(r"[\s.,;]", rest, maxsplit=1)[0] not in _by_short())


def _rows(short: str) -> tuple[Abbreviation, ...]:
    """What an abbreviation may mean: as it is written, else with its first letter small, else all in small letters."""
    by_short = _by_short()
    return by_short.get(short) or by_short.get(short[0].lower() + short[1:]) or by_short.get(short.lower(), ())


def _sentence_begins(text: str, start: int, cut: int) -> bool:
    end = start
    while end and text[end - 1].isspace():
        end -= 1
    return not end or (text[end - 1] in ".!?:" and end != cut)


def _key(written: str) -> str:
    return " ".join(written.replace(".", " ").split()) if "." in written else " ".join(written.split())


@cache
def _by_short() -> Mapping[str, tuple[Abbreviation, ...]]:
    groups: dict[str, list[Abbreviation]] = {}
    for row in table():
        groups.setdefault(_key(row.short), []).append(row)
    return {short: tuple(rows) for short, rows in groups.items()}


def _shorts(text: str) -> Iterator[re.Match[str]]:
    """Yield what is written like an abbreviation."""
    patterns, place = _short_patterns(), 0
    for word in _FIRST.finditer(lower(text)):
        pattern = patterns.get(word[0])
        if pattern is not None and word.start() >= place:
            match = pattern.match(text, word.start())
            if match is not None:
                place = match.end()
                yield match


@cache
def _short_patterns() -> Mapping[str, re.Pattern[str]]:
    """First word, in small letters -> every abbreviation that begins with it, as written.

    A full stop may follow, and must where a word is only cut short. ValueError for an abbreviation that begins with
    neither letter nor digit.
    """
    cut = {row.short for row in table() if row.kind == TRUNCATION}
    forms: dict[str, list[str]] = {}
    for short in sorted({row.short for row in table()}, key=lambda short: (-len(short), short)):
        first = _FIRST.match(short)
        if first is None:
            raise ValueError(f"abbreviation {short!r} begins with no letter and no digit")
        words = r"\.?\s".join(re.escape(word) for word in short.removesuffix(".").split())
        initial = f"[{words[0].upper()}{words[0]}]{words[1:]}" if words[0].islower() else words
        body = f"(?i:{words})" if short in cut else initial
        stop = r"\." if short in cut else r"\.?" if short.isalpha() and short.islower() else ""
        forms.setdefault(first[0].lower(), []).append(body + stop)
    return {
        first: re.compile(rf"(?<![\w/.-])(?:{'|'.join(those)})(?![\w/-])(?<![.\s]\s)") for first, those in forms.items()
    }


@cache
def _contractions() -> tuple[Phrases, Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]]:
    """The phrases, and how each is written: inside a sentence, and at its end, where a stop would be read as its own."""
    groups: dict[str, list[Abbreviation]] = {}
    for row in table():
        if row.kind != AMBIGUOUS:
            groups.setdefault(row.long.lower(), []).append(row)
    ways = {
        long: (
            tuple(row.short + "." if row.kind == TRUNCATION else row.short for row in rows),
            tuple(row.short for row in rows if row.kind != TRUNCATION),
        )
        for long, rows in groups.items()
    }
    return Phrases(ways), ways
