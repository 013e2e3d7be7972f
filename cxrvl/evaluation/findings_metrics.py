"""What do the rows of a findings file say? A pure function from it to AUROC, operating point, calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.evaluation.labels import LabelScores, check_groups, jsonable, label_scores, patient_numbers
from cxrvl.evaluation.operating import SIDES, OperatingPoint, operating_entry, shares
from cxrvl.evaluation.predictions import Predictions, probabilities
from cxrvl.evaluation.statistics.auroc import RankedScores, auprc
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.statistics.calibration import brier, reliability
from cxrvl.evaluation.statistics.delong import delong

Floats = NDArray[np.float64]
Thresholds = Mapping[str, Mapping[str, float]]
"""Operating point -> label -> threshold (a logit)."""
MAIN = ""
"""The operating point whose numbers stand in a label's own entry."""
BOOTSTRAP = "percentiles of the bootstrap over patients"


@dataclass(frozen=True)
class FindingsOptions:
    """What `FindingsEvaluator` was asked for; meanings there."""

    threshold_split: str = "val"
    score_split: str = "test"
    uncertain: str = "ignore"
    groups: Mapping[str, tuple[str, ...]] | None = None
    threshold: OperatingPoint = field(default_factory=OperatingPoint)
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95
    bins: int = 15
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def findings_metrics(predictions: Predictions, options: FindingsOptions) -> dict[str, Any]:
    """All classification metrics of one evaluation.

    Per label, on the score split: counts; AUROC with DeLong's interval (patients as clusters where they have several
    images) and with that of the bootstrap over patients (`auroc_bootstrap_low`); AUPRC with the latter; threshold (a
    probability, chosen on the threshold split) with sensitivity and specificity and their intervals, the same for each
    of `operating_points`; Brier score and calibration error (equal widths `ece`, equal mass `ece_mass`). `mean` and
    each of `groups` average AUROC and AUPRC over the labels where they are defined, with the bootstrap interval over
    patients. `subsets` holds the same of the images of some data sets alone, at the same thresholds.
    A number that does not exist is None, and `undefined` says why.

    Raises:
        DataError: a split that was not scored.
        ConfigError: a group with unknown labels, a subset with unknown data sets.
    """
    check_groups(options.groups or {}, predictions.labels)
    test, val = predictions.of_split(options.score_split), predictions.of_split(options.threshold_split)
    points = {MAIN: options.threshold, **options.points}
    thresholds = {n: point.thresholds(val, predictions.labels, options.uncertain) for n, point in points.items()}
    main = options.threshold
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "threshold_split": options.threshold_split,
            "complete": predictions.complete,
            "uncertain": options.uncertain,
            "threshold_rule": main.rule,
            "threshold_target": main.target,
            "operating_points": {n: {"rule": p.rule, "target": p.target} for n, p in options.points.items()},
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            **_scored(test, predictions.labels, thresholds, options),
            "subsets": {
                name: {"datasets": list(datasets)}
                | _scored(_subset(test, name, datasets), predictions.labels, thresholds, options)
                for name, datasets in options.subsets.items()
            },
        }
    )
    return result


def _subset(frame: pd.DataFrame, name: str, datasets: tuple[str, ...]) -> pd.DataFrame:
    """The rows of some data sets; ConfigError for one that is not there."""
    there = frame["dataset"].unique().tolist()
    for dataset in datasets:
        if dataset not in there:
            raise ConfigError(f"evaluation subsets.{name} names the data set {dataset!r}{did_you_mean(dataset, there)}; "
                              f"the scored images are of {', '.join(there)}")  # fmt: skip
    return frame[frame["dataset"].isin(datasets)].reset_index(drop=True)


def _scored(
    frame: pd.DataFrame, names: tuple[str, ...], thresholds: Thresholds, options: FindingsOptions
) -> dict[str, Any]:
    """Everything that is said of some images: counts, labels, means."""
    numbers, count = patient_numbers(frame)
    scores = {label: label_scores(frame, label, numbers, options.uncertain) for label in names}
    statistics: dict[str, Statistic] = {}
    for label, known in scores.items():
        ranked = RankedScores(known.logits, known.targets, known.patients, count)
        statistics |= {f"auroc/{label}": ranked.auroc, f"auprc/{label}": ranked.auprc}
    found = {(point, label): shares(scores[label], limit, count)
             for point, limits in thresholds.items() for label, limit in limits.items()}  # fmt: skip
    statistics |= {f"{point}/{side}/{label}": share for (point, label), both in found.items()
                   for side, share in both.items()}  # fmt: skip
    replicates = replicate(count, statistics, options.bootstrap, options.seed)

    def at(point: str, label: str) -> dict[str, Any]:
        drawn = {side: replicates[f"{point}/{side}/{label}"] for side in SIDES}
        limit, both = thresholds[point][label], found[point, label]
        return operating_entry(limit, both, drawn, options.confidence, options.threshold_split)

    labels = {}
    for label in names:
        entry, main = _label(label, scores[label], replicates, options), at(MAIN, label)
        entry["undefined"] |= main.pop("undefined")
        labels[label] = entry | main | {"operating_points": {name: at(name, label) for name in options.points}}
    return {
        "images": len(frame),
        "patients": count,
        "labels": labels,
        "mean": _mean(labels, names, replicates, options),
        "groups": {n: _mean(labels, members, replicates, options) for n, members in (options.groups or {}).items()},
    }


def _label(
    label: str, scores: LabelScores, replicates: Mapping[str, Floats], options: FindingsOptions
) -> dict[str, Any]:
    interval = delong(scores.logits, scores.targets, scores.patients, confidence=options.confidence)
    undefined = {}
    if np.isnan(interval.low):
        undefined["auroc" if np.isnan(interval.auroc) else "auroc interval"] = interval.method
    precision = auprc(scores.logits, scores.targets)
    drawn = {name: percentile_interval(value, replicates[f"{name}/{label}"], options.confidence)
             for name, value in (("auroc", interval.auroc), ("auprc", precision))}  # fmt: skip
    if np.isnan(precision):
        undefined["auprc"] = interval.method
    p = probabilities(scores.logits)
    tables = {name: reliability(p, scores.targets, bins=options.bins, binning=name) for name in ("width", "mass")}
    positives = int(scores.targets.sum())
    return {
        "n": len(scores.targets),
        "positives": positives,
        "negatives": len(scores.targets) - positives,
        "patients": len(np.unique(scores.patients)),
        "auroc": interval.auroc,
        "auroc_low": interval.low,
        "auroc_high": interval.high,
        "interval_method": None if np.isnan(interval.low) else interval.method,
        "auroc_bootstrap_low": drawn["auroc"].low,
        "auroc_bootstrap_high": drawn["auroc"].high,
        "auprc": precision,
        "auprc_low": drawn["auprc"].low,
        "auprc_high": drawn["auprc"].high,
        "auprc_method": None if np.isnan(drawn["auprc"].low) else BOOTSTRAP,
        "brier": brier(p, scores.targets),
        "ece": tables["width"].ece(),
        "ece_mass": tables["mass"].ece(),
        "undefined": undefined,
    }


def _mean(
    labels: Mapping[str, Mapping[str, Any]],
    members: tuple[str, ...],
    replicates: Mapping[str, Floats],
    options: FindingsOptions,
) -> dict[str, Any]:
    """Mean over the labels that are defined on all patients; a replicate in which one of them is not is left out."""
    defined = [label for label in members if not np.isnan(labels[label]["auroc"])]
    undefined = {label: labels[label]["undefined"]["auroc"] for label in members if label not in defined}
    result: dict[str, Any] = {"labels": len(defined), "defined": defined, "undefined": undefined}
    for name in ("auroc", "auprc"):
        mean = float(np.mean([labels[label][name] for label in defined])) if defined else np.nan
        values = np.mean([replicates[f"{name}/{label}"] for label in defined], axis=0) if defined else np.empty(0)
        interval = percentile_interval(mean, values, options.confidence)
        result |= {name: mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        if name == "auroc":
            result["replicates_undefined"] = interval.undefined if defined else None
    return result | {"interval_method": BOOTSTRAP if defined else None}
