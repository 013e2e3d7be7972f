"""How much of what the true reports say do the retrieved ones say? F1 of their findings, and published scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.labels import jsonable, patient_numbers
from cxrvl.evaluation.predictions import PUBLISHED_SCORES, Predictions
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.text_metrics import WeightedMean

Floats = NDArray[np.float64]
FIVE = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The five observations of CheXpert's competition."""
REPORT_METRICS = {
    "report_f1": "reports",
    "report_micro_f1": "reports",
    **{f"report_{name}": "reports" for name in PUBLISHED_SCORES},
}
"""Metric of a table's column -> kind of its predictions. `report_f1` is each label's: its mean over labels is macro F1.
All others are the same for every label, `report_micro_f1` over those asked for."""


@dataclass(frozen=True)
class ReportOptions:
    """What `ReportScoresEvaluator` was asked for; meanings there."""

    score_split: str = "test"
    uncertain: str = "ones"
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95


class F1:
    """F1 = 2 TP / (2 TP + FP + FN), each row counting as often as its patient is drawn; a `Statistic`.

    both, either: (n,) findings that both reports claim, and twice those plus what one of them claims alone.
    """

    def __init__(self, both: Floats, either: Floats, numbers: NDArray[np.int64], count: int) -> None:
        self.both = np.bincount(numbers, weights=both, minlength=count)
        self.either = np.bincount(numbers, weights=either, minlength=count)

    def __call__(self, counts: NDArray[np.float32]) -> Floats:
        """Return F1 under each replicate: counts (patients, r) -> (r,); NaN where neither side claims anything."""
        either = self.either @ counts
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(either > 0, 2 * (self.both @ counts) / np.maximum(either, 1e-12), np.nan))


def report_statistics(frame: pd.DataFrame, metric: str, labels: Sequence[str], uncertain: str) -> dict[str, Statistic]:
    """The metric of each label as a function of how often each patient is drawn; DataError for a score not computed."""
    numbers, count = patient_numbers(frame)
    if metric in ("report_f1", "report_micro_f1"):
        claims = {label: _claims(frame, label, uncertain) for label in labels}
        if metric == "report_f1":
            return {label: F1(*one, numbers, count) for label, one in claims.items()}
        total = [np.sum([one[side] for one in claims.values()], axis=0) for side in (0, 1)]
        return dict.fromkeys(labels, F1(total[0], total[1], numbers, count))
    column = f"score/{metric.removeprefix('report_')}"
    if column not in frame:
        raise DataError(f"{metric} was not computed; add it to the evaluation's scores, which needs 'cxrvl[clinical]'")
    mean = WeightedMean(frame[column].to_numpy(dtype=np.float64), numbers, count)
    return dict.fromkeys(labels, mean)


def report_metrics(predictions: Predictions, options: ReportOptions) -> dict[str, Any]:
    """All metrics of one evaluation of retrieved reports.

    Per finding F1; in `mean`, F1 macro and micro over the 14 observations of CheXpert and over `FIVE`, and the mean of
    every published score that was computed; each with its interval from the bootstrap over patients. A finding that no
    report of either side claims has no F1 and stands in `undefined`; macro F1 is the mean over the others.
    """
    frame = predictions.of_split(options.score_split)
    groups = {"14": predictions.labels, "5": tuple(name for name in FIVE if name in predictions.labels)}
    statistics: dict[str, Statistic] = {
        f"f1/{label}": one
        for label, one in report_statistics(frame, "report_f1", predictions.labels, options.uncertain).items()
    }
    for name, members in groups.items():
        micro = report_statistics(frame, "report_micro_f1", members, options.uncertain)
        statistics[f"micro/{name}"] = micro[members[0]]
    for name in PUBLISHED_SCORES:
        if f"score/{name}" in frame:
            statistics[name] = report_statistics(frame, f"report_{name}", ["all"], options.uncertain)["all"]
    count = patient_numbers(frame)[1]
    drawn = replicate(count, statistics, options.bootstrap, options.seed)
    values = {name: float(one(np.ones((count, 1), dtype=np.float32))[0]) for name, one in statistics.items()}

    defined = [label for label in predictions.labels if not np.isnan(values[f"f1/{label}"])]
    mean: dict[str, Any] = {"labels": len(defined)}
    for name, members in groups.items():
        chosen = [f"f1/{label}" for label in members if label in defined]
        # A replicate in which one of the findings is claimed by nobody has no macro F1, and is left out.
        macro = np.mean([values[one] for one in chosen]) if chosen else np.nan
        together = np.mean([drawn[one] for one in chosen], axis=0) if chosen else np.empty(0)
        mean |= _interval(f"macro_f1_{name}", float(macro), together, options.confidence)
        mean |= _interval(f"micro_f1_{name}", values[f"micro/{name}"], drawn[f"micro/{name}"], options.confidence)
    for name in PUBLISHED_SCORES:
        if name in statistics:
            mean |= _interval(name, values[name], drawn[name], options.confidence)
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "uncertain": options.uncertain,
            "images": len(frame),
            "patients": count,
            "pool": int(frame["pool"].iloc[0]),
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "labels": {
                label: _interval("f1", values[f"f1/{label}"], drawn[f"f1/{label}"], options.confidence)
                for label in defined
            },
            "mean": mean,
            "undefined": [label for label in predictions.labels if label not in defined],
        }
    )
    return result


def _claims(frame: pd.DataFrame, label: str, uncertain: str) -> tuple[Floats, Floats]:
    """Whether both reports of each row claim a finding, and how many claims of it there are, (n,) each."""
    positive = (1.0, -1.0) if uncertain == "ones" else (1.0,)
    true, found = (frame[f"{side}/{label}"].isin(positive).to_numpy() for side in ("target", "found"))
    return (true & found).astype(np.float64), true.astype(np.float64) + found


def _interval(name: str, value: float, drawn: Floats, confidence: float) -> dict[str, float]:
    interval = percentile_interval(value, drawn, confidence)
    return {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
