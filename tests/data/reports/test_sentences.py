"""Sentences: where radiology puts full stops that end nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrvl.data.reports.sentences import sentences, split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Clear lungs. Normal heart.", ["Clear lungs.", "Normal heart."]),
        ("A 2.5 cm nodule. No effusion.", ["A 2.5 cm nodule.", "No effusion."]),
        ("Nodule of 3 cm. CT advised.", ["Nodule of 3 cm.", "CT advised."]),
        ("Nodule of 3 cm. in the apex.", ["Nodule of 3 cm. in the apex."]),
        ("Told Dr. Smith at 3 p.m. by phone. Done.", ["Told Dr. Smith at 3 p.m. by phone.", "Done."]),
        ("1. No effusion. 2. No edema.", ["1. No effusion.", "2. No edema."]),
        ("No effusion.The heart is big.", ["No effusion.", "The heart is big."]),
        ("No effusion.. The heart is big.", ["No effusion..", "The heart is big."]),
        ("Stable vs. prior film.", ["Stable vs. prior film."]),
        ("Lungs clear\n\nHeart normal", ["Lungs clear", "Heart normal"]),
        ("- clear lungs\n- normal heart", ["- clear lungs", "- normal heart"]),
        ("Lungs are\nclear.", ["Lungs are\nclear."]),
        ("Is there a nodule? Probably not!", ["Is there a nodule?", "Probably not!"]),
        ("No effusion, ? early infiltrate.", ["No effusion, ? early infiltrate."]),
        ("Opacity ? pneumonia. Done.", ["Opacity ? pneumonia.", "Done."]),
        ("Effusion? Yes.", ["Effusion?", "Yes."]),
        ("Opacity at T9. effusion", ["Opacity at T9.", "effusion"]),
        ("", []),
        (" . ", ["."]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


@given(st.text(alphabet=st.sampled_from("aB1. ,\n?!-()\t"), max_size=200))
def test_only_white_space_lies_between_sentences(text):
    end = 0
    for span in split_sentences(text):
        assert text[end : span.start].strip() == ""
        assert text[span.start : span.end].strip() == text[span.start : span.end] != ""
        end = span.end
    assert text[end:].strip() == ""
