"""The bootstrap over patients and seeds: determinism, variance, coverage, paired differences."""

import numpy as np
import pytest
from scipy.stats import norm

from cxrvl.evaluation.statistics.auroc import RankedScores
from cxrvl.evaluation.statistics.bootstrap import (
    difference,
    patient_draws,
    percentile_interval,
    replicate,
    row_interval,
    seed_weights,
)


def test_draws_are_deterministic_and_the_first_do_not_depend_on_how_many_follow():
    short, long = (np.concatenate(list(patient_draws(50, number, 3)), axis=1) for number in (130, 300))
    assert short.shape == (50, 130)
    assert (short == long[:, :130]).all()
    assert (long.sum(0) == 50).all()
    other = np.concatenate(list(patient_draws(50, 130, 4)), axis=1)
    assert (short != other).any()


def test_replicates_vary_as_the_mean_of_patients_does():
    values = np.random.default_rng(0).normal(size=200)
    drawn = replicate(200, {"mean": lambda counts: values @ counts / counts.sum(0)}, 3000, 0)["mean"]
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.05)
    found = percentile_interval(values.mean(), drawn)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.08)


def test_undefined_replicates_are_left_out_and_counted():
    found = percentile_interval(0.5, [np.nan, 0.4, 0.5, 0.6])
    assert (found.undefined, found.replicates) == (1, 4)
    assert 0.4 <= found.low <= found.high <= 0.6
    assert np.isnan(percentile_interval(0.5, [np.nan, np.nan, np.nan, 0.6]).low)
    assert np.isnan(percentile_interval(np.nan, [0.5, 0.6]).low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_resampled_seeds_have_the_variance_of_their_mean(seeds):
    rng = np.random.default_rng(0)
    values = rng.normal(size=seeds)
    weights = seed_weights(seeds, 20_000, rng)
    assert weights.sum(0) == pytest.approx(1)
    assert (values @ weights).var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.05)


def test_one_seed_is_always_itself():
    assert (seed_weights(1, 5, np.random.default_rng(0)) == 1).all()


def fields(rng, effect, seeds=3, seed_sd=0.02, patients=200, patient_sd=0.3, resamples=200):
    """Two rows whose metric is a mean over patients of patient effect + seed effect, and its replicates."""
    shared = 0.5 + rng.normal(size=patients) * patient_sd
    rows = []
    for shift in (effect, 0.0):
        own = shared + 0.1 * rng.normal(size=(seeds, patients)) + shift + seed_sd * rng.normal(size=(seeds, 1))
        rows.append(own)
    drawn = replicate(
        patients, {str(i): lambda c, row=row: row @ c / patients for i, row in enumerate(rows)}, resamples, 0
    )
    return rows[0].mean(1), rows[1].mean(1), drawn["0"], drawn["1"]


@pytest.mark.parametrize("paired", [True, False])
def test_difference_keeps_its_level_and_covers_with_three_seeds(paired):
    rng, rejected, covered = np.random.default_rng(1), 0, 0
    for run in range(300):
        found = difference(*fields(rng, 0.0), paired_seeds=paired, seed=run)
        rejected += found.p < 0.05
        covered += found.low <= 0 <= found.high
    assert 0.01 <= rejected / 300 <= 0.10
    assert 0.90 <= covered / 300 <= 0.99


def test_percentiles_of_three_seeds_promise_too_much():
    rng, covered = np.random.default_rng(1), 0
    for run in range(200):
        found = difference(*fields(rng, 0.0), paired_seeds=True, seed=run, method="percentile")
        covered += found.low <= 0 <= found.high
    assert covered / 200 < 0.90  # the reason why Student's t is the default


def test_pooling_seeds_would_find_differences_that_are_not_there():
    rng, rejected = np.random.default_rng(2), 0
    for run in range(200):
        a, b, drawn_a, drawn_b = fields(rng, 0.0)
        one = difference(
            [a.mean()], [b.mean()], drawn_a.mean(0)[None], drawn_b.mean(0)[None], paired_seeds=True, seed=run
        )
        rejected += one.p < 0.05
    assert rejected / 200 > 0.3


def test_a_large_difference_is_found_and_both_methods_agree():
    rows = fields(np.random.default_rng(3), 0.3, resamples=1000)
    for method in ("t", "percentile"):
        found = difference(*rows, paired_seeds=True, seed=0, method=method)
        assert found.p < 0.02
        assert found.low < 0.3 < found.high
        assert found.p >= 2 / 1001 or method == "t"
    assert found == difference(*rows, paired_seeds=True, seed=0, method="percentile")


def test_a_row_against_itself_does_not_differ():
    a, _, drawn, _ = fields(np.random.default_rng(4), 0.0)
    found = difference(a, a, drawn, drawn, paired_seeds=True, seed=0)
    assert (found.difference, found.p) == (0, 1)


def test_one_seed_says_so():
    a, b, drawn_a, drawn_b = fields(np.random.default_rng(4), 0.0, seeds=1)
    found = difference(a, b, drawn_a, drawn_b, paired_seeds=True, seed=0)
    assert "patients only" in found.method
    assert found.degrees == np.inf
    interval, sd = row_interval(a, drawn_a, seed=0)
    assert np.isnan(sd)
    assert interval.low < a[0] < interval.high


def test_row_interval_covers_patients_and_seeds():
    rng, covered = np.random.default_rng(7), 0
    for run in range(200):
        shared = 0.8 + 0.2 * rng.normal(size=100)
        own = shared + 0.02 * rng.normal(size=(3, 1)) + 0.05 * rng.normal(size=(3, 100))
        drawn = replicate(100, {"": lambda c, own=own: own @ c / 100}, 200, run)[""]
        interval, sd = row_interval(own.mean(1), drawn, seed=run)
        covered += interval.low <= 0.8 <= interval.high
        assert sd == pytest.approx(own.mean(1).std(ddof=1))
    assert 0.90 <= covered / 200 <= 0.985


def test_auroc_mean_over_labels_covers_with_several_images_per_patient():
    rng, covered, truth = np.random.default_rng(8), 0, norm.cdf(1 / np.sqrt(2))
    for run in range(200):
        clusters = np.repeat(np.arange(60), 3)
        statistics = {}
        for label in range(3):
            targets = np.repeat((rng.random(60) < 0.35).astype(int), 3)
            scores = np.repeat(rng.normal(size=60), 3) * 0.8 + 0.6 * rng.normal(size=180) + targets
            statistics[str(label)] = RankedScores(scores, targets, clusters, 60).auroc
        whole = np.mean([one(np.ones((60, 1)))[0] for one in statistics.values()])
        drawn = np.mean(list(replicate(60, statistics, 300, run).values()), axis=0)
        found = percentile_interval(float(whole), drawn)
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / 200 <= 0.985


@pytest.mark.parametrize("change", [{"method": "normal"}, {"paired_seeds": True}, {"b": np.zeros(5)}])
def test_refusals(change):
    a, b, drawn_a, drawn_b = fields(np.random.default_rng(0), 0.0, seeds=3)
    drawn_b, b = drawn_b[:2], change.pop("b", b[:2])
    with pytest.raises(ValueError, match=r"method|paired|replicates"):
        difference(a, b, drawn_a, drawn_b, **{"paired_seeds": False, "seed": 0} | change)
