"""Do marks on lesions outrank the marks on normal images? The JAFROC figure of merit."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from cxrvl.evaluation.statistics.auroc import RankedScores

Floats = NDArray[np.float64]


class Jafroc:
    """Ratings of lesions and of normal images, ranked once, for the figure of merit and its bootstrap.

    The figure of merit (papers/acm.md 3a; Chakraborty and Berbaum 2004) is the probability that a lesion's rating (the
    highest mark that hits it) exceeds the highest mark on a normal image; ties count half, an unmarked lesion and an
    unmarked normal image are rated -inf, and marks beside the lesions of an abnormal image are not used.

    Args:
        lesions: (l,) rating of each lesion, -inf where no mark hits it.
        normals: (n,) highest rating on each normal image, -inf where there is none.
        lesion_clusters, normal_clusters: (l,), (n,) patients as integers in [0, number).
        number: how many patients there are.
        lesion_images: (l,) the image of each lesion; if given, lesions are weighted so that each abnormal image counts
            the same (wJAFROC with equal weights within an image); else each lesion counts the same.
    """

    def __init__(
        self,
        lesions: ArrayLike,
        normals: ArrayLike,
        lesion_clusters: ArrayLike,
        normal_clusters: ArrayLike,
        number: int,
        lesion_images: ArrayLike | None = None,
    ) -> None:
        on_lesions, on_normals = np.asarray(lesions, dtype=np.float64), np.asarray(normals, dtype=np.float64)
        self.lesions, self.normals = len(on_lesions), len(on_normals)
        self._clusters = np.concatenate([np.asarray(lesion_clusters), np.asarray(normal_clusters)]).astype(np.int64)
        self._weights: Floats | None = None
        units, count = self._clusters, number
        if lesion_images is not None:
            _, image, lesions_of = np.unique(np.asarray(lesion_images), return_inverse=True, return_counts=True)
            self._weights = np.concatenate([1 / lesions_of[image], np.ones(self.normals)])
            units, count = np.arange(len(units)), len(units)
        targets = np.concatenate([np.ones(self.lesions), np.zeros(self.normals)])
        self._ranked = RankedScores(np.concatenate([on_lesions, on_normals]), targets, units, count)
        self._number = number

    def figure_of_merit(self, counts: ArrayLike | None = None) -> Floats:
        """Figure of merit under each weighting of the patients.

        Args:
            counts: (patients, R) ≥ 0; all 1 (one replicate) if absent.

        Returns:
            (R,) in [0, 1]; NaN without lesions or without normal images.
        """
        weights = np.ones((self._number, 1)) if counts is None else np.asarray(counts)
        if self._weights is not None:
            weights = weights[self._clusters] * self._weights[:, None]
        return self._ranked.auroc(weights)


def jafroc(lesions: ArrayLike, normals: ArrayLike) -> float:
    """Figure of merit of ratings alone, each lesion and each normal image its own patient; see `Jafroc`."""
    units = np.arange(np.size(lesions) + np.size(normals))
    own, other = np.split(units, [np.size(lesions)])
    return float(Jafroc(lesions, normals, own, other, len(units)).figure_of_merit()[0])


def jackknife_interval(figure: Jafroc, patients: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval by leaving out one patient at a time (Chakraborty's pseudo-values, patients as cases), Student's t.

    Returns:
        low, high clipped to [0, 1]; NaN with fewer than two patients or where leaving one out leaves no figure.
    """
    whole = float(figure.figure_of_merit()[0])
    if patients <= 1:
        return float("nan"), float("nan")
    without = np.concatenate(
        [
            figure.figure_of_merit(1.0 - (np.arange(patients)[:, None] == np.arange(start, min(start + 128, patients))))
            for start in range(0, patients, 128)
        ]
    )
    pseudo = patients * whole - (patients - 1) * without
    half = student.ppf(0.5 + confidence / 2, patients - 1) * pseudo.std(ddof=1) / np.sqrt(patients)
    return max(0.0, float(pseudo.mean() - half)), min(1.0, float(pseudo.mean() + half))
