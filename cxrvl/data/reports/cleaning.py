"""How is a report's text freed of what is no report: de-identification marks, list numbers, signatures, markup?"""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

MARKER = "___"
"""MIMIC-CXR's mark for removed text; `deidentification_marker` writes all marks this way."""

_MARKS = (
    r"(?:X{3,}|_{2,}|\[\*\*[^\]\n]{0,120}\*\*\]|<(?:NAME|DATE|AGE|ID|HOSPITAL|LOCATION|PHONE|DOCTOR)>|"
    r"\[(?:NAME|DATE|REDACTED|REMOVED)\])"
)
_MARK = re.compile(_MARKS)
_XRAY = re.compile(r"\b([Xx])-(?:X{3,}|_{2,})")
_AGE = re.compile(rf"{_MARKS}[ -]?(?=year|yo\b|y/o|month|week|day)")
_MARKS_IN_A_ROW = re.compile(rf"(?:{_MARKS}[ ,/]*)+")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,14}(?:\s[^<>\n]{0,200})?/?>")
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr)\s*/?>", re.I)
_NUMBER = re.compile(
    r"(?m)(^[ \t]*|(?<=[.:;!?])[ \t]+)(?:\(?\d{1,2}[.)](?=[ \t]+\D|[A-Z])|[-*\u2022\u25cf](?=[ \t]))[ \t]*"
)
_SIGNATURE = re.compile(
    r"(?im)^.{0,40}\b(?:electronically signed|dictated (?:by|and)|signed by|transcribed|transcriptionist|approved by|"
    r"report (?:verified|approved|signed)|attending radiologist|voice recognition|speech recognition|dragon dictation|"
    r"i have personally reviewed|interpreted by|final report dictated|job (?:id|number))\b.*$"
)
_HINT = re.compile(
    r"(?i)sign|dictat|transcri|approved|verified|recognition|reviewed|interpreted|job |report|read|attending"
)
_BANNER = re.compile(
    r"(?im)^[ \t]*(?:\*{0,3}[ \t]*)(?:final report|preliminary report|wet read|radiology report)\b[ \t:*-]*$"
)
_SPOKEN = re.compile(r"\b(period|comma|colon|new paragraph|new line|next line|paragraph)(?=\s*(?:[.,]|$|\n|[A-Z]))")
_SPOKEN_MEANS = {"period": ".", "comma": ",", "colon": ":"}
_DOUBLED = re.compile(r"\b([A-Za-z]{2,})(?:[ \t]+\1\b)+", re.I)
_PUNCTUATION = ((re.compile(r"[ \t]+([,.;:!?])"), r"\1"), (re.compile(r"([,;:])(?:[ \t]*\1)+"), r"\1"),
                (re.compile(r"(?<!\.)\.(?:[ \t]*\.)+(?!\d)"), "."), (re.compile(r"\([ \t,.;]*\)"), ""),
                (re.compile(r"[,;:](?=[ \t]*\.)"), ""), (re.compile(r"(?m)^[ \t]*[,.;:]+[ \t]*"), ""))  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_QUOTES = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": None, "\ufeff": None, "\u00ad": None,
})  # fmt: skip


def characters(text: str) -> str:
    """Compose accents, write quotes, dashes and spaces plainly, drop control characters but line breaks and tabs."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def markup(text: str) -> str:
    """Remove HTML tags (a break becomes a line break) and decode its entities; "<5 mm" stays."""
    if "<" in text:
        text = _TAG.sub(" ", _BREAK.sub("\n", text))
    return html.unescape(text) if "&" in text else text


def deidentification(text: str) -> str:
    """Remove XXXX, ___, [**...**] and the like, with the punctuation they leave alone; "x-XXXX" is an x-ray (Open-i)."""
    if not _MARK.search(text):
        return text
    text = _AGE.sub("", _XRAY.sub(r"\1-ray", text))
    return _tidied(_MARKS_IN_A_ROW.sub(" ", text))


def deidentification_marker(text: str) -> str:
    """Write every mark, and every row of marks, as `___`: the text keeps showing that something was removed."""
    return _PUNCTUATION[0][0].sub(r"\1", _MARKS_IN_A_ROW.sub(f"{MARKER} ", _XRAY.sub(r"\1-ray", text)))


def numbering(text: str) -> str:
    """Remove list numbers and bullets at the beginning of lines and sentences; measurements stay."""
    return _NUMBER.sub(lambda match: " " if match[1] and not match[1].startswith("\n") and match.start() else "", text)


def dictation(text: str) -> str:
    """Remove signature and transcription lines, banners and spoken punctuation; write a doubled word once."""
    if _HINT.search(text):
        text = _BANNER.sub("", _SIGNATURE.sub("", text))
    text = _SPOKEN.sub(lambda match: _SPOKEN_MEANS.get(match[1], "\n"), text)
    return _tidied(_DOUBLED.sub(r"\1", text))


def white_space(text: str) -> str:
    """Write any run of white space as one space, none at the ends."""
    return " ".join(text.split())


def lines(text: str) -> str:
    """Join lines that were broken to a width; an empty line stays a paragraph's end."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n[ \t]*\n\s*", text.strip()))


def _tidied(text: str) -> str:
    for pattern, replacement in _PUNCTUATION:
        text = pattern.sub(replacement, text)
    return text


STEPS: dict[str, Callable[[str], str]] = {
    step.__name__: step
    for step in (
        characters,
        markup,
        deidentification,
        deidentification_marker,
        numbering,
        dictation,
        lines,
        white_space,
    )
}
"""All steps by name."""

DEFAULT = ("characters", "markup", "dictation", "deidentification", "numbering", "white_space")
"""What a report goes through unless its source says otherwise, in this order."""


def clean(text: str, steps: Sequence[str] = DEFAULT) -> str:
    """Apply cleaning steps by name, in order.

    Raises:
        ConfigError: an unknown step, naming the nearest.
    """
    for name in steps:
        step = STEPS.get(name)
        if step is None:
            raise ConfigError(f"unknown cleaning step '{name}'{did_you_mean(name, list(STEPS))}")
        text = step(text)
    return text
