"""Do predicted probabilities mean what they say? Brier score, reliability table, expected calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """A reliability table: one entry per bin that holds images, all arrays (bins,)."""

    low: Floats
    high: Floats
    """edges of the bin (equal widths), or lowest and highest probability in it (equal mass)"""
    count: NDArray[np.int64]
    probability: Floats
    """mean predicted probability"""
    frequency: Floats
    """share of positives"""

    def ece(self) -> float:
        """Expected calibration error: mean over images of |probability - frequency| of their bin; NaN if no image."""
        if not self.count.sum():
            return float("nan")
        return float(np.average(np.abs(self.probability - self.frequency), weights=self.count))


def brier(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Brier score: mean squared difference of probability and target (0 is best); NaN if there is no image.

    Args:
        probabilities: (n,) in [0, 1].
        targets: (n,) 1 or 0.
    """
    p, y = _checked(probabilities, targets)
    return float(np.mean((p - y) ** 2)) if len(p) else float("nan")


def reliability(probabilities: ArrayLike, targets: ArrayLike, *, bins: int = 15, binning: str = "width") -> Reliability:
    """Group images by predicted probability.

    Args:
        probabilities: (n,) in [0, 1].
        targets: (n,) 1 or 0.
        bins: how many bins at most.
        binning: "width" cuts [0, 1] into equal widths (Guo 2017); "mass" cuts at ranks, so that bins hold about
            as many images each, which rare findings need; equal probabilities always share a bin.

    Raises:
        ValueError: an unknown binning, probabilities outside [0, 1], targets other than 0 and 1.
    """
    p, y = _checked(probabilities, targets)
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        place = np.clip(np.searchsorted(edges, p, "right") - 1, 0, bins - 1)
    elif binning == "mass":
        # by the rank of the first of equal values, so that they are never parted
        place = np.searchsorted(np.sort(p), p, "left") * bins // max(len(p), 1)
    else:
        raise ValueError(f"binning {binning!r}: expected 'width' or 'mass'")
    count = np.bincount(place, minlength=bins)
    held = count > 0
    mean = [np.bincount(place, values, bins)[held] / count[held] for values in (p, y)]
    if binning == "width":
        low, high = edges[:-1][held], edges[1:][held]
    else:
        low, high = np.full(bins, np.inf), np.full(bins, -np.inf)
        np.minimum.at(low, place, p)
        np.maximum.at(high, place, p)
        low, high = low[held], high[held]
    return Reliability(low, high, count[held], mean[0], mean[1])


def _checked(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(f"probabilities {p.shape} and targets {y.shape} must be two vectors of one length")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a probability lies outside [0, 1]")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("targets other than 0 and 1: leave out what is not stated or uncertain first")
    return p, y
