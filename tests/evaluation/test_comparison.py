"""Paired comparisons of rows: per label and seed, and over patients and seeds."""

import dataclasses

import numpy as np
import pytest

from cxrvl.errors import DataError
from cxrvl.evaluation.classification import FindingsEvaluator
from cxrvl.evaluation.comparison import compare, compare_rows, row_difference, row_mean, row_scores
from cxrvl.evaluation.statistics.delong import delong_test


@pytest.fixture
def row(make_table, score):
    table, evaluator = make_table(patients=240), FindingsEvaluator()

    def make(strength, seeds=(0, 1, 2)):
        parts = [score(evaluator, table, seed=seed, strength=strength) for seed in seeds]
        return [evaluator.collect(part, table) for part in parts]

    return make


def test_compare_is_the_clustered_paired_test_of_each_label(row):
    (a,), (b,) = row(1.5, [0]), row(0.5, [1])
    tests = compare(a, b)
    frames = a.of_split("test"), b.of_split("test")
    known = frames[0]["target/Nodule"].notna()
    direct = delong_test(
        *(frame["logit/Nodule"][known] for frame in frames),
        frames[0]["target/Nodule"][known],
        frames[0]["patient"][known],
    )
    assert tests["Nodule"].p == pytest.approx(direct.p)
    assert tests["Nodule"].method == "Obuchowski, patients as clusters"
    assert tests["Nodule"].difference > 0
    assert np.isnan(tests["Hernia"].p)
    assert "no positive" in tests["Hernia"].method
    assert compare(a, a)["Nodule"].p == 1


def test_compare_rows_finds_a_difference_and_only_where_there_is_one(row):
    strong, weak, other = row(2.0), row(0.3), row(2.0, [7, 8, 9])
    found = compare_rows(strong, weak, bootstrap=300)
    assert found.paired_seeds
    assert found.p < 0.01
    assert found.low > 0
    mean_a = np.mean([row_mean(row_scores(strong, bootstrap=2)).per_seed])
    assert found.mean_a == pytest.approx(mean_a)
    same = compare_rows(strong, other, seeds_b=[7, 8, 9], bootstrap=300)
    assert not same.paired_seeds
    assert same.p > 0.05
    assert compare_rows(strong, weak, bootstrap=300) == found


def test_pairing_goes_by_seed_and_not_by_place(row):
    a, b = row(1.0), row(0.8)
    straight = compare_rows(a, b, seeds_a=[0, 1, 2], seeds_b=[0, 1, 2], bootstrap=200)
    turned = compare_rows(a, b[::-1], seeds_a=[0, 1, 2], seeds_b=[2, 1, 0], bootstrap=200)
    assert dataclasses.astuple(straight) == pytest.approx(dataclasses.astuple(turned))


def test_row_mean_leaves_undefined_labels_out_and_says_so(row):
    mean = row_mean(row_scores(row(1.0), bootstrap=200))
    assert (mean.defined, mean.undefined) == (("Effusion", "Nodule"), ("Hernia",))
    assert mean.interval.low < mean.interval.estimate < mean.interval.high
    assert mean.sd == pytest.approx(np.std(mean.per_seed, ddof=1))
    nothing = row_mean(row_scores(row(1.0), bootstrap=20), ["Hernia"])
    assert np.isnan(nothing.interval.estimate)
    assert row_difference(*[row_scores(row(1.0), bootstrap=20)] * 2, ["Hernia"]).method == "undefined"


def test_rows_of_other_data_are_refused(row, make_table, score):
    evaluator, table = FindingsEvaluator(), make_table(patients=240, seed=1)
    (a,), other = row(1.0, [0]), evaluator.collect(score(evaluator, table), table)
    with pytest.raises(DataError, match="different data"):
        compare(a, other)
    changed = a.frame.assign(**{"target/Nodule": 1 - a.frame["target/Nodule"]})
    with pytest.raises(DataError, match="other patients, targets"):
        compare(a, dataclasses.replace(a, frame=changed))
    with pytest.raises(DataError, match="splits 'made' and 'official'"):
        compare(a, dataclasses.replace(a, split_name="official"))
    with pytest.raises(DataError, match="needs predictions of kind 'marks'"):
        row_scores([a], "jafroc")
    with pytest.raises(DataError, match="missing labels"):
        compare(a, a, ["Mass"])
    with pytest.raises(DataError, match="one bootstrap"):
        row_difference(row_scores([a], bootstrap=5), row_scores([a], bootstrap=6))
    with pytest.raises(DataError, match="expected one of each"):
        row_scores([a], seeds=[1, 2])
    with pytest.raises(DataError, match="0 predictions"):
        row_scores([])
    with pytest.raises(DataError, match="not scored on"):
        row_mean(row_scores([a], labels=["Nodule"], bootstrap=5), ["Effusion"])
