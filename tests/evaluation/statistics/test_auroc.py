"""AUROC and average precision against scikit-learn, pair loops and hand-worked cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrvl.evaluation.statistics.auroc import RankedScores, auprc, auroc

CASES = st.integers(0, 10_000).map(np.random.default_rng)


def pair_auroc(scores, targets, weights):
    total = mass = 0.0
    for i in np.flatnonzero(targets == 1):
        for j in np.flatnonzero(targets == 0):
            total += (
                weights[i] * weights[j] * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
            )
            mass += weights[i] * weights[j]
    return total / mass


def drawn(rng, n=60, levels=12):
    targets = (rng.random(n) < 0.3).astype(int)
    targets[:2] = 0, 1
    return rng.integers(0, levels, n) + targets * rng.integers(0, 3), targets


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_equals_sklearn_and_the_pair_loop_with_ties_and_weights(rng):
    scores, targets = drawn(rng)
    weights = rng.random(len(scores)) + 0.01
    assert auroc(scores, targets) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    assert auprc(scores, targets) == pytest.approx(average_precision_score(targets, scores), abs=1e-12)
    assert auroc(scores, targets, weights) == pytest.approx(pair_auroc(scores, targets, weights), abs=1e-6)
    expected = average_precision_score(targets, scores, sample_weight=weights)
    assert auprc(scores, targets, weights) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_a_weight_is_a_repetition(rng):
    scores, targets = drawn(rng)
    clusters = rng.integers(0, 9, len(scores))
    counts = rng.integers(0, 4, (9, 5))
    counts[clusters[:2]] += 1  # one image of each class stays
    ranked = RankedScores(scores, targets, clusters, 9)
    for number in range(5):
        many = np.repeat(np.arange(len(scores)), counts[clusters, number])
        assert ranked.auroc(counts)[number] == pytest.approx(roc_auc_score(targets[many], scores[many]), abs=1e-12)
        expected = average_precision_score(targets[many], scores[many])
        assert ranked.auprc(counts)[number] == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert auroc([1, 1, 1], [0, 1, 0]) == 0.5
    assert auprc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_symmetry_and_monotone_invariance(rng):
    scores, targets = drawn(rng)
    area = auroc(scores, targets)
    assert auroc(-scores, targets) == pytest.approx(1 - area, abs=1e-12)
    assert auroc(scores, 1 - targets) == pytest.approx(1 - area, abs=1e-12)
    assert auroc(np.exp(scores / 3), targets) == area


@pytest.mark.parametrize("targets", [[0, 0, 0], [1, 1, 1], []])
def test_without_a_class_it_is_undefined_and_not_zero(targets):
    scores = np.arange(len(targets), dtype=float)
    assert np.isnan(auroc(scores, targets))
    assert np.isnan(auprc(scores, targets))


def test_a_replicate_without_a_class_is_undefined():
    ranked = RankedScores([1, 2, 3], [0, 0, 1])
    areas = ranked.auroc(np.array([[1, 1], [1, 1], [1, 0]]))
    assert areas[0] == 1
    assert np.isnan(areas[1])


def test_infinite_ratings_tie():
    assert auroc([-np.inf, 1.0, -np.inf], [1, 1, 0]) == 0.75


@pytest.mark.parametrize(
    ("scores", "targets", "word"),
    [([np.nan, 1], [0, 1], "NaN"), ([1, 2], [0, -1], "other than 0 and 1"), ([1, 2, 3], [0, 1], "one length")],
)
def test_refusals(scores, targets, word):
    with pytest.raises(ValueError, match=word):
        auroc(scores, targets)
