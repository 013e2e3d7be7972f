"""Thresholds, shares, Holm, Brier and calibration error against hand-worked cases, loops and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_curve

from cxrvl.evaluation.statistics.bootstrap import replicate
from cxrvl.evaluation.statistics.calibration import brier, reliability
from cxrvl.evaluation.statistics.multiple import holm
from cxrvl.evaluation.statistics.operating_point import ClusterMean, Share, choose_threshold, wilson

CASES = st.integers(0, 10_000).map(np.random.default_rng)


def drawn(rng, n=80):
    targets = (rng.random(n) < 0.4).astype(int)
    targets[:2] = 0, 1
    return np.round(rng.normal(size=n) + targets, 1), targets


@settings(max_examples=30, deadline=None)
@given(CASES)
def test_youden_reaches_the_best_point_of_sklearns_curve(rng):
    scores, targets = drawn(rng)
    called = scores >= choose_threshold(scores, targets)
    gain = called[targets == 1].mean() - called[targets == 0].mean()
    false, true, _ = roc_curve(targets, scores)
    assert gain == pytest.approx((true - false).max())


@settings(max_examples=30, deadline=None)
@given(CASES, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_a_target_is_reached_and_no_stricter_threshold_reaches_it(rng, target):
    scores, targets = drawn(rng)
    steps = np.unique(scores)
    sensitivity = choose_threshold(scores, targets, rule="sensitivity", target=target)
    assert (scores[targets == 1] >= sensitivity).mean() >= target
    assert all((scores[targets == 1] >= t + 1e-9).mean() < target for t in steps[steps > sensitivity])
    specificity = choose_threshold(scores, targets, rule="specificity", target=target)
    assert (scores[targets == 0] < specificity).mean() >= target
    assert all((scores[targets == 0] < t).mean() < target for t in steps[steps < specificity])


def test_thresholds_by_hand():
    scores, targets = [1, 2, 3, 4], [0, 1, 0, 1]
    assert choose_threshold(scores, targets) == 1.5  # of two equal gains the more sensitive
    assert choose_threshold(scores, targets, rule="specificity", target=1.0) == 3.5
    assert choose_threshold(scores, targets, rule="sensitivity", target=0.5) == 3.5
    assert np.isnan(choose_threshold([1, 2], [0, 0]))


@pytest.mark.parametrize(
    ("rule", "target"), [("best", None), ("youden", 0.9), ("sensitivity", None), ("specificity", 1.2)]
)
def test_threshold_refusals(rule, target):
    with pytest.raises(ValueError, match="threshold rule"):
        choose_threshold([1, 2], [0, 1], rule=rule, target=target)


def test_wilson_by_hand():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert np.isnan(wilson(0, 0)).all()


def test_share_of_single_images_is_wilsons_and_of_several_the_bootstraps():
    rng = np.random.default_rng(0)
    single = Share(rng.random(50) < 0.7, np.arange(50), 50)
    values = replicate(50, {"": single}, 200, 0)[""]
    assert single.interval(values)[:2] == wilson(single.values.sum(), 50)
    # every patient's four images agree: the interval must be about twice as wide as Wilson's on images
    hits, clusters = np.repeat(rng.random(50) < 0.7, 4), np.repeat(np.arange(50), 4)
    several = Share(hits, clusters, 50)
    low, high, method = several.interval(replicate(50, {"": several}, 1000, 0)[""])
    naive = wilson(hits.sum(), 200)
    assert method == "bootstrap over patients"
    assert (high - low) / (naive[1] - naive[0]) == pytest.approx(2, rel=0.15)
    sure = Share(np.ones(200), clusters, 50)
    assert sure.interval(replicate(50, {"": sure}, 10, 0)[""])[:2] == wilson(50, 50)
    assert np.isnan(Share([], [], 3).interval(np.full(5, np.nan))[0])


def test_cluster_mean_repeats_patients():
    mean = ClusterMean([1.0, 2.0, 6.0], [0, 0, 1], 2)
    assert mean.estimate == 3
    assert mean(np.array([[2, 0, 0], [1, 1, 0]])) == pytest.approx([12 / 5, 6, np.nan], nan_ok=True)


def test_holm_by_hand_and_with_gaps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert len(holm([])) == 0
    with pytest.raises(ValueError, match="outside"):
        holm([1.5])


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_holm_rejects_what_the_step_down_procedure_rejects(rng):
    p, alpha, rejected = rng.random(8) ** 4, 0.05, set()
    for step, number in enumerate(np.argsort(p)):
        if p[number] > alpha / (8 - step):
            break
        rejected.add(number)
    assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_calibration_equals_a_loop_and_brier_sklearn(rng):
    p, y = rng.random(200), rng.integers(0, 2, 200)
    p[:3] = 0.0, 1.0, 0.5
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))
    error = 0.0
    for number in range(10):
        last = number == 9
        inside = (p >= number / 10) & ((p < (number + 1) / 10) | last)
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    table = reliability(p, y, bins=10)
    assert table.ece() == pytest.approx(error)
    assert table.count.sum() == 200


def test_equal_mass_bins_hold_equal_shares_and_never_part_ties():
    p = np.random.default_rng(0).random(1000) ** 3
    table = reliability(p, p > 0.5, bins=10, binning="mass")
    assert (table.count == 100).all()
    tied = reliability([0.2] * 10 + [0.8] * 2, [0] * 8 + [1] * 4, bins=5, binning="mass")
    assert tied.count.tolist() in ([10, 2], [12])
    assert reliability([0.3, 0.3], [1, 0], binning="mass").ece() == pytest.approx(0.2)
    assert np.isnan(reliability([], []).ece())
    assert np.isnan(brier([], []))


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large():
    rng = np.random.default_rng(1)
    p = rng.random(20_000)
    y = rng.random(20_000) < p
    assert reliability(p, y).ece() < 0.015
    assert reliability(np.round(p), y, binning="mass").ece() > 0.2


@pytest.mark.parametrize(("p", "y"), [([1.2], [1]), ([0.5], [-1]), ([0.5, 0.5], [1]), ([np.nan], [1])])
def test_calibration_refusals(p, y):
    with pytest.raises(ValueError, match=r"\[0, 1\]|other than|one length"):
        reliability(p, y)
