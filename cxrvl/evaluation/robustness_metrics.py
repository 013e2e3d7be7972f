"""What do the rows of a robustness file say? AUROC under every corruption and severity, and what it lost to the clean one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.evaluation.labels import LabelScores, check_groups, jsonable, label_scores, patient_numbers
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.statistics.auroc import RankedScores
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.statistics.delong import delong

Floats = NDArray[np.float64]
Condition = tuple[str, int]
"""Corruption and severity."""
CLEAN = "clean"
UNTOUCHED: Condition = (CLEAN, 0)
BOOTSTRAP = "percentiles of the bootstrap over patients"


@dataclass(frozen=True)
class RobustnessOptions:
    """What `RobustnessEvaluator` was asked for; meanings there."""

    score_split: str = "test"
    uncertain: str = "ignore"
    groups: Mapping[str, tuple[str, ...]] | None = None
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95


def by_condition(frame: pd.DataFrame) -> dict[Condition, pd.DataFrame]:
    """The rows of each condition, the clean one first; all have the same images in the same order.

    frame: rows of kind "robustness" of one split, in the order of the file (sorted by image, then condition).
    """
    parts = {
        (str(name), int(severity)): part.reset_index(drop=True)  # type: ignore[call-overload]
        for (name, severity), part in frame.groupby(["corruption", "severity"], sort=True)
    }
    return {UNTOUCHED: parts.pop(UNTOUCHED), **parts}


def robustness_metrics(predictions: Predictions, options: RobustnessOptions) -> dict[str, Any]:
    """All metrics of one robustness file, on the score split.

    `clean`, and `corruptions` -> name -> `severities` -> 1 to 5, hold AUROC per label (DeLong's interval; Obuchowski's
    with several images per patient) and its mean; each corruption has the mean over its severities, and `mean` (and each
    of `groups`) that over all corruptions and severities. `drop` is clean minus corrupted on the same images, so that
    more than 0 is worse. Intervals of means and drops: one bootstrap over patients, paired. Labels of which AUROC does
    not exist are left out of means and named in `undefined`.

    Raises:
        DataError: the split was not scored.
        ConfigError: a group with unknown labels.
    """
    check_groups(options.groups or {}, predictions.labels)
    frames = by_condition(predictions.of_split(options.score_split))
    clean = frames[UNTOUCHED]
    numbers, count = patient_numbers(clean)
    scores = {condition: {label: label_scores(frame, label, numbers, options.uncertain) for label in predictions.labels}
              for condition, frame in frames.items()}  # fmt: skip
    statistics: dict[str, Statistic] = {
        _name(condition, label): RankedScores(s.logits, s.targets, s.patients, count).auroc
        for condition, labels in scores.items() for label, s in labels.items()
    }  # fmt: skip
    everyone = np.ones((count, 1), dtype=np.float32)
    values = {name: float(statistic(everyone)[0]) for name, statistic in statistics.items()}
    means = _Means(values, replicate(count, statistics, options.bootstrap, options.seed), options.confidence)
    changed = [condition for condition in frames if condition != UNTOUCHED]
    names = predictions.labels

    def at(condition: Condition) -> dict[str, Any]:
        labels = {label: _label(s, options.confidence) for label, s in scores[condition].items()}
        return {"mean": means.of([condition], names), "labels": labels}

    corruptions = {}
    for name in dict.fromkeys(corruption for corruption, _ in changed):
        own = [condition for condition in changed if condition[0] == name]
        corruptions[name] = {"mean": means.of(own, names), "severities": {str(s): at((name, s)) for _, s in own}}
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "images": len(clean),
            "patients": count,
            "uncertain": options.uncertain,
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "clean": at(UNTOUCHED),
            "corruptions": corruptions,
            "mean": means.of(changed, names),
            "groups": {name: means.of(changed, members) for name, members in (options.groups or {}).items()},
        }
    )
    return result


class _Means:
    """Means over conditions and labels with their intervals, all from one bootstrap."""

    def __init__(self, values: Mapping[str, float], replicates: Mapping[str, Floats], confidence: float) -> None:
        self.values, self.replicates, self.confidence = values, replicates, confidence

    def of(self, conditions: Sequence[Condition], labels: Sequence[str]) -> dict[str, Any]:
        """Mean AUROC over conditions and defined labels, and its drop from the clean images."""
        defined = [label for label in labels if not np.isnan(self.values[_name(UNTOUCHED, label)])]
        result: dict[str, Any] = {"labels": len(defined), "undefined": [n for n in labels if n not in defined]}
        if not defined:
            return result | dict.fromkeys(("auroc", "auroc_low", "auroc_high", "drop", "drop_low", "drop_high"))
        here = [_name(condition, label) for condition in conditions for label in defined]
        clean = [_name(UNTOUCHED, label) for label in defined]
        value, drawn = self._mean(here)
        reference, drawn_reference = self._mean(clean)
        both = {"auroc": (value, drawn)}
        if list(conditions) != [UNTOUCHED]:
            both["drop"] = (reference - value, drawn_reference - drawn)
        for name, (estimate, replicates) in both.items():
            interval = percentile_interval(estimate, replicates, self.confidence)
            result |= {name: estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return result | {"interval_method": BOOTSTRAP}

    def _mean(self, names: Sequence[str]) -> tuple[float, Floats]:
        drawn = np.mean([self.replicates[name] for name in names], axis=0)
        return float(np.mean([self.values[name] for name in names])), drawn


def _name(condition: Condition, label: str) -> str:
    return f"{condition[0]}/{condition[1]}/{label}"


def _label(scores: LabelScores, confidence: float) -> dict[str, Any]:
    interval = delong(scores.logits, scores.targets, scores.patients, confidence=confidence)
    return {"auroc": interval.auroc, "auroc_low": interval.low, "auroc_high": interval.high,
            "interval_method": interval.method}  # fmt: skip
