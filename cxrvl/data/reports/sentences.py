"""Where does each sentence of a report begin and end?"""

import re

from cxrvl.data.reports.spans import Span, trimmed

ABBREVIATIONS = frozenset({
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "e.g", "i.e", "eg", "ie", "approx", "ca", "cf", "etc", "fig", "no",
    "resp", "incl", "excl", "pt", "pts", "r", "l", "a.p", "p.a", "a.m", "p.m", "min", "max", "temp", "lat", "ant",
    "post", "sup", "inf", "med", "seg", "art", "v", "m", "n", "q", "h.o", "s.p", "dept", "hosp", "mod", "abd", "bilat",
})  # fmt: skip
"""Words before a full stop that ends no sentence when what follows could go on; single letters are initials."""

_UNITS = frozenset({"cm", "mm", "ml", "cc", "kg", "mg", "kvp", "mas"})

_CANDIDATE = re.compile(
    r"""
    (?P<stop>[.!?]+["')\]]*)(?P<gap>\s+|(?=[A-Z][a-z])|\Z)   # a full stop, with or without white space behind it
    | (?P<lines>[ \t]*\r?\n[ \t]*(?:\r?\n\s*)+)               # an empty line
    | (?P<item>[ \t]*\r?\n[ \t]*(?=(?:\(?\d{1,2}[.)]|[-*\u2022])[ \t]))  # a line that opens with a list mark
    """,
    re.X,
)
_LIST_MARK = re.compile(r"\s*\(?\d{1,2}\Z")
_WORD = re.compile(r"([A-Za-z][A-Za-z.]*)\Z")


def split_sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without white space at their ends.

    A list mark ("1.", "2)", "-") stays with its sentence. Decimals, initials, titles and the usual abbreviations do
    not end one; an empty line and a new list item do. Between the spans there is only white space.
    """
    spans: list[Span] = []
    begin = 0
    for match in _CANDIDATE.finditer(text):
        if match["stop"] is not None and not _ends(text, begin, match):
            continue
        end = match.end("stop") if match["stop"] is not None else match.start()
        span = trimmed(text, begin, end)
        if span.end > span.start:
            if _has_words(span.of(text)) or not spans:
                spans.append(span)
            else:  # stray dots belong to the sentence before
                spans[-1] = Span(spans[-1].start, span.end)
        begin = match.end()
    span = trimmed(text, begin, len(text))
    if span.end > span.start:
        spans.append(span)
    return spans


def sentences(text: str) -> list[str]:
    """Return the sentences themselves."""
    return [span.of(text) for span in split_sentences(text)]


def _has_words(sentence: str) -> bool:
    return any(character.isalnum() for character in sentence)


def _ends(text: str, begin: int, match: re.Match[str]) -> bool:
    """Whether a full stop ends the sentence that began at `begin`."""
    stop, after = match["stop"], text[match.end() : match.end() + 1]
    if stop[0] != "." or not after:
        return True
    before = text[max(begin, match.start() - 24) : match.start()]
    if match.start() - begin < len(before) + 1 and _LIST_MARK.match(before) and stop == ".":
        return False  # "1. No effusion": the sentence has only its list mark yet
    if match["gap"] == "" and before[-1:].isdigit():
        return False
    word = _WORD.search(before)
    if word is not None and stop == ".":
        last = word[1].lower()
        if len(last) == 1 and last not in ("s",):
            return after.isupper() and "\n" in match["gap"]
        if last in ABBREVIATIONS:
            return after.isupper() and last not in ("dr", "mr", "mrs", "ms", "prof", "st", "vs")
        if last in _UNITS:
            return not (after.islower() or after.isdigit())
    return not (
        after.islower() and match["gap"] and "\n" not in match["gap"] and stop == "." and _continues(text, match)
    )


def _continues(text: str, match: re.Match[str]) -> bool:
    """Whether a lower-case word behind a full stop goes on with the sentence: it does after a short abbreviation."""
    word = _WORD.search(text[max(0, match.start() - 12) : match.start()])
    return word is not None and len(word[1]) <= 3 and word[1].lower() not in ("lung", "ray", "new", "old", "hernia")
