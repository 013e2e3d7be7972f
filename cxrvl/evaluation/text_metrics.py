"""What do the rows of an evaluation of texts say? Recalls, accuracies and correlations, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.labels import jsonable
from cxrvl.evaluation.predictions import OWN_TIED, PRECISIONS, Predictions, patients
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.statistics.spearman import PairSpearman

Floats = NDArray[np.float64]
RECALLS = (1, 5, 10)
POLICIES = ("any", "diagonal", "unique")
"""any: any copy of the own text counts. diagonal: the own document alone, its copies compete with it. unique: the pool
holds every text once. A tie is resolved by chance: the value is its expectation."""


@dataclass(frozen=True)
class TextOptions:
    """What an evaluator of texts was asked for; meanings there."""

    score_split: str = "test"
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95

    @classmethod
    def checked(
        cls, splits: Sequence[str], score_split: str, reports: int | None, bootstrap: int, seed: int, confidence: float
    ) -> "TextOptions":
        """Check the options that all evaluators of texts share; ConfigError for what cannot be right."""
        if score_split not in splits:
            raise ConfigError(
                f"evaluation score_split is {score_split!r}, which is not among its splits {list(splits)}"
            )
        if bootstrap < 1 or not 0 < confidence < 1 or (reports is not None and reports < 2):
            raise ConfigError(
                f"evaluation bootstrap={bootstrap}, confidence={confidence}, reports={reports}; expected at least 1 "
                "replicate, a confidence between 0 and 1, and at least 2 reports or null"
            )
        return cls(score_split, bootstrap, seed, confidence)


class WeightedMean:
    """Mean of a value per row, each row counting as often as its patient is drawn; a `Statistic`."""

    def __init__(self, values: Floats, numbers: NDArray[np.int64], count: int) -> None:
        self.sums = np.bincount(numbers, weights=values, minlength=count)
        self.rows = np.bincount(numbers, minlength=count).astype(np.float64)

    def __call__(self, counts: NDArray[np.float32]) -> Floats:
        """Return the mean under each replicate: counts (patients, r) -> (r,); NaN where no row was drawn."""
        rows = self.rows @ counts
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(rows > 0, (self.sums @ counts) / np.maximum(rows, 1e-12), np.nan))


class WeightedMedian:
    """Median of a value per row, each row counting as often as its patient is drawn; a `Statistic`."""

    def __init__(self, values: Floats, numbers: NDArray[np.int64]) -> None:
        order = np.argsort(values, kind="stable")
        self.values, self.numbers = values[order], numbers[order]

    def __call__(self, counts: NDArray[np.float32]) -> Floats:
        """Return the median under each replicate: counts (patients, r) -> (r,); NaN where no row was drawn."""
        upto = np.cumsum(counts[self.numbers], axis=0)  # whole numbers, exact in float32 up to 16 million rows
        half = upto[-1] / 2
        low, high = (upto < half).sum(axis=0), (upto <= half).sum(axis=0)
        last = len(self.values) - 1
        middle = (self.values[np.minimum(low, last)] + self.values[np.minimum(high, last)]) / 2
        return np.asarray(np.where(half > 0, middle, np.nan))


def rank_values(frame: pd.DataFrame, metric: str, policy: str = "any") -> Floats:
    """The value of each query (n,): recall_at_<k>, mrr or rank, under a duplicate policy, expected over ties."""
    suffix = "_unique" if policy == "unique" else ""
    better, tied = (frame[f"{name}{suffix}"].to_numpy(dtype=np.float64) for name in ("better", "tied"))
    if policy == "diagonal" and "better_diagonal" in frame:
        better, tied = (frame[f"{name}_diagonal"].to_numpy(dtype=np.float64) for name in ("better", "tied"))
    elif policy == "diagonal":  # copies of a text lie where it lies
        tied = tied + frame["copies"].to_numpy(dtype=np.float64) - 1
    # Of several own documents that are as near, the first counts.
    own = np.ones(len(frame))
    if policy == "any":
        there = OWN_TIED if OWN_TIED in frame else "copies" if "better_diagonal" not in frame else None
        own = own if there is None else frame[there].to_numpy(dtype=np.float64)
    if metric == "rank":
        return 1 + better + tied / (own + 1)
    if metric == "mrr":
        values = 1 / (better + 1)
        for row in np.flatnonzero(tied):
            places = np.arange(tied[row] + 1)
            later = np.cumprod(np.append(1.0, (tied[row] - places) / (tied[row] + own[row] - places)))
            values[row] = -(np.diff(later) / (better[row] + 1 + places)).sum()
        return np.asarray(values)
    limit = int(metric.rpartition("_")[2])
    missed = np.ones(len(frame))
    for place in range(limit):
        free = better + place < limit
        missed[free] *= (np.maximum(tied - place, 0) / np.maximum(tied + own - place, 1))[free]
    return 1 - missed


def choice_values(frame: pd.DataFrame, metric: str) -> Floats:
    """The value of each report (n,): accuracy (strictly nearest), accuracy_with_ties, margin or rank."""
    true = frame["true"].to_numpy(dtype=np.float64)
    wrong = frame[[name for name in frame.columns if name.startswith("wrong_")]].to_numpy(dtype=np.float64)
    best, ties = wrong.max(axis=1), (wrong == true[:, None]).sum(axis=1)
    if metric == "accuracy":
        return (true > best).astype(np.float64)
    if metric == "accuracy_with_ties":
        return np.where(true >= best, 1 / (1 + ties), 0.0)
    if metric == "margin":
        return true - best
    return 1 + (wrong > true[:, None]).sum(axis=1) + ties / 2


def precision_values(frame: pd.DataFrame, k: int) -> Floats:
    """Share (n,) of right documents among the k nearest; DataError for a smaller pool."""
    if (smallest := int(frame["pool"].min())) < k:
        raise DataError(f"precision among the nearest {k} of a pool of {smallest} documents; ask for fewer")
    return frame[f"hits_{k}"].to_numpy(dtype=np.float64) / k


_RANKS = {
    f"{name}{'' if policy == 'any' else '_' + policy}": (name, policy)
    for policy in POLICIES
    for name in (*(f"recall_at_{k}" for k in RECALLS), "mrr")
}
_MEDIANS = {f"median_rank{'' if policy == 'any' else '_' + policy}": policy for policy in POLICIES}
TEXT_METRICS = {
    **dict.fromkeys(_RANKS, "ranks"),
    "choice_accuracy": "choices",
    "choice_accuracy_with_ties": "choices",
    "similarity_spearman": "pairs",
    **{f"precision_at_{k}": "precision" for k in PRECISIONS},
}
"""Metric of a table's column -> kind of the predictions it is computed from."""
SIGNED = ("similarity_spearman",)
"""Metrics that lie in [-1, 1]; all others in [0, 1]."""


def text_statistics(frame: pd.DataFrame, metric: str, labels: Sequence[str]) -> tuple[dict[str, Statistic], int]:
    """The metric of each task as a function of how often each patient is drawn, and how many patients there are."""
    numbers, others, count = _numbered(frame)
    found: dict[str, Statistic] = {}
    for label in labels:
        chosen = (frame["label"] == label).to_numpy()
        rows = frame[chosen]
        if metric in _RANKS:
            found[label] = WeightedMean(rank_values(rows, *_RANKS[metric]), numbers[chosen], count)
        elif metric in _MEDIANS:
            found[label] = WeightedMedian(rank_values(rows, "rank", _MEDIANS[metric]), numbers[chosen])
        elif metric.startswith("precision_at_"):
            values = precision_values(rows, int(metric.rpartition("_")[2]))
            found[label] = WeightedMean(values, numbers[chosen], count)
        elif metric == "similarity_spearman":
            cosine, agreement = (rows[name].to_numpy(dtype=np.float64) for name in ("cosine", "agreement"))
            found[label] = PairSpearman(cosine, agreement, numbers[chosen], others[chosen])
        else:
            found[label] = WeightedMean(choice_values(rows, metric.removeprefix("choice_")), numbers[chosen], count)
    return found, count


def text_metrics(predictions: Predictions, options: TextOptions) -> dict[str, Any]:
    """All metrics of one evaluation of texts, or of texts and images: per task and, of those that every task has, their mean.

    Every number has its interval from the bootstrap over patients (`<name>_low`, `<name>_high`); beside retrieval stand
    the sizes of the pool, and how many queries' own text occurs more than once.
    """
    frame = predictions.of_split(options.score_split)
    names = [name for name, kind in TEXT_METRICS.items() if kind == predictions.kind]
    names += {"choices": ["choice_margin", "choice_rank"], "ranks": list(_MEDIANS)}.get(predictions.kind, [])
    if predictions.kind == "precision":
        names = [f"precision_at_{k}" for k in PRECISIONS if k <= frame["pool"].min()]
    there = [label for label in predictions.labels if (frame["label"] == label).any()]
    entries: dict[str, dict[str, Any]] = {label: _about(frame[frame["label"] == label]) for label in there}
    mean: dict[str, Any] = {"tasks": len(there)}
    statistics = {(name, label): one for name in names for label, one in text_statistics(frame, name, there)[0].items()}
    count = _numbered(frame)[2]
    # One bootstrap for all: drawing patients takes longer than most metrics.
    drawn = replicate(count, statistics, options.bootstrap, options.seed)
    everyone = np.ones((count, 1), dtype=np.float32)
    values = {key: float(one(everyone)[0]) for key, one in statistics.items()}
    for name in names:
        for label in there:
            entries[label] |= _with_interval(name, values[name, label], drawn[name, label], options.confidence)
        together = np.mean([drawn[name, label] for label in there], axis=0)
        value = float(np.mean([values[name, label] for label in there]))
        mean |= _with_interval(name, value, together, options.confidence)
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "reports": len(frame[["dataset", "image"]].drop_duplicates()),
            "patients": count,
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "labels": entries,
            "mean": mean,
            "without_rows": [label for label in predictions.labels if label not in there],
        }
    )
    return result


def _about(rows: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(rows)}
    if "pool" in rows:
        found["pool"] = int(rows["pool"].iloc[0])
    if "of_class" in rows:
        found["of_class"] = int(rows["of_class"].iloc[0])
    if "pool_unique" in rows:
        found["pool_unique"] = int(rows["pool_unique"].iloc[0])
        found["with_copies"] = int((rows["copies"] > 1).sum())
    return found


def _with_interval(name: str, value: float, drawn: Floats, confidence: float) -> dict[str, float]:
    interval = percentile_interval(value, drawn, confidence)
    return {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _numbered(frame: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The patient of each row as a number, that of a pair's other report, and how many patients there are."""
    own = patients(frame)
    if "other_patient" not in frame:
        numbers, names = pd.factorize(own, sort=True)
        return numbers.astype(np.int64), numbers.astype(np.int64), len(names)
    other = patients(frame.assign(dataset=frame["other_dataset"], patient=frame["other_patient"]))
    both, names = pd.factorize(pd.concat([own, other], ignore_index=True), sort=True)
    return both[: len(frame)].astype(np.int64), both[len(frame) :].astype(np.int64), len(names)
