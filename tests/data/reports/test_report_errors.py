"""Errors: each changes what it claims at one recorded place, nothing else, and is a function of its seed."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.cleaning import clean
from cxrvl.data.reports.errors import ERRORS, inject
from cxrvl.errors import ConfigError

FINDINGS = Labeler("findings")
DEGREE = re.compile(
    r"(?i)\b(?:mild|minim|slight|minor|moderate|severe|marked|pronounced|small|tiny|trace|medium|large|massive|huge)"
)
REPORT = (
    "There is a small left pleural effusion. A 2.5 cm nodule is seen in the right upper lobe. Severe edema. "
    "No pneumothorax, fracture, or pneumonia. The trachea is midline. The bones are intact. "
    "An endotracheal tube ends 4 cm above the carina. Left PICC ends in the superior vena cava."
)


def wrong(kind: str, text: str = REPORT, seed: int = 0):
    return inject(text, [kind], seed=seed, key="report")


def all_ways(kind: str, text: str, seeds: int = 60) -> set[str]:
    return {found.text for seed in range(seeds) if (found := wrong(kind, text, seed)) is not None}


def undone(text: str, change) -> str:
    return text[: change.start] + change.before + text[change.end :]


@pytest.mark.parametrize("kind", list(ERRORS))
def test_every_error_has_a_place_in_a_full_report_and_is_seeded(kind):
    ways = all_ways(kind, REPORT)
    assert len(ways) >= 2
    assert REPORT not in ways
    assert wrong(kind, seed=7) == wrong(kind, seed=7)


@pytest.mark.parametrize(
    ("kind", "text", "ways"),
    [
        ("severity", "Mild edema.", {"Moderate edema.", "Severe edema."}),
        ("severity", "There is a tiny effusion.", {"There is a moderate-sized effusion.", "There is a large effusion."}),
        ("severity", "Mild to moderate edema.", {"Mild edema.", "Severe edema."}),
        ("severity", "The heart is mildly enlarged.",
         {"The heart is moderately enlarged.", "The heart is severely enlarged."}),
        ("location", "Left effusion.", {"Right effusion."}),
        ("location", "Right middle lobe mass.",
         {"Right upper lobe mass.", "Right lower lobe mass.", "Left lower lobe mass.", "Left upper lobe mass."}),
        ("location", "Effusions, right greater than left.", {"Effusions, left greater than right."}),
        ("location", "An apical nodule is seen.", {"A basal nodule is seen.", "A basilar nodule is seen."}),
        ("measurement", "A 1.2 cm nodule and 8 lesions.",
         {f"A {n} cm nodule and 8 lesions." for n in ("0.4", "0.5", "0.6", "2.4", "3.0", "3.6")}
         | {"A 1.2 mm nodule and 8 lesions."}),
        ("false_negation", "Small left effusion.", {"No left effusion."}),
        ("false_negation", "There is a large mass in the left lung.", {"There is no mass in the left lung."}),
        ("false_negation", "The heart is enlarged.", {"The heart is not enlarged.", "The heart is normal in size."}),
        ("opposite_sentence", "The lungs are clear.", {"The lungs are not clear."}),
        ("opposite_sentence", "No acute disease.", {"Acute disease."}),
        ("opposite_sentence", "The effusion has improved.", {"The effusion has worsened."}),
        ("opposite_sentence", "Heart size is normal.", {"Heart size is enlarged."}),
        ("rename_device", "An endotracheal tube is seen.",
         {"A tracheostomy tube is seen.", "A nasogastric tube is seen."}),
        ("rename_device", "A pacemaker is in place.", {"A defibrillator is in place."}),
        ("move_device", "The right PICC is in place.", {"The left PICC is in place."}),
        ("move_device", "The tube ends above the carina.", {"The tube ends below the carina."}),
    ],
)  # fmt: skip
def test_all_ways_to_be_wrong(kind, text, ways):
    assert all_ways(kind, text) == ways


def test_a_finding_is_taken_out_of_the_list_that_denies_it():
    ways = all_ways("false_prediction", "No edema, fracture, or pneumothorax is seen.", 200)
    assert any(way.startswith("No edema or fracture is seen. ") and "pneumothorax" in way for way in ways)
    assert any(way.startswith("No fracture or pneumothorax is seen. ") and "edema" in way for way in ways)
    assert len({way.split(". ")[0] for way in ways}) == 3


def test_a_clear_lung_gets_no_opacity_and_a_named_device_is_not_added_again():
    for way in all_ways("false_prediction", "The lungs are clear."):
        assert not {"Consolidation", "Lung Opacity", "Edema", "Nodule"} & set(FINDINGS.label(way))
    for way in all_ways("add_device", "A PICC is in place."):
        assert way.lower().count("picc") == 1


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("severity", "No large effusion."),
        ("severity", "A small bore catheter. The small bowel is dilated."),
        ("location", "No left effusion."),
        ("location", "The tube was left in place. The left ventricle is enlarged."),
        ("location", "Effusion on the left and right."),
        ("measurement", "A nodule at T8, seen in 2010 on 3 views."),
        ("false_negation", "No effusion."),
        ("false_negation", "Left effusion with adjacent atelectasis."),
        ("false_negation", "Left effusion. Stable left effusion."),
        ("opposite_sentence", "There is a nodule."),
        ("rename_device", "No endotracheal tube."),
        ("move_device", "Left effusion."),
        ("move_device", "No right chest tube."),
        *((kind, "") for kind in ERRORS),
    ],
)
def test_a_text_without_a_place_is_left_alone(kind, text):
    assert all_ways(kind, text, 10) == set()


def claimed(kind: str, before: str, after: str, change) -> bool:
    """Whether the two texts differ in what an error claims, told by words of this test's own where words tell it."""
    name, _, finding = kind.partition(":")
    was, now = FINDINGS.label(before), FINDINGS.label(after)
    differ = {label for label in {*was, *now} if was.get(label) != now.get(label)}
    match name:
        case "severity":
            return bool(DEGREE.search(change.before) and DEGREE.search(change.after)) and not differ
        case "location":
            return change.before.lower() != change.after.lower() and not differ and len(change.before.split()) <= 6
        case "false_prediction":
            return finding in differ and was.get(finding, 0) == 0 and now[finding] == 1
        case "false_negation":
            return finding in differ and was[finding] in (1, -1) and now[finding] == 0
        case "measurement":
            numbers = re.findall(r"[\d.]+", before) != re.findall(r"[\d.]+", after)
            return (numbers or {change.before, change.after} == {"cm", "mm"}) and not differ
        case "add_device":
            return change.before == "" and now["Support Devices"] == 1 and differ <= {"Support Devices"}
        case "rename_device" | "move_device":
            return was["Support Devices"] == now["Support Devices"] and not differ
    return change.before.lower() != change.after.lower()


def check(text: str, kind: str, seed: int) -> bool:
    found = inject(text, [kind], seed=seed, key="real")
    if found is None:
        return False
    (change,) = found.changes
    assert change.kind.partition(":")[0] == kind
    assert found.text[change.start : change.end] == change.after != change.before
    assert undone(found.text, change) == text, "nothing but the recorded place changed"
    assert claimed(change.kind, text, found.text, change), (text, found)
    assert "  " not in found.text or "  " in text
    assert not re.search(
        r"\b[Aa] (?=[aeio]\w+ (?:tube|nodule|lobe))|\b[Aa]n (?=[bcdfgjklpqrtvwz])|\.\.", found.text
    ) or re.search(r"\.\.|\b[Aa]n? ", text)
    return True


@given(st.permutations(REPORT.split(". ")), st.integers(1, 7), st.sampled_from(list(ERRORS)), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_made_reports_change_as_claimed(parts, length, kind, seed):
    check(". ".join(parts[:length]).rstrip(".") + ".", kind, seed)


@given(
    st.text(alphabet=st.sampled_from("no NO left 2 cm effusion. ,;\nPICC 12 heart is\t")), st.sampled_from(list(ERRORS))
)
@settings(max_examples=150, deadline=None)
def test_any_text_is_changed_as_claimed_or_not_at_all(text, kind):
    found = wrong(kind, text)
    if found is not None:
        (change,) = found.changes
        assert undone(found.text, change) == text != found.text


LEAST = {
    "severity": 0.1, "location": 0.15, "false_prediction": 0.95, "false_negation": 0.08, "measurement": 0.01,
    "opposite_sentence": 0.6, "add_device": 0.95, "rename_device": 0.02, "move_device": 0.01,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(ERRORS))
def test_real_reports_change_as_claimed(kind, openi_reports):
    texts = [text for report in openi_reports[::4] for text in report if text]
    changed = sum(check(text, kind, 3) for text in texts)
    assert changed >= LEAST[kind] * len(texts), f"{changed} of {len(texts)}"


@pytest.fixture(scope="module")
def openi_reports(shared):
    """Findings and impression of every Open-i report, cleaned."""
    import tarfile
    import xml.etree.ElementTree as ElementTree

    found = []
    with tarfile.open(shared / "data/openi/NLMCXR_reports.tgz") as archive:
        for member in archive:
            if member.name.endswith(".xml"):
                root = ElementTree.fromstring(archive.extractfile(member).read())
                parts = {p.get("Label"): p.text or "" for p in root.iter("AbstractText")}
                found.append((clean(parts.get("FINDINGS", "")), clean(parts.get("IMPRESSION", ""))))
    return found


def test_one_of_several_errors_is_drawn_and_the_order_of_their_names_does_not_matter():
    kinds = {inject(REPORT, list(ERRORS), seed=s, key="").changes[0].kind.partition(":")[0] for s in range(120)}
    assert kinds == set(ERRORS)
    assert inject(REPORT, ["severity", "location"], seed=1, key="a") == inject(
        REPORT, ["location", "severity"], seed=1, key="a"
    )
    assert inject("Left effusion.", ["measurement", "location"], seed=1, key="a").text == "Right effusion."


def test_unknown_errors_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'severity'"):
        inject("x", ["severty"], seed=0, key="")
    with pytest.raises(ConfigError, match="at least one"):
        inject("x", [], seed=0, key="")
