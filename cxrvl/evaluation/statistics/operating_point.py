"""Where is the threshold, and what share of patients does it call right? Chosen on one split, scored on another."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from cxrvl.evaluation.statistics.auroc import scores_and_positive

RULES = ("youden", "sensitivity", "specificity")


def choose_threshold(
    scores: ArrayLike, targets: ArrayLike, *, rule: str = "youden", target: float | None = None
) -> float:
    """The threshold t such that calling `score >= t` positive obeys a rule on these items (the validation split).

    Args:
        scores: (n,) higher means more positive.
        targets: (n,) 1 or 0.
        rule: "youden" maximises sensitivity + specificity - 1 (of equals, the most sensitive); "sensitivity" takes the
            highest threshold that still reaches `target`; "specificity" the lowest that does.
        target: the share to reach, in (0, 1]; only with the last two rules.

    Returns:
        Half way between two neighbouring scores, so that no item lies on it; beyond the last score plus or minus
        infinity; NaN without positives or without negatives.

    Raises:
        ValueError: an unknown rule, a target missing, superfluous or outside (0, 1].
    """
    if rule not in RULES:
        raise ValueError(f"threshold rule {rule!r}: expected one of {', '.join(RULES)}")
    if (target is None) != (rule == "youden") or (target is not None and not 0 < target <= 1):
        raise ValueError(f"threshold rule {rule!r} with target {target}: all rules but youden need one in (0, 1]")
    values, positive = scores_and_positive(scores, targets)
    if not positive.any() or positive.all():
        return float("nan")
    levels, place = np.unique(values, return_inverse=True)
    thresholds = np.concatenate([[-np.inf], levels[:-1] / 2 + levels[1:] / 2, [np.inf]])
    per_level = np.stack([np.bincount(place[side], minlength=len(levels)) for side in (positive, ~positive)])
    below = np.concatenate([np.zeros((2, 1)), np.cumsum(per_level, axis=1)], axis=1)
    sensitivity, specificity = 1 - below[0] / below[0, -1], below[1] / below[1, -1]
    if rule == "youden":
        gain = sensitivity + specificity
        return float(thresholds[np.flatnonzero(gain >= gain.max() - 1e-12)[0]])
    if rule == "sensitivity":
        return float(thresholds[np.flatnonzero(sensitivity >= target)[-1]])
    return float(thresholds[np.flatnonzero(specificity >= target)[0]])


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927), in [0, 1]; (NaN, NaN) without trials.

    Args:
        successes: 0 to `trials`; need not be whole (an effective number).
        trials: ≥ 0.
    """
    if trials <= 0:
        return float("nan"), float("nan")
    z2 = float(ndtri(0.5 + confidence / 2)) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2) / (1 + z2 / trials) * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


class ClusterMean:
    """Mean of a value over items whose clusters (patients) may hold several, as a statistic of the bootstrap.

    Args:
        values: (n,) finite numbers.
        clusters: (n,) integers in [0, number).
        number: how many clusters are drawn from.
    """

    def __init__(self, values: ArrayLike, clusters: ArrayLike, number: int) -> None:
        self.values, self.clusters = np.asarray(values, dtype=np.float64), np.asarray(clusters, dtype=np.int64)
        self.estimate = float(self.values.mean()) if len(self.values) else float("nan")
        sums = [np.bincount(self.clusters, weights, number) for weights in (self.values, None)]
        self._sums = np.stack(sums).astype(np.float64)

    def __call__(self, counts: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean (R,) when cluster i counts counts[i, r] times; NaN where no item is drawn."""
        total, items = self._sums @ counts
        return np.divide(total, items, out=np.full_like(total, np.nan), where=items > 0)


class Share(ClusterMean):
    """Share of items that are hits, such as sensitivity, with its interval."""

    def interval(self, replicates: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float, str]:
        """Interval of the share: low, high, method; NaN without items.

        One item per cluster: Wilson. Several: percentiles of the cluster bootstrap, except where all items agree (every
        replicate then agrees too, and a width of zero would be false): Wilson with the clusters as trials.

        Args:
            replicates: (R,) this statistic under each replicate, NaN where one holds no item.
        """
        number = len(np.unique(self.clusters))
        if number == len(self.values):
            return *wilson(float(self.values.sum()), number, confidence), "Wilson"
        if self.estimate in (0.0, 1.0):
            return *wilson(self.estimate * number, number, confidence), "Wilson, patients as trials"
        defined = replicates[~np.isnan(replicates)]
        if not len(defined):
            return float("nan"), float("nan"), "undefined: no bootstrap replicate"
        low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return float(low), float(high), "bootstrap over patients"
