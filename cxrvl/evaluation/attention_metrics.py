"""What do the rows of an attention file say? How much of each head's attention lies in the boxes, beside chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.evaluation.labels import check_groups, jsonable, patient_numbers
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.statistics.operating_point import ClusterMean

Floats = NDArray[np.float64]
BOOTSTRAP = "percentiles of the bootstrap over patients"


@dataclass(frozen=True)
class AttentionOptions:
    """What `AttentionEvaluator` was asked for; meanings there."""

    score_split: str = "test"
    groups: Mapping[str, tuple[str, ...]] | None = None
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95


class LabelAttention:
    """Attention of every head in the boxes of one label: statistics of the bootstrap over patients.

    Args:
        frame: rows of kind "attention" of one split, of all labels.
        numbers: (rows,) patient of each row, in [0, count).
    """

    def __init__(self, frame: pd.DataFrame, label: str, numbers: NDArray[np.int64], count: int) -> None:
        own = (frame["label"] == label).to_numpy()
        mine = frame[own].assign(who=numbers[own])
        self.heads = sorted(int(head) for head in mine["head"].unique())
        per_image = mine.groupby(["dataset", "image"], sort=True).agg(
            in_box=("in_box", "mean"), chance=("chance", "first"), who=("who", "first")
        )
        who = per_image["who"].to_numpy()
        self.images = len(per_image)
        self.mean = ClusterMean(per_image["in_box"].to_numpy(), who, count)
        self.chance = ClusterMean(per_image["chance"].to_numpy(), who, count)
        self.gain = ClusterMean((per_image["in_box"] - per_image["chance"]).to_numpy(), who, count)
        self.per_head = {
            head: ClusterMean(part["in_box"].to_numpy(), part["who"].to_numpy(), count)
            for head, part in mine.groupby("head")
        }
        self.entropy = {head: float(part["entropy"].mean()) for head, part in mine.groupby("head")}


def attention_metrics(predictions: Predictions, options: AttentionOptions) -> dict[str, Any]:
    """All metrics of one attention file.

    Per label with boxes: `in_box`, the mean over images of the mean over heads; `chance`; `gain`, their difference; and
    per head `in_box` and `entropy`. `mean` and each of `groups` average over the labels that have boxes. No head is
    chosen: a best one would have been picked by looking at the boxes. Intervals: bootstrap over patients.

    Raises:
        DataError: the split was not scored.
        ConfigError: a group with unknown labels.
    """
    check_groups(options.groups or {}, predictions.labels)
    frame = predictions.of_split(options.score_split)
    numbers, count = patient_numbers(frame)
    there = [label for label in predictions.labels if (frame["label"] == label).any()]
    labels = {label: LabelAttention(frame, label, numbers, count) for label in there}
    statistics: dict[str, Statistic] = {}
    for label, found in labels.items():
        statistics |= {f"in_box/{label}": found.mean, f"gain/{label}": found.gain}
        statistics |= {f"head {head}/{label}": mean for head, mean in found.per_head.items()}
    drawn = replicate(count, statistics, options.bootstrap, options.seed)

    def interval(name: str, estimate: float, values: Floats) -> dict[str, float]:
        found = percentile_interval(estimate, values, options.confidence)
        return {name: estimate, f"{name}_low": found.low, f"{name}_high": found.high}

    def entry(label: str) -> dict[str, Any]:
        found = labels[label]
        heads = {
            str(head): interval("in_box", mean.estimate, drawn[f"head {head}/{label}"])
            | {"entropy": found.entropy[head]}
            for head, mean in found.per_head.items()
        }
        own = interval("in_box", found.mean.estimate, drawn[f"in_box/{label}"])
        own |= interval("gain", found.gain.estimate, drawn[f"gain/{label}"])
        return {"images": found.images, **own, "chance": found.chance.estimate, "heads": heads}

    def mean(members: tuple[str, ...]) -> dict[str, Any]:
        defined = [label for label in members if label in labels]
        result: dict[str, Any] = {"labels": len(defined), "without_boxes": [x for x in members if x not in defined]}
        for name in ("in_box", "gain"):
            values = [statistics[f"{name}/{label}"].estimate for label in defined]  # type: ignore[attr-defined]
            replicates = np.mean([drawn[f"{name}/{label}"] for label in defined], axis=0) if defined else np.empty(0)
            result |= interval(name, float(np.mean(values)) if defined else np.nan, replicates)
        chance = [labels[label].chance.estimate for label in defined]
        return result | {"chance": float(np.mean(chance)) if defined else np.nan, "interval_method": BOOTSTRAP}

    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "images": len(frame.drop_duplicates(["dataset", "image"])),
            "patients": count,
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "labels": {label: entry(label) for label in there},
            "mean": mean(predictions.labels),
            "groups": {name: mean(members) for name, members in (options.groups or {}).items()},
        }
    )
    return result
