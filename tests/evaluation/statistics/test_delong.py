"""DeLong and Obuchowski against pair loops, hand-worked cases and simulated coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cxrvl.evaluation.statistics.delong import delong, delong_test
from cxrvl.evaluation.statistics.operating_point import wilson

CASES = st.integers(0, 10_000).map(np.random.default_rng)
CLUSTERED = "Obuchowski, patients as clusters"


def placements(scores, targets):
    """Placements by a loop over all pairs."""
    x, y = scores[targets == 1], scores[targets == 0]
    order = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
    return order.mean(1), order.mean(0), order.mean()


def delong_covariance(scores, targets):
    """DeLong's covariance of two AUROCs as the 1988 paper writes it: S10/m + S01/n."""
    parts = [placements(one, targets) for one in scores]
    s10 = np.cov(np.stack([part[0] for part in parts]))
    s01 = np.cov(np.stack([part[1] for part in parts]))
    return s10 / (targets == 1).sum() + s01 / (targets == 0).sum(), [part[2] for part in parts]


def obuchowski_variance(scores, targets, clusters):
    """Obuchowski's variance (1997) term by term, with a loop over clusters."""
    v10, v01, area = placements(scores, targets)
    m, n, names = len(v10), len(v01), np.unique(clusters)
    of_x, of_y = clusters[targets == 1], clusters[targets == 0]
    i10, i01, i = len(np.unique(of_x)), len(np.unique(of_y)), len(names)
    s10 = s01 = s11 = 0.0
    for name in names:
        x, y = v10[of_x == name], v01[of_y == name]
        dx, dy = x.sum() - len(x) * area, y.sum() - len(y) * area
        s10 += dx * dx
        s01 += dy * dy
        s11 += dx * dy
    s10 *= i10 / ((i10 - 1) * m)
    s01 *= i01 / ((i01 - 1) * n)
    s11 *= i / (i - 1)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def drawn(rng, n=50):
    targets = (rng.random(n) < 0.4).astype(int)
    targets[:4] = 0, 0, 1, 1
    return np.round(rng.normal(size=n) + targets, 1), targets


@settings(max_examples=30, deadline=None)
@given(CASES)
def test_variance_equals_delongs_pair_loop(rng):
    a, targets = drawn(rng)
    b = np.round(a + rng.normal(size=len(a)), 1)
    covariance, areas = delong_covariance([a, b], targets)
    found = delong(a, targets)
    assert (found.auroc, found.variance) == pytest.approx((areas[0], covariance[0, 0]), abs=1e-12)
    test = delong_test(a, b, targets)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert test.standard_error == pytest.approx(error, abs=1e-12)
    assert test.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert test.method == found.method == "DeLong"


@settings(max_examples=30, deadline=None)
@given(CASES)
def test_clustered_variance_equals_obuchowskis_loop(rng):
    scores, targets = drawn(rng)
    clusters = rng.integers(0, 20, len(scores))
    found = delong(scores, targets, clusters)
    assert found.method == CLUSTERED
    assert found.variance == pytest.approx(obuchowski_variance(scores, targets, clusters), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_singleton_clusters_are_delong_exactly(rng):
    scores, targets = drawn(rng)
    other = scores + rng.normal(size=len(scores))
    names = rng.permutation(len(scores)) * 7
    clustered, plain = delong(scores, targets, names), delong(scores, targets)
    assert (clustered.variance, clustered.low, clustered.high) == pytest.approx((plain.variance, plain.low, plain.high))
    assert clustered.method == "DeLong"
    assert delong_test(scores, other, targets, names).p == pytest.approx(delong_test(scores, other, targets).p)


def test_by_hand():
    # positives 3, 5 and negatives 1, 4: V10 = (1/2, 1), V01 = (1, 1/2), AUROC 3/4, S10 = S01 = 1/8
    found = delong([3, 5, 1, 4], [1, 1, 0, 0], scale="plain")
    assert found.auroc == 0.75
    assert found.variance == pytest.approx(0.125)
    assert (found.low, found.high) == pytest.approx((0.75 - 1.959964 * 0.125**0.5, 1.0), abs=1e-6)
    # both images of a patient: the pairs (3, 1) and (5, 4): dx = (-1/4, 1/4), dy = (1/4, -1/4)
    # S10 = S01 = 1/8, S11 = 2 * (-1/8) = -1/4: variance 1/16 + 1/16 - 2/4 * 1/4 = 0
    clustered = delong([3, 5, 1, 4], [1, 1, 0, 0], [0, 1, 0, 1])
    assert clustered.variance == pytest.approx(0.0, abs=1e-15)


def test_complete_separation_has_wilsons_interval_and_not_width_zero():
    found = delong([3, 4, 5, 1, 2], [1, 1, 1, 0, 0])
    assert found.auroc == 1
    assert (found.low, found.high) == wilson(2, 2)
    assert "Wilson" in found.method
    assert found.low < 0.5


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0]])
def test_a_missing_class_is_undefined_with_a_reason(targets):
    found = delong([1, 2, 3], targets)
    assert np.isnan(found.auroc)
    assert "undefined: no" in found.method
    assert np.isnan(delong_test([1, 2, 3], [3, 2, 1], targets).p)


def test_one_positive_has_an_area_but_no_interval():
    found = delong([1, 2, 3], [0, 1, 0])
    assert found.auroc == 0.5
    assert np.isnan(found.low)
    assert "one patient" in found.method


def test_equal_rankings_do_not_differ():
    scores, targets = drawn(np.random.default_rng(1))
    test = delong_test(scores, scores * 3 + 1, targets)
    assert (test.difference, test.p) == (0, 1)


def test_swapping_models_mirrors_the_test():
    scores, targets = drawn(np.random.default_rng(2))
    other = scores + np.random.default_rng(3).normal(size=len(scores))
    forth, back = delong_test(scores, other, targets), delong_test(other, scores, targets)
    assert forth.p == pytest.approx(back.p, abs=1e-12)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale"):
        delong([1, 2], [0, 1], scale="log")


def simulate(rng, patients, images, shift, spread):
    """Scores whose patient has an effect of its own: `spread` of variance 1 is shared by a patient's images."""
    clusters = np.repeat(np.arange(patients), images)
    targets = np.repeat((rng.random(patients) < 0.3).astype(int), images)
    shared = np.repeat(rng.normal(size=patients), images) * np.sqrt(spread)
    return shared + rng.normal(size=len(clusters)) * np.sqrt(1 - spread) + shift * targets, targets, clusters


def covered(patients, images, spread, *, clustered, runs=300, scale="logit"):
    shift, hits = 1.2, 0
    truth = norm.cdf(shift / np.sqrt(2))
    rng = np.random.default_rng(5)
    for _ in range(runs):
        scores, targets, clusters = simulate(rng, patients, images, shift, spread)
        found = delong(scores, targets, clusters if clustered else None, scale=scale)
        hits += found.low <= truth <= found.high
    return hits / runs


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_delong_covers_independent_images(scale):
    assert 0.90 <= covered(100, 1, 0.0, clustered=False, scale=scale) <= 0.985


def test_with_several_images_per_patient_only_the_clustered_interval_covers():
    assert 0.90 <= covered(80, 5, 0.8, clustered=True) <= 0.985
    assert covered(80, 5, 0.8, clustered=False) < 0.80


def test_the_paired_clustered_test_keeps_its_level():
    rng, rejected = np.random.default_rng(6), 0
    for _ in range(300):
        a, targets, clusters = simulate(rng, 60, 4, 1.0, 0.5)
        b = simulate(rng, 60, 4, 0.0, 0.5)[0] + 1.0 * targets
        rejected += delong_test(a, b, targets, clusters).p < 0.05
    assert 0.015 <= rejected / 300 <= 0.10
