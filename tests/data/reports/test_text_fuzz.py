"""The whole text pipeline on any text: no exception, places that are right, the same twice, and never slow."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler import Labeler, label_many
from cxrvl.data.reports.cleaning import DEFAULT, clean
from cxrvl.data.reports.errors import ERRORS, inject
from cxrvl.data.reports.sections import HEADERS, SECTION_NAMES, parse_report
from cxrvl.data.reports.sentences import split_sentences
from cxrvl.data.reports.style import STYLES, apply

LABELER = Labeler()
ALL_HEADERS = {header for headers in HEADERS.values() for header in headers}
PIECES = (
    "No effusion. ", "FINDINGS:", "Impression: ", "1. ", "2) ", "- ", "XXXX", "___", "[**a**]", "<b>", "</p>", "&amp;",
    "&lt;", "period", "the the", "no ", "mild ", "left ", "PICC ", "2.5 cm ", "heart is enlarged", "w/ ", "PE ", "?", "...", ",",
    ";", ":", "\n", "\r\n", "\t", "  ", "\x00", "\u200f", "\u202e", "e\u0301", "\u0130", "\u00df", "\ufeff", "\u2028", "\u4e2d",
    "\U0001f600", "\ud800", "(", "(", ")", "-", "/", "\u2019", "\u00a0", "Dr. ", "a", "B",
)  # fmt: skip
MADE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
TEXTS = st.one_of(MADE, st.text(max_size=200), st.text(st.characters(), max_size=60))


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_sections_account_for_every_character(text):
    report = parse_report(text)
    spans = sorted(span for pieces in report.spans.values() for span in pieces)
    for name in SECTION_NAMES:
        assert report.section(name) == "\n".join(span.of(text) for span in report.spans.get(name, ()))
    end = 0
    for start, after in [*spans, (len(text), len(text))]:
        for left in re.split(r"[:\uff1a\n\r]|-{1,2}(?=\s|$)", text[end:start]):
            words = re.sub(r" ?/ ?", "/", " ".join(left.strip(" \t*#>_").lower().replace("&", "and").split()))
            assert words.strip("-") == "" or words in ALL_HEADERS, "only headers and white space belong to no section"
        end = after


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_sentences_and_mentions_lie_where_they_say(text):
    end = 0
    for span in split_sentences(text):
        assert end <= span.start < span.end <= len(text)
        assert text[end : span.start].strip() == ""
        end = span.end
    assert text[end:].strip() == ""
    for mention in LABELER.mentions(text):
        assert 0 <= mention.start < mention.end <= len(text)
        assert mention.cue == "" or mention.cue in text.lower() or not text.isascii()
    assert LABELER.label(text).keys() == LABELER.label("").keys()


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_is_cleaning_once(text):
    once = clean(text)
    assert clean(once) == once
    assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]|\s\s", once)


def replayed(text: str, changes) -> str:
    """Put what stood before back into a text, last change first."""
    for change in reversed(changes):
        assert text[change.start : change.end] == change.after
        text = text[: change.start] + change.before + text[change.end :]
    return text


@given(TEXTS, st.sampled_from(list(STYLES)), st.floats(0, 1), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_styles_are_functions_of_their_seed_and_their_changes_replay(text, name, strength, seed):
    styled = apply(text, {name: strength}, seed=seed, key="k")
    assert styled == apply(text, {name: strength}, seed=seed, key="k")
    assert replayed(styled.text, styled.changes) == text
    assert (styled.text != text) == bool(styled.changes)


@given(TEXTS, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_styles_in_a_row_take_their_own_draws(text, seed):
    both = apply(text, {"case": 0.5, "typing_errors": 1.0}, seed=seed, key="k")
    first = apply(text, {"case": 0.5}, seed=seed, key="k")
    assert both == first._replace(
        text=(last := apply(first.text, {"typing_errors": 1.0}, seed=seed, key="k")).text,
        changes=first.changes + last.changes,
    )


@given(TEXTS, st.sampled_from(list(ERRORS)))
@settings(max_examples=300, deadline=None)
def test_errors_replay(text, name):
    found = inject(text, [name], seed=1, key="k")
    if found is not None:
        assert len(found.changes) == 1
        assert replayed(found.text, found.changes) == text != found.text


@pytest.mark.parametrize("text", ["", " ", "\n", "\x00", ".", "\ufeff", "<br>", "FINDINGS:", "\ud800"])
def test_next_to_nothing(text):
    assert parse_report(text).findings == ""
    assert LABELER.label(clean(text))["No Finding"] == 1
    assert label_many([text]).shape == (1, 14)
    assert apply(text, dict.fromkeys(STYLES, 1.0), seed=0, key="").text is not None


LONG = (
    "(", "((((( )", "no ", "No no. ", "1. ", "1) ", "- ", "a", "A", "1", " ", "\n", " \n", "\t", ". ", ".", "?", "XXXX ", "X",
    "_", "___ ", "[**", "[**a**] ", "<b", "<b ", "<", "&", "&amp;", "no effusion, ", "no effusion or ", "small left effusion ",
    "heart and mediastinum ", "heart is at also borderline ", "PE ", "w/ ", "sm. ", "the the ", "2 x 3 cm ", "FINDINGS:",
    "findings ", ":", "period ", "There is no effusion. ", "There is a small effusion. ", "\u202e", "e\u0301", "tube ",
    "mild to ", "signed by ", "right greater than left ", "calcified a b ", "thickening of the a ", "nodule, ", ", ", "X ",
)  # fmt: skip
SECONDS = 1.0


@pytest.mark.parametrize("unit", LONG)
def test_a_hundred_thousand_characters_take_no_second(unit):
    text = (unit * (100_000 // len(unit) + 1))[:100_000]
    steps = {
        "parse": lambda: parse_report(text),
        "clean": lambda: clean(text),
        "label": lambda: LABELER.label(text),
        "style": lambda: apply(text, {list(STYLES)[LONG.index(unit) % len(STYLES)]: 1.0}, seed=0, key=""),
    }
    for name, step in steps.items():
        start = time.process_time()
        step()
        assert time.process_time() - start < SECONDS, name


def test_every_step_is_in_the_default_cleaning_only_once():
    assert len(set(DEFAULT)) == len(DEFAULT)
