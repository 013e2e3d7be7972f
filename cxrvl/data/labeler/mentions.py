"""Which findings does one sentence mention, where, and what does its context make of each?"""

import re
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, NamedTuple

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0


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


class _Context(NamedTuple):
    boundary: re.Pattern[str]
    closes: re.Pattern[str]
    joins: re.Pattern[str]
    cues: re.Pattern[str]
    negates_after: re.Pattern[str]
    negates_before: re.Pattern[str]
    doubts_after: re.Pattern[str]
    doubts_before: re.Pattern[str]


def mentions(sentence: str) -> list[Mention]:
    """Return what a sentence says, in the order of the findings; places are relative to it."""
    text = sentence.lower()
    if len(text) != len(sentence):  # a few letters have a longer lower case; places must stay right
        text = "".join(c.lower() if len(c.lower()) == 1 else c for c in sentence)
    findings = _candidates(text)
    if not findings:
        return []
    found: list[Mention] = []
    segments = _segments(text)
    for finding in findings:
        excluded = [match.span() for match in finding.exclude.finditer(text)] if finding.exclude else []
        taken: list[tuple[int, int]] = []
        for value, pattern in finding.patterns:
            for match in pattern.finditer(text):
                start, end = match.span()
                if (
                    end == start
                    or any(a <= start < b for a, b in excluded)
                    or any(a < end and start < b for a, b in taken)
                ):
                    continue
                taken.append((start, end))
                found.append(_judged(finding.label, value, start, end, text, segments))
    return found


def _judged(label: str, value: float, start: int, end: int, text: str, segments: list[tuple[int, int]]) -> Mention:
    """Apply the context to a mention."""
    if value == ABSENT:
        return Mention(label, ABSENT, start, end, text[start:end])
    begin, finish = next((a, b) for a, b in segments if a <= start < b)
    context, before, after = _context(), text[begin:start], text[end:finish]
    if context.cues.search(text, begin, finish) is None:
        return Mention(label, value, start, end, "")
    doubt = _last(context.doubts_after, before)
    denial = _last(context.negates_after, before)
    if denial is not None and _reaches(before[denial.end() :], after, context):
        if doubt is not None and _overlap(doubt, denial):  # "cannot be excluded": a doubt, no denial
            return Mention(label, UNCERTAIN, start, end, doubt[0])
        return Mention(label, ABSENT, start, end, denial[0])
    denial, doubt_behind = context.negates_before.search(after), context.doubts_before.search(after)
    if denial is not None and not _next_clause(after[: denial.start()]):
        if doubt_behind is not None and _overlap(doubt_behind, denial):
            return Mention(label, UNCERTAIN, start, end, doubt_behind[0])
        return Mention(label, ABSENT, start, end, denial[0])
    if doubt is not None:
        return Mention(label, UNCERTAIN, start, end, doubt[0])
    if doubt_behind is not None and not _next_clause(after[: doubt_behind.start()]):
        return Mention(label, UNCERTAIN, start, end, doubt_behind[0])
    return Mention(label, value, start, end, "")


def _reaches(between: str, after: str, context: _Context) -> bool:
    """Whether a denial reaches over the words between it and the mention."""
    closed = context.closes.search(between)
    if closed is None:
        return True
    # "no effusion, small or large, or pneumothorax": a list that goes on with "or" is denied as a whole
    return closed[0].startswith(",") and context.joins.search(between[closed.end() :] + after[:40]) is not None


def _next_clause(between: str) -> bool:
    """Whether another clause has begun between a mention and a cue behind it."""
    return ", " in between and (" is " in between or " are " in between)


def _overlap(a: re.Match[str], b: re.Match[str]) -> bool:
    return a.start() < b.end() and b.start() < a.end()


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _segments(text: str) -> list[tuple[int, int]]:
    edges = [0, *(match.start() for match in _context().boundary.finditer(text)), len(text) + 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _candidates(text: str) -> list[_Finding]:
    """The findings of which the sentence has a stem."""
    stems, findings = _rules()
    numbers = {number for match in stems[0].finditer(text) for number in stems[1][match[0]]}
    return [findings[number] for number in sorted(numbers)]


@cache
def _rules() -> tuple[tuple[re.Pattern[str], dict[str, tuple[int, ...]]], list[_Finding]]:
    """Stems, with the findings each may belong to, and the findings."""
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
            by_stem.setdefault(stem, []).append(number)
    # A stem that begins another one stands for it as well: only one of them can match at a place.
    covered = {stem: {n for s, ns in by_stem.items() if stem.startswith(s) for n in ns} for stem in by_stem}
    ordered = sorted(by_stem, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(stem) for stem in ordered))
    return (pattern, {stem: tuple(sorted(numbers)) for stem, numbers in covered.items()}), findings


@cache
def _context() -> _Context:
    content = _read("context.yaml")
    cues = ("negates_after", "negates_before", "doubts_after", "doubts_before")
    return _Context(
        re.compile(content["boundary"]), re.compile(content["closes_negation"]), re.compile(content["joins"]),
        _any([pattern for name in cues for pattern in content[name]]), *(_any(content[name]) for name in cues),
    )  # fmt: skip


def _any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _filled(pattern: str, lists: dict[str, str]) -> str:
    for name, content in lists.items():
        pattern = pattern.replace("{" + name + "}", content)
    return pattern


def _read(name: str) -> Any:
    import yaml

    return yaml.safe_load(files("cxrvl.data.labeler").joinpath(name).read_text(encoding="utf-8"))
