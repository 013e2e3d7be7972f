"""Other words for the same finding, and other ways to deny one."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from cxrvl.data.reports.edits import Edit, Styled, apply_edits
from cxrvl.data.reports.phrases import Phrases

_BEGIN = re.compile(r"[.!?;\n](?:(?<=\n)|\s)")
"""Behind it, as at the beginning of the text, a cue of `negations` may stand."""


def synonyms(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Replace phrases by others of the same meaning (the groups of wording.yaml); "small bowel" stays."""
    phrases, groups = _synonyms()
    places = list(phrases.find(text))
    edits = []
    for (start, end, phrase), (drawn, number) in zip(places, rng.random((len(places), 2)).tolist(), strict=True):
        others = groups[phrase]
        if drawn < strength and others:
            other = others[int(number * len(others))]
            edits.append(Edit(start, end, _like(text[start:end], other), "synonyms"))
    return apply_edits(text, edits)


def negations(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Deny in other words: "No effusion." becomes "There is no evidence of effusion."; what is denied stays denied."""
    pattern, groups = _negations()
    edits, end = [], 0
    for start in (0, *(begin.end() for begin in _BEGIN.finditer(text))):
        match = pattern.match(text, start) if start >= end else None
        if match is not None:
            end = match.end()
            drawn, number = rng.random() < strength, rng.random()
            if drawn:
                others = groups[" ".join(match[0].lower().split())]
                other = others[int(number * len(others))]
                edits.append(Edit(start, end, _like(match[0], other), "negations"))
    return apply_edits(text, edits)


def _like(written: str, word: str) -> str:
    """Give a word the case of the one it replaces."""
    if written.isupper() and len(written) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if written[:1].isupper() else word


@cache
def _content() -> Any:
    import yaml

    return yaml.safe_load(files("cxrvl.data.reports.style").joinpath("wording.yaml").read_text(encoding="utf-8"))


@cache
def _synonyms() -> tuple[Phrases, dict[str, list[str]]]:
    groups: dict[str, list[str]] = {word: [] for group in _content()["kept"] for word in group}
    groups |= _others(_content()["synonyms"])
    return Phrases(groups), groups


@cache
def _negations() -> tuple[re.Pattern[str], dict[str, list[str]]]:
    """Cues at the beginning of a sentence, where every way fits the grammar of what follows."""
    groups = _others(_content()["negations"])
    forms = "|".join(re.escape(way).replace(r"\ ", r"\s+") for way in sorted(groups, key=len, reverse=True))
    after = _content()["negated"]
    return re.compile(rf"(?i)(?:{forms})(?=\s+(?:{after}))"), groups


def _others(groups: list[list[str]]) -> dict[str, list[str]]:
    """What each word of a group may be replaced by."""
    return {word: [other for other in group if other != word] for group in groups for word in group}
