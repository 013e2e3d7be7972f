"""The JAFROC figure of merit against its definition written as loops, hand-worked cases and simulated coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.evaluation.statistics.bootstrap import percentile_interval, replicate
from cxrvl.evaluation.statistics.jafroc import Jafroc, jackknife_interval, jafroc

NONE = -np.inf


def slow(lesions, normals, weights=None):
    """The definition: mean over (lesion, normal image) of 1 if the lesion is rated higher, 1/2 if equal."""
    weights = np.ones(len(lesions)) if weights is None else weights
    total = 0.0
    for rating, weight in zip(lesions, weights, strict=True):
        for normal in normals:
            total += weight * (1.0 if rating > normal else 0.5 if rating == normal else 0.0)
    return total / (weights.sum() * len(normals))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000).map(np.random.default_rng))
def test_equals_the_definition(rng):
    lesions, normals = rng.integers(0, 6, 15).astype(float), rng.integers(0, 5, 20).astype(float)
    lesions[rng.random(15) < 0.3], normals[rng.random(20) < 0.2] = NONE, NONE
    assert jafroc(lesions, normals) == pytest.approx(slow(lesions, normals), abs=1e-12)
    images = rng.integers(0, 6, 15)
    weights = 1 / np.array([(images == image).sum() for image in images])
    figure = Jafroc(lesions, normals, np.arange(15), np.arange(15, 35), 35, images)
    assert figure.figure_of_merit()[0] == pytest.approx(slow(lesions, normals, weights), abs=1e-6)


def test_by_hand():
    # lesions 3, unmarked, 1; normals 2, unmarked, 1, 0:
    # 3 beats all (4), unmarked ties with unmarked (1/2), 1 beats unmarked and 0 and ties with 1 (2 1/2): 7 of 12
    assert jafroc([3, NONE, 1], [2, NONE, 1, 0]) == pytest.approx(7 / 12)
    assert jafroc([NONE], [NONE]) == 0.5
    assert np.isnan(jafroc([], [1.0]))
    assert np.isnan(jafroc([1.0], []))


def test_a_patient_drawn_twice_counts_twice():
    figure = Jafroc([3.0, 0.0], [1.0, 2.0], [0, 1], [1, 2], 3)
    # patient 0 twice, 1 once, 2 not at all: lesions 3, 3, 0 against normal 1
    assert figure.figure_of_merit(np.array([[2], [1], [0]]))[0] == pytest.approx(2 / 3)


def draw(rng, patients=60):
    """A patient is abnormal with 1 to 3 lesions, or has 1 to 3 normal images; ratings share a patient effect."""
    lesions, normals, who = [], [], ([], [])
    for patient in range(patients):
        effect, number, abnormal = rng.normal() * 0.7, rng.integers(1, 4), rng.random() < 0.4
        marked = rng.random(number) < 0.85
        rating = np.where(marked, effect + 0.7 * rng.normal(size=number) + 1.2, NONE) if abnormal else \
            effect + 0.7 * rng.normal(size=number)  # fmt: skip
        (lesions if abnormal else normals).extend(rating)
        who[not abnormal].extend([patient] * number)
    return np.array(lesions), np.array(normals), np.array(who[0]), np.array(who[1])


def test_bootstrap_and_jackknife_cover_with_several_lesions_and_images_per_patient():
    rng = np.random.default_rng(0)
    many = [draw(rng, 400) for _ in range(40)]
    truth = np.mean([jafroc(lesions, normals) for lesions, normals, *_ in many])
    hits = np.zeros(2)
    for run in range(200):
        figure = Jafroc(*draw(rng), 60)
        values = replicate(60, {"": figure.figure_of_merit}, 300, run)[""]
        boot = percentile_interval(float(figure.figure_of_merit()[0]), values)
        jack = jackknife_interval(figure, 60)
        hits += boot.low <= truth <= boot.high, jack[0] <= truth <= jack[1]
    assert ((hits / 200 >= 0.89) & (hits / 200 <= 0.985)).all(), hits / 200
