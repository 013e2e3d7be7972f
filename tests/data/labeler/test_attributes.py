"""Does the reader of attributes find side, severity, zone, size and change in sentences like real ones?"""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrvl.data.labeler.attributes import describe


def read(text: str) -> dict[str, tuple]:
    found = {}
    for d in describe(text):
        words = tuple(cue.value if cue else None for cue in (d.side, d.severity, d.zone, d.change))
        found[d.mention.label] = (*words, d.size.mm if d.size else None)
    return found


# Own sentences: text, finding, (side, severity, zone, change, millimetres).
CASES = [
    ("Small left pleural effusion.", "Effusion", ("left", "mild", None, None, None)),
    ("There are bilateral pleural effusions, large.", "Effusion", ("both", "severe", None, None, None)),
    ("Effusion on the right, which has increased.", "Effusion", ("right", None, None, "worse", None)),
    ("Trace right greater than left pleural effusions.", "Effusion", ("both", "mild", None, None, None)),
    ("Mild to moderate cardiomegaly, stable.", "Cardiomegaly", (None, "moderate", None, "unchanged", None)),
    ("Moderate to large right pneumothorax.", "Pneumothorax", ("right", "severe", None, None, None)),
    ("A 1.4 cm nodule in the right upper lobe.", "Nodule", ("right", None, "upper", None, 14.0)),
    ("Left midlung mass measuring 3.2 x 4.1 cm.", "Mass", ("left", None, "middle", None, 41.0)),
    ("Small right effusion and moderate left basal atelectasis.", "Atelectasis", ("left", "moderate", "lower", None, None)),
    ("Small right effusion and moderate left basal atelectasis.", "Effusion", ("right", "mild", None, None, None)),
    ("Right effusion with adjacent mild atelectasis.", "Atelectasis", ("right", "mild", None, None, None)),
    ("Bibasilar consolidation, improved.", "Consolidation", ("both", None, "lower", "better", None)),
    ("New consolidation in the RLL.", "Consolidation", ("right", None, "lower", "new", None)),
    ("Large left pneumothorax with shift of the mediastinum to the right.", "Pneumothorax", ("left", "severe", None, None, None)),
    ("Effusion is slightly decreased on the left.", "Effusion", ("left", None, None, "better", None)),
    ("No significant change in the small right effusion.", "Effusion", ("right", "mild", None, "unchanged", None)),
    ("The heart is slightly large.", "Cardiomegaly", (None, "mild", None, None, None)),
    ("Moderately enlarged heart with a small left effusion.", "Cardiomegaly", (None, "moderate", None, None, None)),
    ("Interval development of left basilar consolidation.", "Consolidation", ("left", None, "lower", "new", None)),
    ("Severe left ventricular enlargement.", "Cardiomegaly", (None, "severe", None, None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "finding", "expected"), CASES)
def test_sentences(text, finding, expected):
    assert read(text)[finding] == expected


def test_denied_findings_are_not_described():
    assert read("No large left effusion. No pneumothorax.") == {}


def test_nothing_is_taken_from_another_sentence_or_finding():
    text = "Large heart. Pleural effusion. The left lung is clear."
    assert read(text)["Effusion"] == (None, None, None, None, None)
    both = read("Moderate cardiomegaly and right effusion.")
    assert both["Effusion"][:2] == ("right", None)
    assert both["Cardiomegaly"][1] == "moderate"


def test_evidence_lies_at_its_place():
    text = "Comparison: none. Two nodules. There is a moderate RIGHT basal consolidation of 22 mm, increased."
    described = next(d for d in describe(text) if d.mention.label == "Consolidation")
    assert [text[c.start : c.end].lower() for c in (described.side, described.severity, described.zone)] == [
        "right", "moderate", "basal",
    ]  # fmt: skip
    assert text[described.change.start : described.change.end] == "increased"
    assert text[described.size.start : described.size.end].strip() == "22 mm"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), st.sampled_from([case[0] for case in CASES]))
def test_places_are_right_in_any_text(noise, sentence):
    text = f"{noise}\n\n{sentence}"
    for described in describe(text):
        for cue in (described.side, described.severity, described.zone, described.change, described.size):
            assert cue is None or 0 <= cue.start < cue.end <= len(text)


def test_sides_and_severities_agree_with_those_coded_by_hand(shared):
    """Open-i's MeSH terms ("Pleural Effusion/left/small") were given by people who read the reports."""
    names = {"Pleural Effusion": "Effusion", "Pulmonary Atelectasis": "Atelectasis", "Nodule": "Nodule",
             "Cardiomegaly": "Cardiomegaly", "Consolidation": "Consolidation"}  # fmt: skip
    coded = {
        "side": {"left": "left", "right": "right", "bilateral": "both"},
        "severity": {"mild": "mild", "small": "mild", "moderate": "moderate", "large": "severe", "severe": "severe"},
    }
    right, asked = dict.fromkeys(coded, 0), dict.fromkeys(coded, 0)
    with (shared / "data/openi/indiana_reports.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            terms = [[part.strip() for part in term.split("/")] for term in row["MeSH"].split(";")]
            terms = [term for term in terms if term[0] in names]
            described = describe(f"{row['findings']} {row['impression']}") if terms else []
            for term in terms:
                mine = [d for d in described if d.mention.label == names[term[0]]]
                for kind, words in coded.items():
                    given = {words[word] for word in term[1:] if word in words}
                    if len(given) != 1 or not mine or sum(other[0] == term[0] for other in terms) > 1:
                        continue
                    if kind == "side" and term[0] == "Cardiomegaly":
                        continue
                    asked[kind] += 1
                    right[kind] += {getattr(d, kind).value for d in mine if getattr(d, kind)} == given
    shares = {kind: right[kind] / asked[kind] for kind in coded}
    print("\n" + ", ".join(f"{kind}: {shares[kind]:.3f} of {asked[kind]}" for kind in coded))
    assert min(asked.values()) > 200
    assert shares["side"] > 0.9
    assert shares["severity"] > 0.88
