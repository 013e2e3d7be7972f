"""Can findings be read off frozen vectors by a linear classifier, trained on all rows or on a few of each label?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.labels import known_targets
from cxrvl.evaluation.statistics.auroc import auroc
from cxrvl.evaluation.statistics.logistic import fit_logistic

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearProbe:
    """One logistic regression per label on standardised vectors of the training rows whose label is known.

    The penalty is the one of `penalties` with the highest mean AUROC on the validation split. A label that lacks positives
    or negatives among the training rows gets a constant.

    splits: train, choose, score. penalties: L2 weights. shots: training rows of each side of each label; None = all.
    seed: of the choice of shots.
    """

    splits: tuple[str, str, str]
    penalties: tuple[float, ...]
    shots: int | None
    seed: int

    @classmethod
    def checked(
        cls, splits: tuple[str, str, str], penalties: Sequence[float], shots: int | None, seed: int, bootstrap: int
    ) -> "LinearProbe":
        """Check the options that all evaluators with a probe share; ConfigError for what cannot be right."""
        if len(set(splits)) < 3:
            raise ConfigError(
                f"evaluation trains its probe on {splits[0]!r}, chooses on {splits[1]!r} and scores on {splits[2]!r}; "
                "expected three different splits"
            )
        if (shots is not None and shots < 1) or not penalties or min(penalties) <= 0 or bootstrap < 1:
            raise ConfigError(
                f"evaluation shots={shots}, penalties={list(penalties)}, bootstrap={bootstrap}; expected at least 1 shot "
                "or null, positive penalties and at least 1 replicate"
            )
        return cls(splits, tuple(penalties), shots, seed)

    def scored(self, rows: pd.DataFrame, labels: Sequence[str], what: str) -> pd.DataFrame:
        """Fit the probes, and give the rows outside the training split their logits.

        Args:
            rows: `split`, `vector` (D,), `target/<label>`; each once.
            what: the rows are, for messages.

        Returns:
            The rows to choose on and to score, `logit/<label>` instead of `vector`.

        Raises:
            DataError: a split without rows.
        """
        vectors = np.stack(list(rows["vector"])).astype(np.float64)
        train, val, test = ((rows["split"] == name).to_numpy() for name in self.splits)
        if not train.any() or not val.any() or not test.any():
            raise DataError(f"the probe needs {what} in each of {', '.join(self.splits)}; one has none")
        spread = vectors[train].std(axis=0)
        vectors = (vectors - vectors[train].mean(axis=0)) / np.where(spread > 0, spread, 1)
        targets = known_targets(rows[[f"target/{label}" for label in labels]].to_numpy(dtype=np.float32), "ignore")
        logits = self._logits(vectors, targets, train, val)
        kept = rows[~train].drop(columns="vector").reset_index(drop=True)
        return kept.assign(**{f"logit/{label}": logits[~train, place] for place, label in enumerate(labels)})

    def _logits(
        self, vectors: Floats, targets: NDArray[np.float32], train: np.ndarray, val: np.ndarray
    ) -> NDArray[np.float32]:
        """Logits (n, L) of the probes under the penalty that suits the validation split best."""
        rng = np.random.default_rng(self.seed)
        chosen = [self._training_rows(targets[:, place], train, rng) for place in range(targets.shape[1])]
        best: tuple[float, NDArray[np.float32]] | None = None
        for penalty in self.penalties:
            logits = np.stack(
                [
                    fit_logistic(vectors[rows], targets[rows, place], penalty)(vectors)
                    for place, rows in enumerate(chosen)
                ],
                axis=1,
            ).astype(np.float32)
            known = [val & ~np.isnan(targets[:, place]) for place in range(targets.shape[1])]
            found = [auroc(logits[rows, place], targets[rows, place]) for place, rows in enumerate(known)]
            defined = [value for value in found if not np.isnan(value)]
            mean = float(np.mean(defined)) if defined else 0.0
            if best is None or mean > best[0]:
                best = mean, logits
        assert best is not None
        return best[1]

    def _training_rows(self, targets: NDArray[np.float32], train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = np.flatnonzero(train & ~np.isnan(targets))
        if self.shots is None:
            return rows
        sides = [rows[targets[rows] == side] for side in (1, 0)]
        return np.concatenate([rng.permutation(side)[: self.shots] for side in sides])
