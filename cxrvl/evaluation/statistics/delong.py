"""How certain is one AUROC, and do two AUROCs on the same images differ? DeLong, with patients as clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

from cxrvl.evaluation.statistics.auroc import scores_and_positive
from cxrvl.evaluation.statistics.operating_point import wilson

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AurocInterval:
    """One AUROC with its interval; all numbers NaN where undefined, `method` then says why."""

    auroc: float
    variance: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class AurocTest:
    """Two AUROCs on identical images: difference a - b, its interval and two-sided p; NaN where undefined."""

    auroc_a: float
    auroc_b: float
    difference: float
    standard_error: float
    low: float
    high: float
    p: float
    method: str


def delong(
    scores: ArrayLike,
    targets: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    scale: str = "logit",
) -> AurocInterval:
    """AUROC with DeLong's variance (1988), or Obuchowski's (1997) when clusters hold several items.

    The interval is symmetric on the logit scale (`scale="logit"`) or on the AUROC itself, clipped to [0, 1]
    (`scale="plain"`). Where the variance is estimated as 0 (AUROC of 1 or 0: complete separation; or all scores equal)
    neither says anything, and a width of zero would be false: the interval is then Wilson's with the clusters of the
    rarer class as trials, since the variance of an AUROC θ never exceeds θ(1-θ)/min(m, n) (Birnbaum and Klose 1957).
    With one cluster on a side there is no variance, and no interval.

    Args:
        scores, targets: (n,) as for `auroc`.
        clusters: (n,) integers (patients); each item its own if absent.

    Raises:
        ValueError: an unknown scale, or what `auroc` refuses.
    """
    if scale not in ("logit", "plain"):
        raise ValueError(f"interval scale {scale!r}: expected 'logit' or 'plain'")
    values, positive = scores_and_positive(scores, targets)
    units = _units(clusters, len(values))
    method, counts = _method(units, positive), _sides(units, positive)
    if not positive.any() or positive.all():
        side = "negative" if positive.any() else "positive"
        return AurocInterval(np.nan, np.nan, np.nan, np.nan, f"undefined: no {side} image")
    area, influence = _placements(values, positive)
    if min(counts) == 1:
        return AurocInterval(area, np.nan, np.nan, np.nan, "undefined: one patient on a side has no variance")
    variance = _covariance(influence[None], units, positive)[0, 0]
    half = ndtri(0.5 + confidence / 2) * np.sqrt(max(variance, 0.0))
    if half < _NOTHING:
        low, high = wilson(area * min(counts), min(counts), confidence)
        return AurocInterval(area, 0.0, low, high, "Wilson on the rarer class (variance of 0)")
    if scale == "plain":
        return AurocInterval(area, variance, max(0.0, area - half), min(1.0, area + half), method)
    half /= area * (1 - area)
    return AurocInterval(area, variance, float(expit(logit(area) - half)), float(expit(logit(area) + half)), method)


def delong_test(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    targets: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> AurocTest:
    """Paired test of two AUROCs on the same items: DeLong (1988), with clusters Obuchowski (1997).

    Without any difference between the rankings p is 1; where the variance is 0 but the AUROCs differ (both rank without
    error or at random) the test is undefined: p and interval are NaN.

    Args:
        scores_a, scores_b: (n,) scores of two models on the same items, in the same order.
        targets, clusters: (n,) as for `delong`.
    """
    values_a, positive = scores_and_positive(scores_a, targets)
    values_b, _ = scores_and_positive(scores_b, targets)
    units = _units(clusters, len(values_a))
    if not positive.any() or positive.all():
        side, nan = "negative" if positive.any() else "positive", np.nan
        return AurocTest(nan, nan, nan, nan, nan, nan, nan, f"undefined: no {side} image")
    area_a, influence_a = _placements(values_a, positive)
    area_b, influence_b = _placements(values_b, positive)
    difference = area_a - area_b
    if min(_sides(units, positive)) == 1:
        reason = "undefined: one patient on a side has no variance"
        return AurocTest(area_a, area_b, difference, np.nan, np.nan, np.nan, np.nan, reason)
    variance = _covariance((influence_a - influence_b)[None], units, positive)[0, 0]
    error = float(np.sqrt(max(variance, 0.0)))
    if error < _NOTHING:
        if abs(difference) < _NOTHING and np.allclose(influence_a, influence_b, rtol=0, atol=_NOTHING):
            return AurocTest(area_a, area_b, 0.0, 0.0, 0.0, 0.0, 1.0, _method(units, positive))
        reason = "undefined: the difference has an estimated variance of 0"
        return AurocTest(area_a, area_b, difference, 0.0, np.nan, np.nan, np.nan, reason)
    half = ndtri(0.5 + confidence / 2) * error
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    p = float(2 * ndtr(-abs(difference) / error))
    return AurocTest(area_a, area_b, difference, error, low, high, p, _method(units, positive))


_NOTHING = 1e-12  # below this a standard error is rounding


def _placements(values: Floats, positive: NDArray[np.bool_]) -> tuple[float, Floats]:
    """AUROC, and each item's placement (share of the other class it is in order with) minus AUROC (Sun and Xu 2014)."""
    ranks = rankdata(values)
    placement = np.empty(len(values))
    m, n = int(positive.sum()), int((~positive).sum())
    placement[positive] = (ranks[positive] - rankdata(values[positive])) / n
    placement[~positive] = 1 - (ranks[~positive] - rankdata(values[~positive])) / m
    area = float(placement[positive].mean())
    return area, placement - area


def _covariance(influence: Floats, units: NDArray[np.int64], positive: NDArray[np.bool_]) -> Floats:
    """Covariance (S, S) of S AUROCs from their centred placements (S, n): Obuchowski (1997), equation 5.

    With one item per cluster the cross term vanishes and the rest is DeLong's S10/m + S01/n exactly.
    """
    number = int(units.max()) + 1
    m, n = positive.sum(), (~positive).sum()
    sums_x = np.stack([np.bincount(units[positive], row[positive], number) for row in influence]) / m
    sums_y = np.stack([np.bincount(units[~positive], row[~positive], number) for row in influence]) / n
    with_x, with_y = _sides(units, positive)
    total = len(np.unique(units))
    cross = sums_x @ sums_y.T * total / (total - 1)
    own_x = sums_x @ sums_x.T * with_x / (with_x - 1)
    own_y = sums_y @ sums_y.T * with_y / (with_y - 1)
    return np.asarray(own_x + own_y + cross + cross.T)


def _units(clusters: ArrayLike | None, length: int) -> NDArray[np.int64]:
    if clusters is None:
        return np.arange(length)
    units = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if units.shape != (length,):
        raise ValueError(f"{units.size} clusters for {length} scores")
    return units.astype(np.int64)


def _sides(units: NDArray[np.int64], positive: NDArray[np.bool_]) -> tuple[int, int]:
    """How many clusters have a positive item, and how many a negative one."""
    return len(np.unique(units[positive])), len(np.unique(units[~positive]))


def _method(units: NDArray[np.int64], positive: NDArray[np.bool_]) -> str:
    return "DeLong" if len(np.unique(units)) == len(positive) else "Obuchowski, patients as clusters"
