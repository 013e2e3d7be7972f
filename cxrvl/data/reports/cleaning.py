"""How is a report's text freed of what is no report: de-identification marks, list numbers, signatures, markup?"""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from operator import eq

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

MARKER = "___"
"""MIMIC-CXR's mark for removed text; `deidentification_marker` writes all marks this way."""

# An expression that begins with a letter or a set of them is looked for fastest: looks back come second.
_MARKS = (
    r"(?:X(?<!XX)X{2,}+|_(?<!__)_++|\[\*\*[^\]\n]{0,120}\*\*\]|<(?:NAME|DATE|AGE|ID|HOSPITAL|LOCATION|PHONE|DOCTOR)>|"
    r"\[(?:NAME|DATE|REDACTED|REMOVED)\])"
)
_MARK = re.compile(_MARKS)
_SIGNS = ("XXX", "__", "[", "<")
_XRAY = re.compile(r"([Xx])(?<!\w[Xx])-(?:X{3,}|_{2,})")
_AGE = re.compile(rf"{_MARKS}[ -]?(?=year|yo\b|y/o|month|week|day)")
_MARKS_IN_A_ROW = re.compile(rf"{_MARKS}[ ,/]*(?:{_MARKS}[ ,/]*)*")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,14}(?:\s[^<>\n]{0,200})?/?>")
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr)\s*/?>", re.I)
_COUNT, _BULLET = r"\(?\d{1,2}[.)]", r"[-*\u2022\u25cf]"
# The whole row of marks is taken at once, whatever follows: a row of a thousand is then read once.
_NUMBER = re.compile(
    rf"(?m)(?P<before>^[ \t]*|(?<=[.:;!?])[ \t]+)"
    rf"(?:(?:(?:{_COUNT}|{_BULLET})[ \t]+)*+(?:{_COUNT}(?=[A-Z]))|(?:(?:{_COUNT}|{_BULLET})[ \t]+)++)"
)
# A line without an end, and behind it one that opens with a list mark or with a name and a colon.
_OPEN_LINE = re.compile(
    rf"(?<=[\w)%])[ \t]*\n(?=[ \t]*(?:(?:{_COUNT}|{_BULLET})[ \t]+[^\W\d_]|[A-Z][A-Za-z/& ()-]{{1,30}}:[ \t]*\S))"
)
_MARKED = re.compile(r"[-\d*\u2022\u25cf](?:(?<=\d)[.)]|(?<!\d)[ \t])")  # part of whatever `_NUMBER` matches
_BULLETS = ("-", "*", "\u2022", "\u25cf")
_SIGNATURE = re.compile(
    r"(?im)^.{0,40}\b(?:electronically signed|dictated (?:by|and)|signed by|transcribed|transcriptionist|approved by|"
    r"report (?:verified|approved|signed)|attending radiologist|voice recognition|speech recognition|dragon dictation|"
    r"i have personally reviewed|interpreted by|final report dictated|job (?:id|number))\b.*$"
)
# One of these is in whatever the two expressions around match: they are tried on few reports.
_HINTS = (
    "electronically signed", "dictated", "signed by", "transcri", "approved by", "report verified", "report approved",
    "report signed", "attending radiologist", "recognition", "dragon dictation", "personally reviewed",
    "interpreted by", "job id", "job number", "final report", "preliminary report", "wet read", "radiology report",
)  # fmt: skip
_BANNER = re.compile(
    r"(?im)^[ \t]*(?:\*{0,3}[ \t]*)(?:final report|preliminary report|wet read|radiology report)\b[ \t:*-]*$"
)
_SPOKEN = re.compile(r"\b(period|comma|colon|new paragraph|new line|next line|paragraph)(?=\s*(?:[.,]|$|\n|[A-Z]))")
_SPOKEN_HINTS = ("period", "comma", "colon", "new line", "next line", "paragraph")
_SPOKEN_MEANS = {"period": ".", "comma": ",", "colon": ":"}
_DOUBLED = re.compile(r"\b([A-Za-z]{2,})(?:[ \t]+\1\b)+", re.I)
_APART = {number: " " for number in range(128) if not re.match(r"\w", chr(number))}
_PUNCTUATION = ((re.compile(r"(?<![ \t])[ \t]+([,.;:!?])"), r"\1"), (re.compile(r"([,;:])(?:[ \t]*\1)+"), r"\1"),
                (re.compile(r"(?<!\.)\.(?:[ \t]*\.)+(?!\d)"), "."), (re.compile(r"\([ \t,.;]*\)"), ""),
                (re.compile(r"[,;:](?=[ \t]*\.)"), ""), (re.compile(r"(?m)^[ \t]*[,.;:]+[ \t]*"), ""))  # fmt: skip
# Whatever these match has a mark behind a blank, a line's end, another mark or nothing.
_LOOSE = re.compile(r"(?s)[,.;:!?)](?<![^ \t\n,.;:(].)")
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
    if not any(sign in text for sign in _SIGNS) or not _MARK.search(text):
        return text
    text = _AGE.sub("", _XRAY.sub(r"\1-ray", text))
    return _tidied(_MARKS_IN_A_ROW.sub(" ", text))


def deidentification_marker(text: str) -> str:
    """Write every mark, and every row of marks, as `___`: the text keeps showing that something was removed."""
    return _PUNCTUATION[0][0].sub(r"\1", _MARKS_IN_A_ROW.sub(f"{MARKER} ", _XRAY.sub(r"\1-ray", text)))


def line_ends(text: str) -> str:
    """Close a line by a full stop where the next one is another item of a list or a form: "- no edema", "HEART: large"."""
    return _OPEN_LINE.sub(".\n", text) if "\n" in text else text


def numbering(text: str) -> str:
    """Remove list numbers and bullets at the beginning of lines and sentences; measurements stay."""
    return _NUMBER.sub(_unnumbered, text) if _MARKED.search(text) else text


def _unnumbered(match: re.Match[str]) -> str:
    after, marks = match.string[match.end() : match.end() + 1], match[0][len(match["before"]) :]
    if marks[-1:].isspace() and not marks.rstrip().endswith(_BULLETS) and (not after or after.isdigit()):
        return match[0]  # "1. 5 cm" may be a measure
    return " " if match["before"] and match.start() else ""


def dictation(text: str) -> str:
    """Remove signature and transcription lines, banners and spoken punctuation; write a doubled word once."""
    small = text.lower()
    if any(hint in small for hint in _HINTS):
        text = _BANNER.sub("", _SIGNATURE.sub("", text))
    if any(word in small for word in _SPOKEN_HINTS):
        text = _SPOKEN.sub(lambda match: _SPOKEN_MEANS.get(match[1], "\n"), text)
    words = small.translate(_APART).split() if text.isascii() else []
    if not text.isascii() or any(map(eq, words, words[1:])):
        text = _DOUBLED.sub(r"\1", text)
    return _tidied(text)


def white_space(text: str) -> str:
    """Write any run of white space as one space, none at the ends."""
    return " ".join(text.split())


def lines(text: str) -> str:
    """Join lines that were broken to a width; an empty line stays a paragraph's end."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n[ \t]*\n\s*", text.strip()))


def _tidied(text: str) -> str:
    if not _LOOSE.search(text):
        return text
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
        line_ends,
        numbering,
        dictation,
        lines,
        white_space,
    )
}
"""All steps by name."""

PASSES = 12
"""Bound of the passes of `clean`; real reports take one or two."""

DEFAULT = ("characters", "markup", "dictation", "deidentification", "line_ends", "numbering", "white_space")
"""What a report goes through unless its source says otherwise, in this order."""


def clean(text: str, steps: Sequence[str] = DEFAULT) -> str:
    """Apply cleaning steps by name, in order, and again until nothing changes: "the XXXX the" has a doubled word only then.

    Raises:
        ConfigError: an unknown step, naming the nearest.
    """
    for name in steps:
        if name not in STEPS:
            raise ConfigError(f"unknown cleaning step '{name}'{did_you_mean(name, list(STEPS))}")
    for _ in range(PASSES):
        before = text
        for name in steps:
            text = STEPS[name](text)
        if text == before:
            break
    return text
