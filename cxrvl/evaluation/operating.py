"""By which rules are thresholds fixed, and what do they give on the images that are scored?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.evaluation.labels import LabelScores, label_scores, patient_numbers
from cxrvl.evaluation.predictions import probabilities
from cxrvl.evaluation.statistics.operating_point import RULES, Share, choose_threshold

SIDES = {"sensitivity": 1, "specificity": 0}


@dataclass(frozen=True)
class OperatingPoint:
    """A rule for a threshold: "youden", or the "sensitivity" or "specificity" to reach, with its target in (0, 1]."""

    rule: str = "youden"
    target: float | None = None

    @classmethod
    def checked(cls, name: str, given: Mapping[str, Any]) -> "OperatingPoint":
        """Read {rule: ..., target: ...}; ConfigError, naming the option, for what is no rule."""
        unknown = [key for key in given if key not in ("rule", "target")] if isinstance(given, Mapping) else [given]
        if unknown:
            raise ConfigError(f"evaluation {name}: found {unknown[0]!r}{did_you_mean(str(unknown[0]), ('rule', 'target'))}; "
                              "expected {rule: ..., target: ...}")  # fmt: skip
        rule, target = given.get("rule", "youden"), given.get("target")
        if rule not in RULES or (target is None) != (rule == "youden") or (target is not None and not 0 < target <= 1):
            raise ConfigError(f"evaluation {name} is {rule!r} with target {target}; expected youden without one, or "
                              "sensitivity or specificity with the share to reach, in (0, 1]")  # fmt: skip
        return cls(rule, None if target is None else float(target))

    def thresholds(self, frame: pd.DataFrame, labels: Sequence[str], uncertain: str) -> dict[str, float]:
        """The threshold (a logit) of each label on a findings frame; NaN where a label lacks one of its sides."""
        numbers, _ = patient_numbers(frame)
        known = {label: label_scores(frame, label, numbers, uncertain) for label in labels}
        return {
            label: choose_threshold(scores.logits, scores.targets, rule=self.rule, target=self.target)
            for label, scores in known.items()
        }


def shares(scores: LabelScores, threshold: float, patients: int) -> dict[str, Share]:
    """Sensitivity and specificity of one label at its threshold; of no image where there is no threshold."""
    found = {}
    for side, positive in SIDES.items():
        chosen = (scores.targets == positive) & ~np.isnan(threshold)
        hits = (scores.logits[chosen].astype(np.float64) >= threshold) == bool(positive)
        found[side] = Share(hits, scores.patients[chosen], patients)
    return found


def operating_entry(
    threshold: float, found: Mapping[str, Share], replicates: Mapping[str, NDArray[np.float64]], confidence: float,
    threshold_split: str,
) -> dict[str, Any]:  # fmt: skip
    """What a label does at one threshold: the threshold as a probability, both shares with their intervals.

    replicates: side -> (R,) that share under each replicate of the bootstrap.
    """
    entry: dict[str, Any] = {"threshold": float(probabilities(threshold)), "undefined": {}}
    if np.isnan(threshold):
        entry["undefined"]["threshold"] = f"split {threshold_split!r} lacks positive or negative images"
    for side, share in found.items():
        low, high, method = share.interval(replicates[side], confidence)
        entry |= {side: share.estimate, f"{side}_low": low, f"{side}_high": high, f"{side}_method": method}
        if np.isnan(share.estimate):
            entry[f"{side}_method"] = None
            entry["undefined"][side] = "no threshold" if np.isnan(threshold) else "no such image"
    return entry
