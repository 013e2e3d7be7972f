"""Styles: each changes what it claims, keeps what it claims, and is a function of its seed."""

import hashlib
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.abbreviations import table
from cxrvl.data.reports.cleaning import clean
from cxrvl.data.reports.edits import Edit, apply_edits
from cxrvl.data.reports.style import STYLES, apply, style_generator
from cxrvl.data.reports.style.engine import KEEPING, _keyed
from cxrvl.errors import ConfigError

REPORT = (
    "The heart is mildly enlarged. No pleural effusion or pneumothorax. There is patchy opacity in the right lower lobe. "
    "This may represent pneumonia. Degenerative changes of the thoracic spine. Endotracheal tube ends above the carina."
)
FINDINGS = Labeler("findings")


def styled(name: str, text: str = REPORT, seed: int = 0, strength: float = 1.0):
    return apply(text, {name: strength}, seed=seed, key="report")


@pytest.mark.parametrize("name", [name for name in STYLES if name not in ("expand", "split", "impression_only")])
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


# Of all Open-i reports that a style changes, the share whose every statement the labeler must read as before, and the
# least share that it changes. Mistyped words are beyond a rule labeler, so nothing is asked of `typing_errors` here.
KEPT = {
    "expand": (1.0, 0.05), "abbreviate": (0.99, 0.9), "synonyms": (0.99, 0.9), "negations": (0.995, 0.6),
    "shuffle": (0.999, 0.9), "merge": (0.999, 0.9), "split": (1.0, 0.003), "case": (0.999, 0.9), "punctuation": (0.999, 0.9),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_statements_of_real_reports_are_kept(name, openi_texts):
    texts = openi_texts[::3] if name != "split" else openi_texts
    changed = differ = 0
    for number, text in enumerate(texts):
        new = apply(text, {name: 1.0}, seed=2, key=str(number)).text
        if new != text:
            changed += 1
            read = apply(new, {"expand": 1.0}, seed=0, key="").text if name == "abbreviate" else new
            differ += FINDINGS.label(read) != FINDINGS.label(text)
    print(f"\n{name}: {changed} of {len(texts)} reports changed, {differ} read otherwise")
    kept, least = KEPT[name]
    assert changed >= least * len(texts)
    assert differ <= (1 - kept) * changed


def test_no_keeping_style_is_left_out():
    assert {*KEPT, "typing_errors"} == set(KEEPING)


@pytest.fixture(scope="module")
def openi_texts(shared):
    """Findings and impression of every Open-i report as one text, cleaned."""
    with tarfile.open(shared / "data/openi/NLMCXR_reports.tgz") as archive:
        roots = [ElementTree.fromstring(archive.extractfile(m).read()) for m in archive if m.name.endswith(".xml")]
    parts = [{part.get("Label"): part.text or "" for part in root.iter("AbstractText")} for root in roots]
    texts = [clean(f"{found.get('FINDINGS', '')} {found.get('IMPRESSION', '')}") for found in parts]
    return [text for text in texts if text]


@pytest.mark.parametrize(
    "text",
    [
        "The heart is at the upper limits of normal.",
        "The heart is top normal.",
        "A small bore tube in the small bowel.",
        "A large-bore catheter.",
        "The minor fissure is thick.",
        "Right upper lobe mass.",
    ],
)
def test_fixed_expressions_have_no_synonyms(text):
    assert {styled("synonyms", text, seed=seed).text for seed in range(20)} == {text}


def test_the_draws_are_philox_of_a_hash():
    """One generator serves all styles of a report: each begins as a new one of its key, whatever was drawn before."""
    used = style_generator(0, 0, "other", "expand")
    used.integers(4, size=3)
    for generator in (style_generator(3, 1, "report", "case"), _keyed(used, 3, 1, "report", "case")):
        words = np.frombuffer(hashlib.sha256(b"3\x001\x00report\x00case").digest()[:16], dtype="<u8")
        expected = np.random.Generator(np.random.Philox(key=words.astype(np.uint64)))
        for draw in (lambda g: g.integers(4), lambda g: g.random(7), lambda g: g.permutation(9)):
            np.testing.assert_array_equal(draw(generator), draw(expected))


def test_an_impression_alone():
    report = "FINDINGS: The heart is large. No effusion.\nIMPRESSION: Cardiomegaly."
    assert styled("impression_only", report).text == "Cardiomegaly."
    assert styled("impression_only", "FINDINGS: The heart is large.").text == "FINDINGS: The heart is large."
    assert styled("impression_only", REPORT).text == REPORT
    drawn = [styled("impression_only", report, seed=seed, strength=0.3).text != report for seed in range(300)]
    assert 0.2 < sum(drawn) / 300 < 0.4


def test_expansion_does_not_depend_on_the_process():
    """Two abbreviations that differ by a capital alone are tried in one order, whatever order a set of words has."""
    command = (
        "from cxrvl.data.reports import abbreviations as a; print([p.pattern for p in a._short_patterns().values()])"
    )
    patterns = {
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(patterns) == 1


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
