"""What do the rows of a findings file say? A pure function from it to AUROC, operating point, calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrvl.evaluation.labels import LabelScores, check_groups, jsonable, label_scores, patient_numbers
from cxrvl.evaluation.predictions import Predictions, probabilities
from cxrvl.evaluation.statistics.auroc import RankedScores, auprc
from cxrvl.evaluation.statistics.bootstrap import Statistic, percentile_interval, replicate
from cxrvl.evaluation.statistics.calibration import brier, reliability
from cxrvl.evaluation.statistics.delong import delong
from cxrvl.evaluation.statistics.operating_point import Share, choose_threshold

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FindingsOptions:
    """What `FindingsEvaluator` was asked for; meanings there."""

    threshold_split: str = "val"
    score_split: str = "test"
    uncertain: str = "ignore"
    groups: Mapping[str, tuple[str, ...]] | None = None
    threshold_rule: str = "youden"
    threshold_target: float | None = None
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95
    bins: int = 15


def findings_metrics(predictions: Predictions, options: FindingsOptions) -> dict[str, Any]:
    """All classification metrics of one evaluation.

    Per label, on the score split: counts, AUROC with DeLong's interval (patients as clusters where they have several
    images), AUPRC, threshold (a probability, chosen on the threshold split) with sensitivity and specificity and their
    intervals, Brier score and calibration error (equal widths `ece`, equal mass `ece_mass`). `mean` and each of
    `groups` average AUROC and AUPRC over the labels where they are defined, with the bootstrap interval over patients.
    A number that does not exist is None, and `undefined` says why.

    Raises:
        DataError: a split that was not scored.
        ConfigError: a group with unknown labels.
    """
    check_groups(options.groups or {}, predictions.labels)
    test, val = predictions.of_split(options.score_split), predictions.of_split(options.threshold_split)
    numbers, count = patient_numbers(test)
    val_numbers, _ = patient_numbers(val)
    scores = {label: label_scores(test, label, numbers, options.uncertain) for label in predictions.labels}
    thresholds = {}
    for label in predictions.labels:
        known = label_scores(val, label, val_numbers, options.uncertain)
        rule, target = options.threshold_rule, options.threshold_target
        thresholds[label] = choose_threshold(known.logits, known.targets, rule=rule, target=target)
    rankings: dict[str, Statistic] = {f"auroc/{label}": RankedScores(s.logits, s.targets, s.patients, count).auroc
                                      for label, s in scores.items()}  # fmt: skip
    shares = {f"{side}/{label}": _share(scores[label], thresholds[label], positive, count)
              for label in scores for side, positive in (("sensitivity", 1), ("specificity", 0))}  # fmt: skip
    replicates = replicate(count, {**rankings, **shares}, options.bootstrap, options.seed)
    labels = {label: _label(scores[label], thresholds[label], options) for label in predictions.labels}
    for label, entry in labels.items():
        for side in ("sensitivity", "specificity"):
            _add_share(entry, side, shares[f"{side}/{label}"], replicates[f"{side}/{label}"], options.confidence)
    groups = {name: _mean(labels, members, replicates, options) for name, members in (options.groups or {}).items()}
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "threshold_split": options.threshold_split,
            "complete": predictions.complete,
            "images": len(test),
            "patients": count,
            "uncertain": options.uncertain,
            "threshold_rule": options.threshold_rule,
            "threshold_target": options.threshold_target,
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "labels": labels,
            "mean": _mean(labels, predictions.labels, replicates, options),
            "groups": groups,
        }
    )
    return result


def _share(scores: LabelScores, threshold: float, positive: int, patients: int) -> Share:
    """Sensitivity (positive=1) or specificity (positive=0) of one label at its threshold; nothing without one."""
    side = (scores.targets == positive) & ~np.isnan(threshold)
    hits = (scores.logits[side].astype(np.float64) >= threshold) == bool(positive)
    return Share(hits, scores.patients[side], patients)


def _label(scores: LabelScores, threshold: float, options: FindingsOptions) -> dict[str, Any]:
    interval = delong(scores.logits, scores.targets, scores.patients, confidence=options.confidence)
    undefined = {}
    if np.isnan(interval.low):
        undefined["auroc" if np.isnan(interval.auroc) else "auroc interval"] = interval.method
    if np.isnan(threshold):
        undefined["threshold"] = f"split {options.threshold_split!r} lacks positive or negative images"
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
        "auprc": auprc(scores.logits, scores.targets),
        "threshold": float(probabilities(threshold)),
        "brier": brier(p, scores.targets),
        "ece": tables["width"].ece(),
        "ece_mass": tables["mass"].ece(),
        "undefined": undefined,
    }


def _add_share(entry: dict[str, Any], side: str, share: Share, replicates: Floats, confidence: float) -> None:
    """Put sensitivity or specificity and its interval into a label's entry."""
    low, high, method = share.interval(replicates, confidence)
    entry |= {side: share.estimate, f"{side}_low": low, f"{side}_high": high, f"{side}_method": method}
    if np.isnan(share.estimate):
        entry[f"{side}_method"] = None
        entry["undefined"][side] = "no threshold" if "threshold" in entry["undefined"] else "no such image"


def _mean(
    labels: Mapping[str, Mapping[str, Any]],
    members: tuple[str, ...],
    replicates: Mapping[str, Floats],
    options: FindingsOptions,
) -> dict[str, Any]:
    """Mean over the labels that are defined on all patients; a replicate in which one of them is not is left out."""
    defined = [label for label in members if not np.isnan(labels[label]["auroc"])]
    undefined = {label: labels[label]["undefined"]["auroc"] for label in members if label not in defined}
    if not defined:
        return {"auroc": None, "auroc_low": None, "auroc_high": None, "auprc": None, "labels": 0, "defined": [],
                "undefined": undefined, "interval_method": None, "replicates_undefined": None}  # fmt: skip
    values = np.mean([replicates[f"auroc/{label}"] for label in defined], axis=0)
    mean = float(np.mean([labels[label]["auroc"] for label in defined]))
    interval = percentile_interval(mean, values, options.confidence)
    return {
        "auroc": mean,
        "auroc_low": interval.low,
        "auroc_high": interval.high,
        "interval_method": "percentiles of the bootstrap over patients",
        "replicates_undefined": interval.undefined,
        "auprc": float(np.mean([labels[label]["auprc"] for label in defined])),
        "labels": len(defined),
        "defined": defined,
        "undefined": undefined,
    }
