"""Where does each sentence of a report begin and end?"""

import re
from functools import lru_cache
from string import ascii_letters

from cxrvl.data.reports.spans import Span, trimmed

ABBREVIATIONS = frozenset({
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "e.g", "i.e", "eg", "ie", "approx", "ca", "cf", "etc", "fig", "no",
    "resp", "incl", "excl", "pt", "pts", "r", "l", "a.p", "p.a", "a.m", "p.m", "min", "max", "temp", "lat", "ant",
    "post", "sup", "inf", "med", "seg", "art", "v", "m", "n", "q", "h.o", "s.p", "dept", "hosp", "mod", "abd", "bilat",
})  # fmt: skip
"""Words before a full stop that ends no sentence when what follows could go on; single letters are initials."""

_LONGEST_CUT = 1 + max(map(len, ABBREVIATIONS))
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
# The same on a text of one line, where it need not look at every character.
_STOP = re.compile(r"""(?P<stop>[.!?]+["')\]]*)(?P<gap>\s+|(?=[A-Z][a-z])|\Z)""")
_LETTERS = ascii_letters + "."
# Most sentences, in one look: a full stop that ends one for sure, with no other stop and no line break before it.
_PLAIN = re.compile(
    rf"""
    (?P<sentence>[A-Za-z0-9][^.!?\n]*+
        (?:\.{{2,}}(?=\s|\Z) | \.(?=\s*\Z)
        | (?<=[A-Za-z]{{{_LONGEST_CUT}}})\.(?=\s)                            # longer than any abbreviation
        | (?:(?<=[A-Za-z]{{5}})|(?<=[a-z]{{4}})(?<!prof))\.(?=\s+[A-Z])))    # or than any title
    \s*
    """,
    re.X,
)


def split_sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without white space at their ends.

    A list mark ("1.", "2)", "-") stays with its sentence. Decimals, initials, titles and the usual abbreviations do
    not end one; an empty line and a new list item do. Between the spans there is only white space.
    """
    return list(_split(text))


@lru_cache(maxsize=32)
def _split(text: str) -> tuple[Span, ...]:
    """One report goes through several hands in a row."""
    spans: list[Span] = []
    begin = bare = place = 0  # up to `bare` there are only stray dots, up to `place` there is no other end
    candidate = _CANDIDATE if "\n" in text else _STOP
    while True:
        while begin == place and (plain := _PLAIN.match(text, begin)):
            spans.append(Span(begin, plain.end("sentence")))
            begin = place = plain.end()
        match = candidate.search(text, place)
        if match is None:
            break
        stop, place = match["stop"], match.end()
        if stop is not None and not _ends(text, begin, match):
            continue
        end = match.start() + len(stop) if stop is not None else match.start()
        span = trimmed(text, begin, end)
        if span.end > span.start:
            if _has_words(text[max(begin, bare) : span.end]):
                spans.append(span)
            elif spans:  # stray dots belong to the sentence before
                spans[-1] = Span(spans[-1].start, span.end)
            else:  # or, at the beginning, to the one behind: "? effusion"
                begin, bare = span.start, span.end
                continue
        begin = match.end()
    span = trimmed(text, begin, len(text))
    if span.end > span.start:
        spans.append(span)
    return tuple(spans)


def sentences(text: str) -> list[str]:
    """Return the sentences themselves."""
    return [span.of(text) for span in split_sentences(text)]


def _has_words(sentence: str) -> bool:
    return sentence[:1].isalnum() or any(character.isalnum() for character in sentence)


def _ends(text: str, begin: int, match: re.Match[str]) -> bool:
    """Whether a full stop ends the sentence that began at `begin`."""
    stop, after = match["stop"], text[match.end() : match.end() + 1]
    if (
        stop == "."
        and match["gap"]
        and after.isupper()
        and text[match.start() - _LONGEST_CUT : match.start()].isalpha()
    ):
        return True  # behind a word that is longer than any abbreviation
    if stop == "?" and after and _asks_ahead(text[begin : match.start()], after):
        return False
    if stop[0] != "." or not after:
        return True
    before = text[max(begin, match.start() - 24) : match.start()]
    if match.start() - begin < len(before) + 1 and _LIST_MARK.match(before) and stop == ".":
        return False  # "1. No effusion": the sentence has only its list mark yet
    if match["gap"] == "" and before[-1:].isdigit():
        return False
    last = _last_word(before)
    if last and stop == ".":
        if len(last) == 1 and last != "s":
            return after.isupper() and "\n" in match["gap"]
        if last in ABBREVIATIONS:
            return after.isupper() and last not in ("dr", "mr", "mrs", "ms", "prof", "st", "vs")
        if last in _UNITS:
            return not (after.islower() or after.isdigit())
    return not (
        after.islower() and match["gap"] and "\n" not in match["gap"] and stop == "." and _continues(text, match)
    )


def _asks_ahead(before: str, after: str) -> bool:
    """Whether a question mark stands before what it questions: "no effusion, ? early infiltrate"."""
    return before.rstrip()[-1:] in (",", ";", ":", "(") or (before[-1:].isspace() and after.islower())


def _continues(text: str, match: re.Match[str]) -> bool:
    """Whether a lower-case word behind a full stop goes on with the sentence: it does after a short abbreviation."""
    word = _last_word(text[max(0, match.start() - 12) : match.start()])
    return 0 < len(word) <= 3 and word not in ("lung", "ray", "new", "old", "hernia")


def _last_word(text: str) -> str:
    """The letters, and full stops between them, that a text ends with, in lower case."""
    return text[len(text.rstrip(_LETTERS)) :].lstrip(".").lower()
