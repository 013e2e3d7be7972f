"""Are readings of both tuberculosis sets taken apart rightly, whatever their spelling?"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrvl.data.sources.nlm_tuberculosis import parse_reading


@pytest.mark.parametrize(
    ("text", "sex", "age", "rest"),
    [
        ("Patient's Sex: F\nPatient's Age: 027Y\nnormal", "F", 27, "normal"),
        ("Patient\u2019s Sex: M  \r\nPatient\u2019s Age: 061Y\r\nopacity on the left\r\nno effusion\r\n", "M", 61,
         "opacity on the left\nno effusion"),
        ("male 45yrs\nnormal", "M", 45, "normal"),
        ("Female, 24 yrs\nlesion on the right", "F", 24, "lesion on the right"),
        ("femal 50yrs\n\n \nnormal", "F", 50, "normal"),
        ("male 6 months\nnormal", "M", 0.5, "normal"),
        ("Patient's Sex: \nPatient's Age: \nnormal", "", math.nan, "normal"),
        ("male\nnormal", "M", math.nan, "normal"),
        ("masses on both sides", "", math.nan, "masses on both sides"),
        ("", "", math.nan, ""),
    ],
)  # fmt: skip
def test_spellings(text, sex, age, rest):
    reading = parse_reading(text)
    assert (reading.sex, reading.text) == (sex, rest)
    assert reading.age == pytest.approx(age, nan_ok=True)


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_fault_and_without_losing_words(text):
    reading = parse_reading(text)
    kept = reading.text.splitlines()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert all(line in lines for line in kept)
    assert reading.sex in ("F", "M", "")
    assert not reading.age < 0
    if not reading.sex and math.isnan(reading.age):
        assert len(kept) >= len(lines) - 2
