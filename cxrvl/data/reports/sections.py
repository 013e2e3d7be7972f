"""Which part of a report is its findings, its impression, its indication?"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from cxrvl.data.reports.spans import Span, trimmed

SECTION_NAMES = ("findings", "impression", "indication", "comparison", "technique", "other")

HEADERS: Mapping[str, tuple[str, ...]] = {
    "findings": (
        "findings", "finding", "chest findings", "radiographic findings", "report", "description", "observations",
        "body of report", "detailed findings", "lungs and pleura", "chest", "imaging findings", "radiology findings",
        "radiologic findings", "radiological findings", "chest radiograph findings", "xray findings", "cxr findings",
    ),
    # A section headed by both names is the only text there is; it is read as the impression, the part readers act on.
    "impression": (
        "impression", "impressions", "imp", "conclusion", "conclusions", "opinion", "assessment", "summary",
        "interpretation", "final impression", "final diagnosis", "diagnosis", "radiological diagnosis",
        "impression and recommendation", "impression and recommendations", "impression/recommendation",
        "impression/recommendations", "findings and impression", "findings/impression", "impression and findings",
        "impression/findings", "conclusion and recommendation", "result", "results", "impression and plan",
        "radiographic impression", "radiologic impression", "radiological impression", "overall impression",
    ),
    "indication": (
        "indication", "indications", "clinical indication", "clinical indications", "history", "clinical history",
        "medical history", "patient history", "brief history", "history and indication", "indication/history",
        "clinical information", "clinical data", "clinical details", "clinical diagnosis", "clinical question",
        "reason", "reason for exam", "reason for examination", "reason for study", "reason for the exam",
        "reason for the examination", "reason for this exam", "reason for this examination", "reason for visit",
        "reason for request", "hx", "admitting diagnosis", "symptoms", "complaint", "chief complaint",
        "underlying medical condition", "medical condition", "provisional findings",
    ),
    "comparison": (
        "comparison", "comparisons", "comparison study", "comparison studies", "comparison exam", "comparison exams",
        "comparison films", "compared to", "compared with", "prior study", "prior studies", "prior exams",
        "previous study", "previous studies", "previous exams", "priors", "reference examination",
    ),
    "technique": (
        "technique", "techniques", "technical factors", "exam", "examination", "exam type", "type of exam",
        "type of examination", "study", "study type", "procedure", "procedures", "protocol", "view", "views",
        "number of views", "modality", "imaging", "exam description", "projection",
    ),
    "other": (
        "recommendation", "recommendations", "notification", "notifications", "communication", "wet read",
        "addendum", "addenda", "attestation", "final report", "preliminary report", "note", "notes", "comment",
        "comments", "dictated by", "signed by", "electronically signed by", "approved by", "transcribed by", "date",
        "exam date", "date of exam", "study date", "accession", "accession number", "radiologist", "physician",
        "referring physician", "ordering physician", "patient", "patient name", "name", "age", "sex", "mrn",
    ),
}  # fmt: skip
"""Section -> the headers that open it, in lower case. MIMIC-CXR, Open-i, PadChest and hospital letters use these."""

_BARE = frozenset({
    "findings", "impression", "impressions", "conclusion", "indication", "indications", "history", "clinical history",
    "comparison", "comparisons", "technique", "recommendation", "recommendations", "addendum", "final report",
    "wet read", "findings and impression", "findings/impression", "examination", "opinion",
})  # fmt: skip
"""Headers that may stand alone on a line, without a colon."""

_ONLY_AT_LINE_START = frozenset({
    "chest", "report", "result", "results", "reason", "study", "exam", "view", "views", "procedure", "date", "note",
    "notes", "age", "sex", "name", "patient", "summary", "assessment", "symptoms", "complaint", "imaging",
    "description", "diagnosis", "comment", "comments", "physician", "projection", "modality", "finding",
    "lungs and pleura", "compared to", "compared with",
})  # fmt: skip
"""Words that sentences use too: inside a line they open no section."""


_PLAIN = frozenset({
    "findings", "impression", "indication", "comparison", "technique", "conclusion", "clinical history", "history",
    "recommendation", "recommendations",
})  # fmt: skip
"""With a capital and a colon these open a section even where the sentence before has no full stop."""


@dataclass(frozen=True)
class Report:
    """A report and its sections; "" where a section is absent.

    text: the report as given. other: text before the first header, and what belongs to no section named here; the
    whole of a report without headers. spans: where in `text` each section's pieces lie, in order; a section that is
    opened twice (an addendum, a second impression) has two pieces, joined by a line break.
    """

    text: str
    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""
    technique: str = ""
    other: str = ""
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    @property
    def sectioned(self) -> bool:
        """Whether any header of a named section was found."""
        return any(name != "other" for name in self.spans)

    def section(self, name: str) -> str:
        """Return one section by name."""
        return str(getattr(self, name))


def parse_report(text: str) -> Report:
    """Split a report at its headers.

    A header opens a line (any case, then a colon or dash; the usual ones also alone on their line, or in capitals before
    a list), follows a sentence inside a line in upper or title case with a colon or in capitals with a dash, or stands
    in brackets. The marks that lift it out ("##", "**", "[") belong to it. Everything in `text` but headers and white space is in
    exactly one section.
    """
    pieces: dict[str, list[Span]] = {}
    section, begin = "other", 0
    for start, end, name in _headers(text):
        _add(pieces, text, section, begin, start)
        section, begin = name, end
    _add(pieces, text, section, begin, len(text))
    joined = {name: "\n".join(span.of(text) for span in spans) for name, spans in pieces.items()}
    return Report(text=text, spans={name: tuple(spans) for name, spans in pieces.items()}, **joined)


def _add(pieces: dict[str, list[Span]], text: str, section: str, start: int, end: int) -> None:
    span = trimmed(text, start, end)
    if span.end > span.start:
        pieces.setdefault(section, []).append(span)


def _headers(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and section of each header: look back from every colon, dash behind a word, and line end."""
    for mark in _marks(text):
        line = text.rfind("\n", 0, mark.start()) + 1
        found = _named(text, max(line, mark.start() - _LONGEST), mark.start())
        if found is None:
            continue
        start, key = found
        opens_line = not text[line:start].strip(" \t*#>_[")
        bracket = text[max(line, start - 1) : start] == "["
        if mark["bracket"] is not None:
            counts = bracket and (opens_line or (key in _PLAIN and text[start].isupper()))
        elif mark["list"] is not None:
            counts = opens_line and key in _BARE and text[start : mark.start()].isupper()
        elif mark["colon"] is None:
            counts = opens_line and (mark["dash"] is not None or (key in _BARE and not text[start].islower()))
            if mark["dash"] is not None and key in _PLAIN and text[start : mark.start()].isupper():
                counts = counts or _opens_inside(text, start, key)
        elif opens_line:
            counts = True
        else:
            counts = key not in _ONLY_AT_LINE_START and _opens_inside(text, start, key)
        if counts:
            lifted = text[line:start].rstrip(" \t*#>[") if opens_line else text[line : start - bracket]
            yield line + len(lifted), mark.end(), _section_of()[key]


def _marks(text: str) -> Iterator[re.Match[str]]:
    """Yield what `_MARK` finds, tried only where it may match."""
    end = 0
    for place in (*(place.start() for place in _PLACE.finditer(text)), len(text)):
        mark = _MARK.match(text, place) if place >= end else None
        if mark is not None:
            end = mark.end()
            yield mark


def _named(text: str, begin: int, end: int) -> tuple[int, str] | None:
    """Return start and name of the longest header that ends at `end`, if one does."""
    words = list(_WORDS.finditer(text, begin, end))[-_MOST_WORDS:]
    if not words or words[-1][0].lower() not in _last_words() or text[words[-1].end() : end].strip(" \t*"):
        return None
    for first in range(len(words)):
        start = words[first].start()
        if (start > begin and text[start - 1] in "-/") or "\n" in text[start:end]:
            continue
        key = text[start : words[-1].end()].lower()
        if key not in _section_of():
            key = _SLASH.sub("/", " ".join(key.replace("&", "and").split()))
        if key in _section_of():
            return start, key
    return None


def _opens_inside(text: str, start: int, key: str) -> bool:
    """Whether a header inside a line opens a section: behind a sentence or a gap, or if nothing else is written so."""
    if not text[start].isupper():
        return False
    before = text[max(0, start - 4) : start]
    over = before.endswith(("  ", "\t")) or before.rstrip()[-1:] in tuple(".!?:;)*_")
    return over or key in _PLAIN or text[start : start + len(key)].isupper()


_MARK = re.compile(
    r"(?:(?P<bracket>\][ \t]*[:\uff1a]?)|(?P<list>(?<=\w)[ \t]+(?=1[.)]\s))|(?P<colon>[:\uff1a]\*{0,2})|"
    r"(?P<dash>(?<=\w)[ \t]*-{1,2}(?=\s))|(?P<bare>(?<=[\w*])[ \t]*(?=\r?\n|\Z)))"
)
# The first characters of all these; a blank only where it is the first one, before what may end or open a line.
_PLACE = re.compile(r"[]:\uff1a \t\r\n-](?:(?<![ \t])|(?<![ \t]{2})(?=[ \t]*(?:[1\r\n-]|\Z)))")
_WORDS = re.compile(r"[A-Za-z]+|&")
_SLASH = re.compile(r" ?/ ?")
_LONGEST, _MOST_WORDS = 60, 6


@cache
def _section_of() -> dict[str, str]:
    return {header: section for section, headers in HEADERS.items() for header in headers}


@cache
def _last_words() -> frozenset[str]:
    return frozenset(_WORDS.findall(header)[-1] for header in _section_of())
