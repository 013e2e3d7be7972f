"""Are the cohort's labels, patients and confounders what was asked for, and the same on every machine?"""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.phantom import ASYMMETRY_FINDINGS, FINDINGS, GENERATOR_VERSION, Cohort, CohortOptions, Phantom
from cxrvl.data.phantom.draws import Draws
from cxrvl.data.phantom.findings import finding_boxes
from cxrvl.errors import ConfigError

DEFAULT = CohortOptions.checked()

# What generator version 1 draws. A change of any number here means: raise GENERATOR_VERSION and renew the digests.
DIGESTS = {1: "a499ab2ec1506ce59195e23ab34d103eddb303f56b002ae92d14ae978af4eb82"}


def draw(images: int, seed: int = 0, **options) -> Cohort:
    return Cohort.draw(seed, np.arange(images), CohortOptions.checked(**options))


def test_truth_is_the_same_everywhere():
    cohort = draw(500)
    phantom = Phantom(cohort)
    rows, columns, corners = finding_boxes(cohort, phantom.anatomy, phantom.lesions)
    seen = hashlib.sha256()
    for array in (cohort.patient, cohort.visit, cohort.present, cohort.side, rows, columns):
        seen.update(array.astype("<i8").tobytes())
    for array in (cohort.severity, cohort.age, corners, phantom.anatomy.cardiothoracic_ratio, phantom.devices.bright):
        seen.update(array.astype("<f8").tobytes())
    seen.update("".join(cohort.split).encode())
    assert seen.hexdigest() == DIGESTS[GENERATOR_VERSION]


def test_uniform_numbers_are_uniform_and_unrelated():
    draws = Draws(3, np.arange(20000))
    a, b = draws.uniform("a"), draws.uniform("b")
    assert np.abs(np.histogram(a, 20, (0, 1))[0] / 1000 - 1).max() < 0.12
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.025
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.025
    assert abs(np.corrcoef(a, Draws(4, np.arange(20000)).uniform("a"))[0, 1]) < 0.025


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    numbers=st.lists(st.integers(0, 10**6), min_size=1, max_size=12),
    at=st.integers(0, 10**6),
)
def test_an_image_depends_on_seed_and_number_alone(seed, numbers, at):
    together, alone = Cohort.draw(seed, np.array([*numbers, at]), DEFAULT), Cohort.draw(seed, np.array([at]), DEFAULT)
    for name in ("patient", "visit", "split", "hospital", "age", "present", "side", "severity"):
        assert np.array_equal(getattr(together, name)[-1:], getattr(alone, name))
    one, many = Phantom(alone), Phantom(together)
    assert np.array_equal(one.anatomy.lungs[0].dome_y, many.anatomy.lungs[0].dome_y[-1:])


def test_prevalence_is_met_and_findings_occur_together():
    asked = {"Pneumothorax": 0.05, "Effusion": 0.4}
    cohort = draw(20000, prevalence=asked)
    share = dict(zip(FINDINGS, cohort.present.mean(0), strict=True))
    assert share["Pneumothorax"] == pytest.approx(0.05, abs=0.01)
    assert share["Effusion"] == pytest.approx(0.4, abs=0.02)
    present = {finding: cohort.present[:, column] for column, finding in enumerate(FINDINGS)}
    assert present["Atelectasis"][present["Effusion"]].mean() > 1.3 * present["Atelectasis"].mean()
    assert np.corrcoef(present["Nodule"], present["Effusion"])[0, 1] == pytest.approx(0, abs=0.04)


def test_zero_prevalence_gives_none():
    assert not draw(400, prevalence=0.0).present.any()


def test_severity_keeps_its_range_and_is_zero_where_absent():
    cohort = draw(4000, severity=(0.2, 0.6))
    assert (cohort.severity[~cohort.present] == 0).all()
    shown = cohort.severity[cohort.present]
    assert 0.2 <= shown.min() < 0.22
    assert 0.58 < shown.max() <= 0.6


def test_patients_keep_split_side_and_body_but_findings_change():
    cohort = draw(4000)
    anatomy = Phantom(cohort).anatomy
    first = {int(patient): row for row, patient in reversed(list(enumerate(cohort.patient)))}
    again = np.array([first[int(patient)] for patient in cohort.patient])
    for kept in (cohort.split, cohort.hospital, cohort.female, cohort.side, anatomy.body.rib_spacing):
        assert np.array_equal(kept, kept[again])
    assert (cohort.present != cohort.present[again]).any()
    both = cohort.present & cohort.present[again] & (cohort.visit > 0)[:, None]
    assert np.abs(cohort.severity - cohort.severity[again])[both].mean() > 0.05
    assert set(np.bincount(cohort.patient)) == {1, 2, 3, 4}


def test_split_shares_are_met_in_small_cohorts():
    patients = {name: set() for name in ("train", "val", "test")}
    cohort = draw(200, split={"train": 0.5, "val": 0.2, "test": 0.3})
    for patient, name in zip(cohort.patient, cohort.split, strict=True):
        patients[name].add(int(patient))
    assert [len(patients[name]) for name in ("train", "val", "test")] == pytest.approx([50, 20, 30], abs=2)


@pytest.mark.parametrize(("plan", "hospitals"), [("A", {0}), ("B", {1}), ("mixed", {0, 1})])
def test_hospital_plans(plan, hospitals):
    assert set(draw(400, hospitals=plan).hospital) == hospitals


def test_hospital_shift_follows_the_split():
    cohort = draw(400, hospitals="shift")
    assert np.array_equal(cohort.hospital == 1, cohort.split == "test")


def test_confounders_tell_nothing_about_findings():
    cohort = draw(20000, seed=5)
    phantom = Phantom(cohort)
    devices, pose = phantom.devices, phantom.anatomy.pose
    confounders = {
        "hospital": cohort.hospital,
        "pacemaker": devices.pacemaker,
        "line": devices.line,
        "tube": devices.tube,
        "electrodes": devices.electrodes,
        "marker": devices.marker,
        "rotation": pose.rotation,
        "exposure": pose.level,
        "gradient": pose.cut_x,
    }
    side = np.where(cohort.side == 1, 1.0, -1.0)
    for name, values in confounders.items():
        for column, finding in enumerate(FINDINGS):
            present = cohort.present[:, column]
            # About 10,000 patients: 4 standard errors are 0.04.
            assert abs(np.corrcoef(values, present)[0, 1]) < 0.04, (name, finding)
            if finding != "Cardiomegaly":
                assert abs(np.corrcoef(values[present], side[present, column])[0, 1]) < 0.08, (name, finding)


def test_asymmetry_findings_have_a_side():
    cohort = draw(2000)
    for finding in ASYMMETRY_FINDINGS:
        column = FINDINGS.index(finding)
        assert set(cohort.side[:, column]) == {0, 1}
        assert cohort.side[:, column].mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prevalence": {"Fracture": 0.1}}, "Fracture"),
        ({"prevalence": 0.9}, "0.9"),
        ({"severity": (0.0, 1.0)}, "severity"),
        ({"severity": (0.8, 0.2)}, "severity"),
        ({"hospitals": "D"}, "'D'"),
        ({"split": {"train": 0.9, "test": 0.2}}, "sum to 1"),
        ({"split": {"training": 1.0}}, "training"),
    ],
)
def test_impossible_options_are_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=said):
        CohortOptions.checked(**options)
