"""How well do scores rank positives above negatives? AUROC and average precision, once or for many weightings."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]


class RankedScores:
    """Scores of positives and negatives sorted once, ready for any number of weightings of their clusters.

    A replicate of a bootstrap is a weighting: each cluster (patient) counts as often as it was drawn. Sorting does not
    depend on the weights, so all replicates share it: negatives are binned between (and onto) the distinct scores of
    the positives, and one sparse product sums the weights of each bin for all replicates.

    Args:
        scores: (n,) any real numbers, infinities included; higher means more positive. NaN is refused.
        targets: (n,) 1 or 0.
        clusters: (n,) integers in [0, number); each item its own cluster if absent.
        number: how many clusters there are (rows of the weight matrix); the highest number + 1 if absent.

    Raises:
        ValueError: NaN scores, targets other than 0 and 1, or lengths that differ.
    """

    def __init__(
        self, scores: ArrayLike, targets: ArrayLike, clusters: ArrayLike | None = None, number: int | None = None
    ) -> None:
        values, positive = scores_and_positive(scores, targets)
        units = np.arange(len(values)) if clusters is None else np.asarray(clusters, dtype=np.int64)
        if units.shape != values.shape:
            raise ValueError(f"{len(units)} clusters for {len(values)} scores")
        self.number = int(units.max(initial=-1)) + 1 if number is None else number
        levels = np.unique(values[positive])
        negatives = values[~positive]
        # bin 2i: between level i-1 and level i; bin 2i+1: tied with level i
        bins = np.searchsorted(levels, negatives, "left") + np.searchsorted(levels, negatives, "right")
        self._positives = _sums(np.searchsorted(levels, values[positive]), units[positive], len(levels), self.number)
        self._negatives = _sums(bins, units[~positive], 2 * len(levels) + 1, self.number)

    def auroc(self, weights: ArrayLike) -> Floats:
        """AUROC under each weighting: the weighted share of (positive, negative) pairs in order, ties counted half.

        Args:
            weights: (clusters, R), ≥ 0.

        Returns:
            (R,) in [0, 1]; NaN where the positives or the negatives weigh nothing.
        """
        positives, up_to = self._weigh(weights)
        below, ties = up_to[:-1:2], np.diff(up_to, axis=0)[::2]
        return _ratio(np.einsum("kr,kr->r", positives, below + 0.5 * ties), positives.sum(0) * up_to[-1])

    def auprc(self, weights: ArrayLike) -> Floats:
        """Average precision under each weighting: sum over thresholds of gain in recall x precision, no interpolation.

        Args:
            weights: (clusters, R), ≥ 0.

        Returns:
            (R,) in [0, 1]; NaN where the positives or the negatives weigh nothing (without negatives precision says
            nothing about the scores).
        """
        positives, up_to = self._weigh(weights)
        true = np.cumsum(positives[::-1], axis=0)[::-1]
        called = true + (up_to[-1] - up_to[:-1:2])
        precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
        average = _ratio(np.einsum("kr,kr->r", positives, precision), positives.sum(0))
        return np.where(up_to[-1] > 0, average, np.nan)

    def _weigh(self, weights: ArrayLike) -> tuple[Floats, Floats]:
        """Weight of the positives at each level (k, R), and of the negatives up to each bin (2k+1, R)."""
        matrix = np.asarray(weights)
        if matrix.ndim != 2 or matrix.shape[0] != self.number:
            raise ValueError(f"weights of shape {matrix.shape}, expected ({self.number}, replicates)")
        positives = np.asarray(self._positives @ matrix, dtype=np.float64)
        return positives, np.cumsum(self._negatives @ matrix, axis=0, dtype=np.float64)


def auroc(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counted half.

    Args:
        scores: (n,) higher means more positive.
        targets: (n,) 1 or 0.
        weights: (n,) ≥ 0, all 1 if absent.

    Returns:
        A number in [0, 1], or NaN (undefined) without positives or without negatives; never 0 for want of a class.
    """
    ranked = RankedScores(scores, targets)
    return float(ranked.auroc(_column(weights, ranked.number))[0])


def auprc(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Average precision (area under the precision-recall curve by steps); arguments and NaN as for `auroc`."""
    ranked = RankedScores(scores, targets)
    return float(ranked.auprc(_column(weights, ranked.number))[0])


def scores_and_positive(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores as float64 and targets as booleans, both (n,).

    Raises:
        ValueError: NaN scores, targets other than 0 and 1, or lengths that differ.
    """
    values, known = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if values.ndim != 1 or values.shape != known.shape:
        raise ValueError(f"scores {values.shape} and targets {known.shape} must be two vectors of one length")
    if np.isnan(values).any():
        raise ValueError("a score is NaN: it has no rank")
    positive = known == 1
    if not (positive | (known == 0)).all():
        raise ValueError("targets other than 0 and 1: leave out what is not stated or uncertain first")
    return values, positive


def _sums(rows: NDArray[np.int64], columns: NDArray[np.int64], height: int, width: int) -> sparse.csr_array:
    # float32 sums whole numbers exactly up to 2**24, more than the images of any set, at half the memory traffic
    entries = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_array((entries, (rows, columns)), shape=(height, width))


def _column(weights: ArrayLike | None, number: int) -> Floats:
    values = np.ones(number) if weights is None else np.asarray(weights, dtype=np.float64)
    return values.reshape(-1, 1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
