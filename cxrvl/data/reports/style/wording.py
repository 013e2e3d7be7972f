"""Other words for the same finding, and other ways to deny one."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from cxrvl.data.reports.edits import Edit, Styled, apply_edits
from cxrvl.data.reports.phrases import Phrases


def synonyms(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Replace phrases by others of the same meaning (the groups of wording.yaml); "small bowel" stays."""
    phrases, groups = _synonyms()
    edits = []
    for start, end, phrase in phrases.find(text):
        others = [word for word in groups[phrase] if word != phrase]
        drawn, number = rng.random() < strength, int(rng.random() * len(others))
        if drawn and others:
            edits.append(Edit(start, end, _like(text[start:end], others[number]), "synonyms"))
    return apply_edits(text, edits)


def negations(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Deny in other words: "No effusion." becomes "There is no evidence of effusion."; what is denied stays denied."""
    pattern, groups = _negations()
    edits = []
    for match in pattern.finditer(text):
        written = " ".join(match["cue"].lower().split())
        others = [way for way in groups[written] if way != written]
        drawn, number = rng.random() < strength, int(rng.random() * len(others))
        if drawn:
            edits.append(Edit(match.start("cue"), match.end("cue"), _like(match["cue"], others[number]), "negations"))
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
    groups = {word: [word] for group in _content()["kept"] for word in group}
    groups |= {word: group for group in _content()["synonyms"] for word in group}
    return Phrases(groups), groups


@cache
def _negations() -> tuple[re.Pattern[str], dict[str, list[str]]]:
    """Cues at the beginning of a sentence, where every way fits the grammar of what follows."""
    groups = {way: group for group in _content()["negations"] for way in group}
    forms = "|".join(re.escape(way).replace(r"\ ", r"\s+") for way in sorted(groups, key=len, reverse=True))
    after = _content()["negated"]
    return re.compile(rf"(?im)(?:^|(?<=[.!?]\s)|(?<=;\s))(?P<cue>{forms})(?=\s+(?:{after}))"), groups
