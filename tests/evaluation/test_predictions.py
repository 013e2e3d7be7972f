"""Prediction files: round trip, atomicity, refusals; merging the parts of several processes."""

import dataclasses
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cxrvl.errors import DataError, RunError
from cxrvl.evaluation.classification import FindingsEvaluator
from cxrvl.evaluation.collection import collect, merge
from cxrvl.evaluation.predictions import (
    Predictions,
    probabilities,
    read_predictions,
    write_predictions,
)


@pytest.fixture
def predictions(make_table, score):
    table, evaluator = make_table(), FindingsEvaluator()
    return evaluator.collect(score(evaluator, table), table)


def test_round_trip_keeps_every_bit(predictions, tmp_path):
    path = tmp_path / "findings.parquet"
    write_predictions(path, dataclasses.replace(predictions, info={"weights": "best"}))
    back = read_predictions(path, "findings")
    pd.testing.assert_frame_equal(back.frame, predictions.frame, check_exact=True)
    assert (back.labels, back.folds, back.split_name) == (predictions.labels, predictions.folds, "made")
    assert back.info == {"weights": "best"}
    assert sorted(path.parent.iterdir()) == [path]


def test_the_same_predictions_give_the_same_bytes(predictions, tmp_path):
    for name in ("a", "b"):
        write_predictions(tmp_path / name, predictions)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(predictions, tmp_path, monkeypatch):
    path = tmp_path / "findings.parquet"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_predictions(path, predictions)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_predictions(predictions, tmp_path):
    path = tmp_path / "x.parquet"
    with pytest.raises(DataError, match="no such predictions"):
        read_predictions(path)
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_predictions(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="not written by cxrvl"):
        read_predictions(path)
    write_predictions(path, predictions)
    with pytest.raises(DataError, match="kind 'findings', expected 'marks'"):
        read_predictions(path, "marks")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: f.drop(columns="logit/Nodule"), r"missing columns \['logit/Nodule'\]"),
        (lambda f: f.assign(extra=1), r"unknown columns \['extra'\]"),
        (lambda f: pd.concat([f, f.tail(1)]), "1 repeated rows"),
        (lambda f: f.head(-1), "images are missing"),
        (lambda f: f.assign(**{"target/Nodule": 2.0}), "target/Nodule is 2.0"),
        (lambda f: f.assign(**{"logit/Nodule": np.nan}), "not a finite number"),
    ],
)
def test_what_may_not_be_predictions(predictions, change, word):
    with pytest.raises(DataError, match=word):
        Predictions.build(change(predictions.frame), kind="findings", labels=predictions.labels,
                          folds=predictions.folds, split_name="made")  # fmt: skip


def test_an_unknown_kind_and_an_unscored_split_are_named(predictions):
    with pytest.raises(DataError, match="unknown kind"):
        Predictions.build(predictions.frame, kind="boxes", labels=(), folds={}, split_name="made")
    with pytest.raises(DataError, match="no image of split 'train'"):
        predictions.of_split("train")


def test_probabilities_are_the_same_for_tensors_arrays_and_half_precision():
    logits = np.array([-90.0, -1.25, 0.0, 3.5, 90.0], dtype=np.float32)
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for given in (logits, torch.tensor(logits, requires_grad=True), torch.tensor(logits, dtype=torch.bfloat16)):
        assert probabilities(given) == pytest.approx(expected, rel=1e-12)
    assert probabilities(logits).dtype == np.float64


def ranks(parts, index_of):
    """Two processes that share the batches, the second filled up with the first batch again."""
    return [pd.concat(parts[0::2]), pd.concat([*parts[1::2], parts[0].head(index_of)])]


def test_padding_duplicates_are_dropped_and_the_result_does_not_depend_on_the_processes(make_table, score):
    table, evaluator = make_table(), FindingsEvaluator()
    parts = score(evaluator, table)
    alone, shared = evaluator.collect(parts, table), evaluator.collect(ranks(parts, 3), table)
    pd.testing.assert_frame_equal(alone.frame, shared.frame, check_exact=True)
    assert sum(alone.folds.values()) == len(alone.frame)
    again = evaluator.collect([pd.concat([*parts, parts[0]])], table)  # repeated within one process
    pd.testing.assert_frame_equal(alone.frame, again.frame, check_exact=True)


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("column", ["logit/Nodule", "target/Nodule", "patient"])
def test_duplicates_that_disagree_are_an_error(make_table, score, column, within):
    table, evaluator = make_table(), FindingsEvaluator()
    parts = score(evaluator, table)
    other = parts[0].head(2).copy()
    other[column] = "?" if column == "patient" else other[column] + 1
    many = [pd.concat([*parts, other])] if within else [*parts, other]
    with pytest.raises(RunError, match=f"scored twice and {column} differs"):
        evaluator.collect(many, table)


def test_rounding_between_processes_is_allowed(make_table, score):
    table, evaluator = make_table(), FindingsEvaluator()
    parts = score(evaluator, table)
    other = parts[0].head(2).assign(**{"logit/Nodule": parts[0]["logit/Nodule"] * np.float32(1 + 1e-3)})
    evaluator.collect([*parts, other], table)


def test_images_missed_or_foreign_are_an_error(make_table, score):
    table, evaluator = make_table(), FindingsEvaluator()
    parts = score(evaluator, table)
    with pytest.raises(RunError, match=r"7 missing, 0 that do not belong.*drops its last batch"):
        evaluator.collect(parts[1:], table)
    with pytest.raises(RunError, match=r"0 missing, .* that do not belong"):
        collect("findings", parts, table, ["test"])
    with pytest.raises(RunError, match="no image"):
        merge("findings", [])
    partial = evaluator.collect(parts[1:], table, partial=True)
    assert not partial.complete
    assert sum(partial.folds.values()) == len(partial.frame)
