"""Is one row of a table better than another on the same images? Per label and seed, and over patients and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.labels import label_scores, patient_numbers
from cxrvl.evaluation.localization_metrics import MarksOptions
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.row_statistics import METRICS, Scoring, Selection, scored_images, statistics
from cxrvl.evaluation.statistics.bootstrap import Difference, Interval, difference, replicate, row_interval
from cxrvl.evaluation.statistics.delong import AurocTest, delong_test
from cxrvl.evaluation.text_metrics import SIGNED

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowScores:
    """One row of a table: a metric per seed and label, on all patients and under one bootstrap over patients.

    Rows made with the same split, replicates and seed on the same images saw the same patients drawn, so that they can
    be subtracted replicate by replicate.
    """

    metric: str
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    estimates: Floats
    """(seeds, labels), NaN where undefined"""
    replicates: Floats
    """(seeds, labels, R)"""
    images: pd.DataFrame
    """what was scored: keys, patients and targets; equal for rows that may be compared"""
    patients: int
    bootstrap_seed: int
    split_name: str


@dataclass(frozen=True)
class RowMean:
    """Mean of a row over its seeds and over the labels in which the metric is defined."""

    interval: Interval
    sd: float
    """standard deviation over seeds, NaN for one"""
    per_seed: tuple[float, ...]
    defined: tuple[str, ...]
    undefined: tuple[str, ...]


def row_scores(
    predictions: Sequence[Predictions],
    metric: str = "auroc",
    *,
    seeds: Sequence[int] | None = None,
    split: str = "test",
    labels: Sequence[str] | None = None,
    uncertain: str = "ignore",
    options: MarksOptions | None = None,
    selection: Selection | None = None,
    bootstrap: int = 1000,
    bootstrap_seed: int = 0,
) -> RowScores:
    """Score one row of a table: several seeds' predictions of the same images.

    Args:
        predictions: one per training seed.
        metric: one of `cxrvl.evaluation.row_statistics.METRICS`; thresholds of operating points are fixed on "val".
        seeds: the training seeds; 0, 1, ... if absent.
        labels: those wanted, all if absent.
        uncertain: what uncertain targets count as in findings.
        options: hit rule and uncertain policy of marks; its split and bootstrap fields are not used.
        selection: the part of the images, or of the conditions, that counts; all if absent.

    Raises:
        DataError: no predictions, another kind, a label that is not there, or seeds that scored different images.
    """
    if not predictions or metric not in METRICS:
        raise DataError(
            f"a row of {len(predictions)} predictions and metric {metric!r}: needs some, and one of {list(METRICS)}"
        )
    names = tuple(predictions[0].labels if labels is None else labels)
    numbers = tuple(range(len(predictions)) if seeds is None else seeds)
    if len(set(numbers)) != len(predictions):
        raise DataError(f"{len(predictions)} predictions for the seeds {numbers}: expected one of each")
    scoring = Scoring(split, "val", uncertain, options or MarksOptions(), selection or Selection())
    estimates, replicates, images, count = [], [], None, 0
    for prediction in predictions:
        here = scored_images(prediction, metric, scoring, names)
        images = here if images is None else images
        _check_same(images, here, predictions[0].split_name, prediction.split_name)
        found, count = statistics(prediction, metric, scoring, names)
        everyone = np.ones((count, 1), dtype=np.float32)
        estimates.append([float(found[name](everyone)[0]) for name in names])
        drawn = replicate(count, found, bootstrap, bootstrap_seed)
        replicates.append(np.stack([drawn[name] for name in names]))
    assert images is not None  # there is at least one prediction
    return RowScores(
        metric, names, numbers, np.array(estimates), np.stack(replicates), images, count, bootstrap_seed,
        predictions[0].split_name,
    )  # fmt: skip


def row_mean(row: RowScores, labels: Sequence[str] | None = None, *, confidence: float = 0.95) -> RowMean:
    """Mean over seeds and labels, its interval over patients and seeds; see `statistics.bootstrap.row_interval`."""
    defined, undefined = _defined([row], row.labels if labels is None else labels)
    if not defined:
        nothing = Interval(np.nan, np.nan, np.nan, row.replicates.shape[-1], 0)
        return RowMean(nothing, np.nan, (np.nan,) * len(row.seeds), (), undefined)
    estimates, replicates = _label_mean(row, defined)
    lowest = -1.0 if row.metric in SIGNED else 0.0
    interval, sd = row_interval(estimates, replicates, seed=row.bootstrap_seed, confidence=confidence, lowest=lowest)
    return RowMean(interval, sd, tuple(estimates.tolist()), defined, undefined)


def row_difference(
    a: RowScores, b: RowScores, labels: Sequence[str] | None = None, *, confidence: float = 0.95, method: str = "t"
) -> Difference:
    """Row a minus row b: paired bootstrap over patients and seeds of the mean over labels.

    Seeds are paired when both rows have the same ones, else drawn independently. Labels undefined in either row are
    left out of both. See `statistics.bootstrap.difference` for interval and p.

    Raises:
        DataError: rows of different images, patients, targets, splits, metrics or bootstraps.
    """
    same = (a.metric, a.bootstrap_seed, a.replicates.shape[-1]) == (b.metric, b.bootstrap_seed, b.replicates.shape[-1])
    if not same:
        raise DataError("rows can be compared only on one metric and one bootstrap (seed and replicates)")
    _check_same(a.images, b.images, a.split_name, b.split_name)
    defined, _ = _defined([a, b], a.labels if labels is None else labels)
    if not defined:
        nan = np.nan
        return Difference(nan, nan, nan, nan, nan, nan, nan, nan, nan, a.replicates.shape[-1], 0, False, "undefined")
    paired = sorted(a.seeds) == sorted(b.seeds)
    if paired:
        order = [b.seeds.index(seed) for seed in a.seeds]
        b = replace(b, estimates=b.estimates[order], replicates=b.replicates[order])
    (means_a, drawn_a), (means_b, drawn_b) = _label_mean(a, defined), _label_mean(b, defined)
    return difference(
        means_a, means_b, drawn_a, drawn_b,
        paired_seeds=paired, seed=a.bootstrap_seed, confidence=confidence, method=method,
    )  # fmt: skip


def compare_rows(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    labels: Sequence[str] | None = None,
    *,
    metric: str = "auroc",
    seeds_a: Sequence[int] | None = None,
    seeds_b: Sequence[int] | None = None,
    split: str = "test",
    uncertain: str = "ignore",
    bootstrap: int = 1000,
    bootstrap_seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """`row_scores` of both rows and their `row_difference`, in one call."""
    rows = [
        row_scores(predictions, metric, seeds=seeds, split=split, labels=labels, uncertain=uncertain,
                   bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)
        for predictions, seeds in ((a, seeds_a), (b, seeds_b))
    ]  # fmt: skip
    return row_difference(rows[0], rows[1], confidence=confidence)


def compare(
    a: Predictions,
    b: Predictions,
    labels: Sequence[str] | None = None,
    *,
    split: str = "test",
    uncertain: str = "ignore",
    selection: Selection | None = None,
    confidence: float = 0.95,
) -> dict[str, AurocTest]:
    """Paired test per label of two findings files of one seed: DeLong, with patients of several images as clusters.

    Raises:
        DataError: other kinds, labels that are not there, or different images, patients or targets.
    """
    names = tuple(a.labels if labels is None else labels)
    scoring = Scoring(split, uncertain=uncertain, selection=selection or Selection())
    images_a, images_b = (scored_images(side, "auroc", scoring, names) for side in (a, b))
    _check_same(images_a, images_b, a.split_name, b.split_name)
    frames = scoring.frame(a), scoring.frame(b)
    numbers, _ = patient_numbers(frames[0])
    tests = {}
    for label in names:
        first, second = (label_scores(frame, label, numbers, uncertain) for frame in frames)
        tests[label] = delong_test(first.logits, second.logits, first.targets, first.patients, confidence=confidence)
    return tests


def _defined(rows: Sequence[RowScores], labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels in which the metric exists for all seeds of all rows, and the others."""
    for row in rows:
        missing = [label for label in labels if label not in row.labels]
        if missing:
            raise DataError(f"the row was not scored on the labels {missing}; it has {list(row.labels)}")
    there = [label for label in labels
             if not any(np.isnan(row.estimates[:, row.labels.index(label)]).any() for row in rows)]  # fmt: skip
    return tuple(there), tuple(label for label in labels if label not in there)


def _label_mean(row: RowScores, labels: Sequence[str]) -> tuple[Floats, Floats]:
    """Mean over labels: (seeds,), and under each replicate (seeds, R); NaN where a replicate lacks one of them."""
    place = [row.labels.index(label) for label in labels]
    return row.estimates[:, place].mean(axis=1), row.replicates[:, place].mean(axis=1)


def _check_same(a: pd.DataFrame, b: pd.DataFrame, split_a: str, split_b: str) -> None:
    """Refuse to compare across images, patients, targets or splits."""
    if split_a == split_b and a.equals(b):
        return
    keys = [pd.MultiIndex.from_frame(frame[["dataset", "image"]].drop_duplicates()) for frame in (a, b)]
    only = len(keys[0].difference(keys[1])), len(keys[1].difference(keys[0]))
    what = f"{only[0]} images only in the first, {only[1]} only in the second" if any(only) else \
        "the same images, but other patients, targets or boxes"  # fmt: skip
    raise DataError(f"predictions of different data cannot be compared: splits {split_a!r} and {split_b!r}, {what}; "
                    "evaluate both on the same table")  # fmt: skip
