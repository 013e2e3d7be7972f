"""Cleaning: each step removes what it names, keeps the rest, and does nothing the second time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrvl.data.reports.cleaning import STEPS, clean
from cxrvl.errors import ConfigError


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("characters", "it\u2019s 5\u20136 cm\u00a0wide\x07", "it's 5-6 cm wide"),
        ("markup", "<p>No effusion &amp; nodule <5 mm.<br/>Clear</p>", " No effusion & nodule <5 mm.\nClear\n"),
        ("deidentification", "Normal chest x-XXXX.", "Normal chest x-ray."),
        ("deidentification", "XXXX-year-old man, seen [**2101-1-2**] .", "year-old man, seen."),
        ("deidentification_marker", "On XXXX XXXX by [**Name**].", "On ___ by ___."),
        ("numbering", "1. Clear lungs. 2. Nodule of 2.5 cm.", "Clear lungs. Nodule of 2.5 cm."),
        ("numbering", "- clear\n\u2022 normal", "clear\nnormal"),
        ("numbering", "1. 5 cm nodule", "1. 5 cm nodule"),
        ("line_ends", "- no edema\n- cardiomegaly", "- no edema.\n- cardiomegaly"),
        ("line_ends", "1. No edema.\n2. Large heart", "1. No edema.\n2. Large heart"),
        ("line_ends", "HEART: large\nLungs/pleura: clear", "HEART: large.\nLungs/pleura: clear"),
        ("line_ends", "The heart is\nlarge, with a\nnodule of\n3 cm", "The heart is\nlarge, with a\nnodule of\n3 cm"),
        ("dictation", "Clear lungs.\nElectronically signed by A. B. on 1/2/2003", "Clear lungs.\n"),
        ("dictation", "There there is no edema..", "There is no edema."),
        ("dictation", "FINAL REPORT\nclear lungs period", "\nclear lungs."),
        ("lines", "The lungs\nare clear.\n\nNormal  heart.", "The lungs are clear.\n\nNormal heart."),
        ("white_space", "  a \n b ", "a b"),
    ],
)
def test_steps(step, text, expected):
    assert clean(text, [step]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Heart size is 15 cm. The ratio is 0.5.",
        "A follow-up in 2-3 weeks (e.g. 14 days) is advised.",
        "Opacity <3 cm, >1 cm.",
        "Menstrual period unknown; transverse colon distended.",
        "No reported trauma; prior report unavailable.",
    ],
)
def test_what_belongs_to_the_report_stays(text):
    assert clean(text) == text


@given(st.text(alphabet=st.sampled_from("abX_.:,;12 \n-()<>&"), max_size=120))
def test_cleaning_ends_and_never_grows(text):
    once = clean(text)
    assert len(once) <= len(text) + 8 * text.count("-X")
    assert once == once.strip()


def test_an_unknown_step_names_the_nearest():
    assert "numbering" in STEPS
    with pytest.raises(ConfigError, match="did you mean 'numbering'"):
        clean("x", ["numbring"])
