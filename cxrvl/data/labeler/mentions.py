"""Which findings does one sentence mention, where, and what does its context make of each?"""

import re
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from cxrvl.data.reports.phrases import lower

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0
_BOUNDARY, _DENIAL, _DOUBT, _SILENCE = "boundary", "denial", "doubt", "silence"


class Mention(NamedTuple):
    """One finding at one place.

    value: 1 present, 0 absent, -1 uncertain. start, end: characters of the text. cue: the words that decided the
    value, "" for a plain mention.
    """

    label: str
    value: float
    start: int
    end: int
    cue: str


class _Finding(NamedTuple):
    label: str
    patterns: tuple[tuple[float, re.Pattern[str]], ...]
    exclude: re.Pattern[str] | None


class _Rules(NamedTuple):
    stems: dict[str, tuple[int, ...]]
    findings: list[_Finding]


class _Context(NamedTuple):
    stems: dict[str, list[str]]
    boundary: re.Pattern[str]
    closes: re.Pattern[str]
    joins: re.Pattern[str]
    clause: re.Pattern[str]
    goes_on_after_comma: re.Pattern[str]
    goes_on_after_and: re.Pattern[str]
    silences: re.Pattern[str]
    part_behind: re.Pattern[str]
    part_before: re.Pattern[str]
    no_denial: re.Pattern[str]
    negates_after: re.Pattern[str]
    negates_before: re.Pattern[str]
    doubts_after: re.Pattern[str]
    doubts_before: re.Pattern[str]


_MARKS = ".,;:!()[]'\"*"
_VALUE, _KEY = re.compile(r"[\w)] ?[:=-] ?\Z"), re.compile(r" ?[:=]| - ")


def mentions(sentence: str) -> list[Mention]:
    """Return what a sentence says, in the order of the findings; places are relative to it."""
    text = lower(sentence)
    numbers, signs = _signs(text)
    if not numbers:
        return []
    found: list[Mention] = []
    segments = _segments(text) if _BOUNDARY in signs else [(0, len(text))]
    findings = _rules().findings
    for number in sorted(numbers):
        finding = findings[number]
        excluded: list[tuple[int, int]] | None = None  # looked for once something is mentioned
        taken: list[tuple[int, int]] = []
        for value, pattern in finding.patterns:
            for match in pattern.finditer(text):
                start, end = match.span()
                if excluded is None:
                    excluded = [other.span() for other in finding.exclude.finditer(text)] if finding.exclude else []
                if end == start or _inside(start, excluded) or any(a < end and start < b for a, b in taken):
                    continue
                taken.append((start, end))
                judged = _judged(finding.label, value, start, end, text, segments, signs)
                if judged is not None:
                    found.append(judged)
    return found


def _inside(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(a <= place < b for a, b in spans)


def _judged(
    label: str, value: float, start: int, end: int, text: str, segments: list[tuple[int, int]], signs: set[str]
) -> Mention | None:
    """Apply the context to a mention; None where it makes it no statement on the finding."""
    if value == ABSENT:
        return Mention(label, ABSENT, start, end, text[start:end])
    begin, finish = next((a, b) for a, b in segments if a <= start < b)
    context, before, after = _context(), text[begin:start], text[end:finish]
    if _SILENCE in signs and label != "Support Devices" and context.silences.search(f"{before}@{after}"):
        return None
    doubt = doubt_behind = None
    if _DOUBT in signs:
        doubt, doubt_behind = _last(context.doubts_after, before), context.doubts_before.search(after)
    if _DENIAL in signs:
        denial = _last(context.negates_after, before, context.no_denial)
        if denial is not None and _reaches(before, denial, text[start:end], after, context):
            if doubt is not None and _overlap(doubt, denial):  # "cannot be excluded": a doubt, no denial
                return Mention(label, UNCERTAIN, start, end, doubt[0])
            return Mention(label, ABSENT, start, end, denial[0])
        denial = context.negates_before.search(after)
        if denial is not None and not (
            _next_clause(after[: denial.start()])
            or context.part_behind.search(after, 0, denial.start())
            or context.part_before.search(before)
        ):
            if doubt_behind is not None and _overlap(doubt_behind, denial):
                return Mention(label, UNCERTAIN, start, end, doubt_behind[0])
            return Mention(label, ABSENT, start, end, denial[0])
    if doubt is not None:
        return Mention(label, UNCERTAIN, start, end, doubt[0])
    if doubt_behind is not None and not _next_clause(after[: doubt_behind.start()]):
        return Mention(label, UNCERTAIN, start, end, doubt_behind[0])
    return Mention(label, value, start, end, "")


def _reaches(before: str, denial: re.Match[str], mention: str, after: str, context: _Context) -> bool:
    """Whether a denial reaches over the words between it and the mention."""
    between = before[denial.end() :]
    if _begins_clause(between, mention, after, context):
        return False
    if not between.strip() and _VALUE.search(before, 0, denial.start()) and _KEY.match(after):
        return False  # a form without line ends: "pneumothorax: no effusion: small"
    closed = context.closes.search(between)
    if closed is None:
        return True
    # "no effusion, small or large, or pneumothorax": a list that goes on with "or" is denied as a whole
    return closed[0].startswith(",") and context.joins.search(between[closed.end() :] + after[:40]) is not None


def _begins_clause(between: str, mention: str, after: str, context: _Context) -> bool:
    """Whether a mention behind a denial begins a clause of its own: "no effusion, the heart is enlarged"."""
    comma, joined = "," in between, " and " in between
    if not (comma or joined):
        return False
    if context.clause.search(mention):
        return True
    if comma and between.count(",") == 1 and not joined and context.joins.search(between) is None:
        return context.goes_on_after_comma.search(after) is not None
    return joined and context.goes_on_after_and.search(after) is not None


def _next_clause(between: str) -> bool:
    """Whether another clause has begun between a mention and a cue behind it."""
    verb = " is " in between or " are " in between
    return ", with " in between or (verb and (", " in between or " and " in between))


def _overlap(a: re.Match[str], b: re.Match[str]) -> bool:
    return a.start() < b.end() and b.start() < a.end()


def _last(pattern: re.Pattern[str], text: str, unless: re.Pattern[str] | None = None) -> re.Match[str] | None:
    """The last match that lies in no match of `unless`."""
    found = list(pattern.finditer(text))
    if found and unless is not None and ("resol" in text or "clear" in text):  # whatever it matches has one of them
        barred = list(unless.finditer(text))
        found = [match for match in found if not any(_overlap(match, other) for other in barred)]
    return found[-1] if found else None


def _segments(text: str) -> list[tuple[int, int]]:
    edges = [0, *(match.start() for match in _context().boundary.finditer(text)), len(text) + 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _signs(text: str) -> tuple[set[int], set[str]]:
    """Which findings a sentence may mention, and which kinds of context it may have."""
    numbers: set[int] = set()
    signs: set[str] = set()
    for word in text.split():
        found = _signs_of(word)
        if found is not None:
            numbers |= found[0]
            signs |= found[1]
    return numbers, signs


@lru_cache(maxsize=65536)
def _signs_of(word: str) -> tuple[frozenset[int], frozenset[str]] | None:
    """The same of one word; None for most."""
    padded = f" {word} {word.strip(_MARKS)} "
    numbers = frozenset(number for stem, numbers in _rules().stems.items() if stem in padded for number in numbers)
    signs = frozenset(kind for kind, stems in _context().stems.items() if any(stem in padded for stem in stems))
    return (numbers, signs) if numbers or signs else None


@cache
def _rules() -> _Rules:
    """The findings, and which of them each stem may belong to; of a stem of several words the longest one counts."""
    content = _read("findings.yaml")
    lists = content.pop("lists")
    findings: list[_Finding] = []
    by_stem: dict[str, list[int]] = {}
    for number, (label, rule) in enumerate(content.items()):
        kinds = (("absent", ABSENT), ("uncertain", UNCERTAIN), ("mention", PRESENT))
        patterns = tuple((value, _any([_filled(p, lists) for p in rule[key]])) for key, value in kinds if rule.get(key))
        exclude = _any([_filled(p, lists) for p in rule["not"]]) if rule.get("not") else None
        findings.append(_Finding(label, patterns, exclude))
        for stem in rule["stems"]:
            by_stem.setdefault(max(stem.split(), key=len) if " " in stem.strip() else stem, []).append(number)
    return _Rules({stem: tuple(numbers) for stem, numbers in by_stem.items()}, findings)


@cache
def _context() -> _Context:
    content = _read("context.yaml")
    lists = content["lists"]

    def one(name: str) -> re.Pattern[str]:
        given = content[name]
        return _any([_filled(pattern, lists) for pattern in ([given] if isinstance(given, str) else given)])

    return _Context(content["stems"], *(one(name) for name in _Context._fields[1:]))


def _any(patterns: list[str]) -> re.Pattern[str]:
    """One expression of several; neighbours that begin with a word look for its edge together, and not one by one."""
    groups = groupby(patterns, key=lambda pattern: pattern.startswith(r"\b"))
    return re.compile("|".join(f"(?:{'|'.join(f'(?:{pattern})' for pattern in group)})" for _, group in groups))


def _filled(pattern: str, lists: dict[str, str]) -> str:
    for name, content in lists.items():
        pattern = pattern.replace("{" + name + "}", content)
    return pattern


def _read(name: str) -> Any:
    import yaml

    return yaml.safe_load(files("cxrvl.data.labeler").joinpath(name).read_text(encoding="utf-8"))
