"""Sections: headers of many houses, none lost, nothing in two places; policies and their spans."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrvl.data.reports.policy import POLICIES, compose
from cxrvl.data.reports.sections import HEADERS, SECTION_NAMES, parse_report
from cxrvl.errors import ConfigError

HOSPITAL = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PORTABLE AP)

 INDICATION:  ___-year-old man with fever.

 COMPARISON:  Chest radiograph ___.

 FINDINGS:

 The heart is top normal.  A 1.5 cm nodule projects over the right apex.
 No effusion.

 IMPRESSION:

 1.  No pneumonia.
 2.  Nodule: CT is advised.

 ADDENDUM:
 IMPRESSION: The nodule is a nipple shadow.
"""


def test_a_hospital_report():
    report = parse_report(HOSPITAL)
    assert report.sectioned
    assert report.technique == "CHEST (PORTABLE AP)"
    assert report.indication == "___-year-old man with fever."
    assert report.findings.startswith("The heart is top normal.")
    assert report.findings.endswith("No effusion.")
    assert report.impression == "1.  No pneumonia.\n 2.  Nodule: CT is advised.\nThe nodule is a nipple shadow."
    assert len(report.spans["impression"]) == 2


@pytest.mark.parametrize(
    ("text", "section", "content"),
    [
        ("FINDINGS: clear", "findings", "clear"),
        ("Findings\nclear", "findings", "clear"),
        ("**Findings:** clear", "findings", "clear"),
        ("FINDINGS - clear", "findings", "clear"),
        ("# Conclusion\nnormal", "impression", "normal"),
        ("IMPRESSION / RECOMMENDATION: normal", "impression", "normal"),
        ("Impression & Recommendations: normal", "impression", "normal"),
        ("FINDINGS AND IMPRESSION: normal", "impression", "normal"),
        ("Reason for this examination: cough", "indication", "cough"),
        ("Comparison: None. Findings: clear. Impression: normal.", "findings", "clear."),
        ("Indication: cough Findings: clear", "indication", "cough"),
        ("The chest is normal. IMPRESSION: none", "other", "The chest is normal."),
        ("FINDINGS - clear. IMPRESSION - normal.", "impression", "normal."),
        ("[FINDINGS] clear. [IMPRESSION] normal.", "findings", "clear."),
        ("**Findings:** clear.\n\n**Impression:** normal.", "findings", "clear."),
        ("## Findings\nclear.\n## Impression\nnormal.", "findings", "clear."),
        ("IMPRESSION 1. clear\n2. normal", "impression", "1. clear\n2. normal"),
        ("Radiographic findings: clear\nRadiological impression: normal", "impression", "normal"),
        ("Lungs clear. Imp: normal.", "impression", "normal."),
    ],
)
def test_headers_in_many_spellings(text, section, content):
    assert parse_report(text).section(section) == content


@pytest.mark.parametrize(
    "text",
    [
        "Comparison is made to the prior study.",
        "No new findings: the heart is normal.",
        "Ratio 1:2, result: stable nodule.",
        "The impression remains unchanged",
        "Our impression 1. is no other",
        "The nodule [findings] is not new",
        "No findings - the heart is normal",
        "clear lungs\nnormal heart",
        "",
    ],
)
def test_words_that_open_no_section(text):
    report = parse_report(text)
    assert not report.sectioned
    assert report.other == text.strip()


def test_every_known_header_opens_its_section():
    for section, headers in HEADERS.items():
        for header in headers:
            report = parse_report(f"{header.upper()}: some words")
            assert report.section(section) == "some words", header


@given(st.text(max_size=400), st.lists(st.sampled_from(sorted(POLICIES)), min_size=1, max_size=3))
def test_nothing_is_in_two_sections_and_spans_say_where(text, policies):
    report = parse_report(text)
    spans = sorted(span for pieces in report.spans.values() for span in pieces)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    for name, pieces in report.spans.items():
        assert name in SECTION_NAMES
        assert report.section(name) == "\n".join(text[span.start : span.end] for span in pieces)
    for policy in policies:
        joined = compose(report, policy, "Summarise this")
        assert joined.text[slice(*joined.instruction)] == "Summarise this"
        assert all(joined.body.start <= s.start and s.end <= joined.body.end for s in joined.parts.values())


def test_words_are_never_lost():
    text = "before FINDINGS: a b c IMPRESSION: d e TECHNIQUE: f"
    report = parse_report(text)
    words = " ".join(report.section(name) for name in SECTION_NAMES).split()
    assert sorted(words) == ["a", "b", "before", "c", "d", "e", "f"]


def test_long_text_takes_linear_time():
    start = time.perf_counter()
    for text in ("findings " * 12_000, "a" * 100_000, "x: " * 33_000, "\n" * 100_000, "FINDINGS:\n" * 10_000):
        parse_report(text)
    assert time.perf_counter() - start < 20


def test_policies_fall_back_and_never_invent():
    report = {"findings": "f", "impression": "", "report": "whole"}
    assert compose(report, "impression").text == ""
    assert compose(report, "impression_else_findings").text == "f"
    assert compose(report, "both").parts.keys() == {"findings"}
    assert compose({"report": "whole"}, "findings_else_impression").text == "whole"
    empty = compose(report, "impression", "Tell")
    assert (empty.text, empty.body.start, empty.body.end) == ("Tell", 4, 4)
    both = compose({"findings": "ab", "impression": "cd"}, "both", "Go", lambda name, text: text * 2)
    assert both.text == "Go abab cdcd"
    assert {name: both.text[slice(*span)] for name, span in both.parts.items()} == {
        "findings": "abab",
        "impression": "cdcd",
    }


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'impression"):
        compose({}, "impresion")
