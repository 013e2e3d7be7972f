"""Styles: each changes what it claims, keeps what it claims, and is a function of its seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.abbreviations import table
from cxrvl.data.reports.edits import Edit, apply_edits
from cxrvl.data.reports.style import STYLES, apply
from cxrvl.data.reports.style.engine import KEEPING
from cxrvl.errors import ConfigError

REPORT = (
    "The heart is mildly enlarged. No pleural effusion or pneumothorax. There is patchy opacity in the right lower lobe. "
    "This may represent pneumonia. Degenerative changes of the thoracic spine. Endotracheal tube ends above the carina."
)
FINDINGS = Labeler("findings")


def styled(name: str, text: str = REPORT, seed: int = 0, strength: float = 1.0):
    return apply(text, {name: strength}, seed=seed, key="report")


@pytest.mark.parametrize("name", [name for name in STYLES if name not in ("expand", "split")])
def test_every_style_changes_a_report(name):
    assert any(styled(name, seed=seed).text != REPORT for seed in range(5))
    assert styled(name, strength=0.0).text == REPORT


@pytest.mark.parametrize("name", list(STYLES))
def test_the_same_seed_gives_the_same_text(name):
    assert styled(name, seed=3) == styled(name, seed=3)


@pytest.mark.parametrize("name", [name for name in KEEPING if name not in ("abbreviate", "typing_errors")])
@pytest.mark.parametrize("seed", range(5))
def test_statements_are_kept(name, seed):
    assert FINDINGS.label(styled(name, seed=seed).text) == FINDINGS.label(REPORT)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_abbreviated_can_be_expanded_again(seed):
    short = styled("abbreviate", seed=seed).text
    assert len(short) < len(REPORT)
    assert FINDINGS.label(styled("expand", short).text) == FINDINGS.label(REPORT)


def test_the_table_is_large_and_marks_what_is_ambiguous():
    rows = table()
    assert len(rows) >= 300
    meanings: dict[str, set[str]] = {}
    for row in rows:
        meanings.setdefault(row.short, set()).add(row.kind)
    assert all(kinds == {"ambiguous"} for kinds in meanings.values() if len(kinds) > 1)
    assert all(row.context for row in rows if row.kind == "ambiguous")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RLL opac. w/ sm. pl. eff.", "Right lower lobe opacity with small pleural effusion."),
        ("PE blunting the costophrenic angle.", "Pleural effusion blunting the costophrenic angle."),
        ("CTPA showed PE.", "Computed tomography pulmonary angiography showed pulmonary embolism."),
        ("PE is noted.", "PE is noted."),
        ("No PTX. ETT ok.", "No pneumothorax. Endotracheal tube ok."),
    ],
)
def test_abbreviations_are_written_out_where_the_sentence_decides(text, expected):
    assert styled("expand", text).text == expected


@given(st.integers(0, 500))
@settings(max_examples=30)
def test_a_shuffle_is_another_order_of_the_same_sentences(seed):
    text = "A one. B two. C three. D four."
    new = styled("shuffle", text, seed=seed).text
    assert new != text
    assert sorted(new.split(". ")) != []
    assert sorted(new.replace(".", "").split()) == sorted(text.replace(".", "").split())


def test_a_sentence_that_refers_stays_behind_its_own():
    for seed in range(20):
        text = styled("shuffle", "A nodule. This is new. No effusion. Normal heart.", seed=seed).text
        assert "A nodule. This is new." in text


def test_one_sentence_cannot_be_shuffled_and_one_always_stays():
    assert styled("shuffle", "No effusion.").text == "No effusion."
    assert styled("omit", "No effusion. Normal heart.").text in ("No effusion.", "Normal heart.")


@given(
    st.text(alphabet=st.sampled_from("no NO effusion. ,;\nRLL w/ 12 heart PTX"), max_size=150),
    st.sampled_from(list(STYLES)),
)
@settings(max_examples=150)
def test_any_text_goes_through_and_changes_lie_where_they_say(text, name):
    new = apply(text, {name: 1.0}, seed=1, key="x")
    for change in new.changes:
        assert new.text[change.start : change.end] == change.after


def test_edits_keep_the_rest():
    out = apply_edits(
        "abcdef", [Edit(1, 2, "XX", "a"), Edit(1, 3, "Y", "b"), Edit(4, 5, "", "c"), Edit(5, 6, "f", "d")]
    )
    assert out.text == "aYdf"
    assert [(c.kind, c.start, c.end, c.before, c.after) for c in out.changes] == [
        ("b", 1, 2, "bc", "Y"),
        ("c", 3, 3, "e", ""),
    ]


def test_unknown_styles_and_strengths_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'shuffle'"):
        apply("x", {"shufle": 1.0}, seed=0, key="")
    with pytest.raises(ConfigError, match="expected 0"):
        apply("x", {"shuffle": 2.0}, seed=0, key="")
    assert np.isclose(
        sum(apply(REPORT, {"omit": 0.5}, seed=s, key="").text != REPORT for s in range(40)) / 40, 1, atol=0.2
    )
