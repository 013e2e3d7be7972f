"""Where does a report speak of a finding, and does it say present, absent or uncertain? As coloured, escaped HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from cxrvl.data.labeler import Labeler, Mention
from cxrvl.data.reports.sections import parse_report
from cxrvl.tables.dataset.blocks import plain

CLASSES = {1.0: "present", -1.0: "uncertain", 0.0: "absent"}
"""Value of a mention -> its CSS class and word, the strongest first."""
MOST = 0.6
"""Sections that make up more of an undivided report than this say the same: the rest is headers."""
JUDGED = ("findings", "impression", "report", "notes", "other")
"""Sections that state findings; an indication asks for them."""


def sections(texts: Mapping[str, str]) -> dict[str, str]:
    """Return a study's sections by name.

    An undivided report is parsed at its headers; one whose sections are there as well is not shown twice.
    """
    there = {name: text for name, text in texts.items() if text.strip()}
    if set(there) == {"report"}:
        parsed = parse_report(there["report"])
        if parsed.sectioned:
            return {name: parsed.section(name) for name in parsed.spans}
    whole = "".join(there.get("report", "").split())
    parts = ["".join(text.split()) for name, text in there.items() if name not in ("report", "notes")]
    if parts and all(part in whole for part in parts) and sum(map(len, parts)) > MOST * len(whole):
        del there["report"]
    return there


def marked(text: str, mentions: Sequence[Mention]) -> str:
    """Return text as HTML, each mention in a <mark> that names label, value and cue; where several overlap, one for all.

    Everything that is no mark of ours is escaped, and control characters are replaced.
    """
    edges = sorted({0, len(text), *(m.start for m in mentions), *(m.end for m in mentions)})
    parts = []
    for start, end in pairwise(edges):
        piece = escape(plain(text[start:end], keep="\n\t"))
        here = [m for m in mentions if m.start <= start and end <= m.end]
        if not here:
            parts.append(piece)
            continue
        kind = next(name for value, name in CLASSES.items() if any(m.value == value for m in here))
        parts.append(f'<mark class="{kind}" title="{escape("; ".join(map(told, here)))}">{piece}</mark>')
    return "".join(parts)


def told(mention: Mention) -> str:
    """Say what a mention was read as: `Effusion: absent ("no")`."""
    cue = f' ("{plain(mention.cue)}")' if mention.cue else ""
    return f"{mention.label}: {CLASSES[mention.value]}{cue}"


def judged(texts: Mapping[str, str], labeler: Labeler) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return each section as HTML with its mentions, and the labels by word: what the findings sections say in all."""
    shown: dict[str, str] = {}
    found: dict[str, float] = {}
    for name, text in texts.items():
        mentions = labeler.mentions(text) if name in JUDGED else []
        shown[name] = marked(text, mentions)
        for mention in mentions:
            held = found.get(mention.label)
            if held is None or _strength(mention.value) > _strength(held):
                found[mention.label] = mention.value
    words: dict[str, list[str]] = {}
    for value, word in CLASSES.items():
        labels = sorted(label for label, held in found.items() if held == value)
        if labels:
            words[word] = labels
    return shown, words


def _strength(value: float) -> int:
    return -list(CLASSES).index(value)
