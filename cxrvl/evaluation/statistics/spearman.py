"""How well do two orders of the same pairs agree, and how would that change with other patients?"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class PairSpearman:
    """Spearman's correlation over pairs of two patients' items, as a function of how often each patient is drawn.

    A pair counts as often as both its patients are drawn together: the product of their counts. Ranks are taken among
    the drawn pairs, ties sharing their mean rank.

    Args:
        x, y: (n,) the two values of each pair.
        first, second: (n,) the patients of its two items, as numbers.
    """

    def __init__(self, x: Floats, y: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        self.first, self.second = first, second
        self.codes = [np.unique(values, return_inverse=True)[1] for values in (x, y)]

    def __call__(self, counts: NDArray[np.float32]) -> Floats:
        """Return the correlation under each replicate: counts (patients, r) -> (r,); NaN where a side is constant."""
        weights = counts[self.first].astype(np.float64) * counts[self.second]
        return np.array([self._correlation(weights[:, number]) for number in range(weights.shape[1])])

    def _correlation(self, weights: Floats) -> float:
        total = weights.sum()
        if total <= 0:
            return float("nan")
        ranks = [_mid_ranks(codes, weights) for codes in self.codes]
        x, y = (one - (weights @ one) / total for one in ranks)
        scale = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
        return float((weights @ (x * y)) / scale) if scale > 0 else float("nan")


def _mid_ranks(codes: NDArray[np.int64], weights: Floats) -> Floats:
    """The mean rank of each item among items that count `weights` times; codes order them, equal ones are ties."""
    held = np.bincount(codes, weights=weights)
    below = np.concatenate([[0.0], np.cumsum(held)[:-1]])
    return np.asarray((below + (held + 1) / 2)[codes])
