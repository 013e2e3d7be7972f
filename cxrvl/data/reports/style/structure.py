"""Sentences in another order, joined, cut apart, or left out."""

import re

import numpy as np

from cxrvl.data.reports.edits import Change, Edit, Styled, apply_edits
from cxrvl.data.reports.sections import parse_report
from cxrvl.data.reports.sentences import split_sentences

_LIST_MARK = re.compile(r"\(?\d{1,2}[.)]\s+|[-*\u2022]\s+")
_REFERS = re.compile(r"(?i)(?:this|these|those|it|they|however|otherwise|again|also|such|both|the former|the latter)\b")
_JOINED = re.compile(r", and (?=(?:there (?:is|are)|no |the )\b)|; ")

ANATOMY = {
    "lungs": r"lung|pulmon|lobe|lobar|opacit|consolid|infiltrat|atelect|nodul|mass\b|airspace|pneumonia|edema|emphysem|interstit",
    "pleura": r"pleura|effusion|pneumothora|costophrenic|hemothorax",
    "heart": r"heart|cardi|mediastin|aort|vascular|hila|hilum",
    "bones": r"bone|bony|osseous|rib|spine|vertebr|fractur|clavic|scolio|degenerat|skelet",
    "devices": r"tube|catheter|line\b|lines\b|pacemaker|picc|lead|device|wire|clip|port\b|tip\b",
    "abdomen": r"diaphragm|abdom|stomach|bowel|free air|hernia|gastric",
}
"""Region -> what its sentences are about."""


def _about(sentence: str) -> set[str]:
    return {region for region, words in ANATOMY.items() if re.search(rf"(?i)\b(?:{words})|(?:{words})", sentence)}


def _pieces(text: str) -> list[str]:
    """Sentences with the ones that refer to them: "A nodule. This is new." stays together; list marks are dropped."""
    pieces: list[str] = []
    for span in split_sentences(text):
        sentence = span.of(text)
        bare = _LIST_MARK.sub("", sentence, count=1) if _LIST_MARK.match(sentence) else sentence
        if pieces and _REFERS.match(bare):
            pieces[-1] = f"{pieces[-1]} {bare}"
        else:
            pieces.append(bare)
    return [_closed(piece) for piece in pieces]


def _closed(sentence: str) -> str:
    return sentence if sentence[-1:] in ".!?:" else f"{sentence}."


def shuffle(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Put sentences into another order, with probability `strength`; it is another one wherever there are two.

    A sentence that refers to the one before it moves with it.
    """
    pieces = _pieces(text)
    if rng.random() >= strength or len(set(pieces)) < 2:
        return Styled(text)
    order = rng.permutation(len(pieces)).tolist()
    while [pieces[i] for i in order] == pieces:
        order = [order[-1], *order[:-1]]
        if [pieces[i] for i in order] == pieces:
            order = rng.permutation(len(pieces)).tolist()
    new = " ".join([pieces[i] for i in order])
    return Styled(new, (Change("shuffle", 0, len(new), text, new),))


def omit(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Leave out sentences, each with probability `strength`; at least one stays."""
    pieces = _pieces(text)
    if len(pieces) < 2:
        return Styled(text)
    draws = rng.random(len(pieces))
    kept = draws >= strength
    kept[int(draws.argmax())] = True
    if kept.all():
        return Styled(text)
    new = " ".join(piece for piece, keep in zip(pieces, kept, strict=True) if keep)
    return Styled(new, (Change("omit", 0, len(new), text, new),))


def anatomy(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Keep only what is said of one region of the body, chosen among those the text names, with probability `strength`."""
    pieces = _pieces(text)
    about = [_about(piece) for piece in pieces]
    regions = sorted(set().union(*about)) if about else []
    chosen, place = rng.random() < strength, int(rng.integers(max(1, len(regions))))
    if not chosen or not regions:
        return Styled(text)
    kept = [piece for piece, those in zip(pieces, about, strict=True) if regions[place] in those]
    if len(kept) == len(pieces):
        return Styled(text)
    new = " ".join(kept)
    return Styled(new, (Change(f"anatomy:{regions[place]}", 0, len(new), text, new),))


def impression_only(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Keep only the impression of a report with sections, as some hospitals write no other, with probability `strength`."""
    impression = parse_report(text).impression if rng.random() < strength else ""
    if not impression or impression == text:
        return Styled(text)
    return Styled(impression, (Change("impression_only", 0, len(impression), text, impression),))


def merge(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Join neighbouring sentences by a semicolon, so that nothing said of one reaches into the other."""
    edits, spans = [], split_sentences(text)
    last = -2
    for number, drawn in enumerate(rng.random(max(0, len(spans) - 1)).tolist()):
        if drawn >= strength or number == last + 1:
            continue
        a, b = spans[number], spans[number + 1]
        second = b.of(text)
        if text[a.end - 1] not in ".!" or _LIST_MARK.match(second) or "\n" in text[a.end : b.start]:
            continue
        capital = second[0].lower() if second[1:2].islower() or second[1:2] == " " else second[0]
        edits.append(Edit(a.end - 1, b.start + 1, f"; {capital}", "merge"))
        last = number
    return apply_edits(text, edits)


def split(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Make two sentences of two main clauses that a semicolon or ", and there is" joins."""
    edits = []
    for match in _JOINED.finditer(text):
        drawn, after = rng.random() < strength, text[match.end() : match.end() + 1]
        if drawn and after.isalpha():
            edits.append(Edit(match.start(), match.end() + 1, f". {after.upper()}", "split"))
    return apply_edits(text, edits)
