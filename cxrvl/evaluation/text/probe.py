"""Can the findings of a report be read off its embedding by a linear classifier, of all training reports or of a few?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.findings_metrics import FindingsOptions, findings_metrics
from cxrvl.evaluation.labels import known_targets
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.statistics.auroc import auroc
from cxrvl.evaluation.statistics.logistic import fit_logistic
from cxrvl.evaluation.text.reports import WHOLE, Variant, build, chosen_reports, embed, report_columns, reports_of_batch

if TYPE_CHECKING:
    from cxrvl.data.reports.table import ReportTable

Floats = NDArray[np.float64]


class LabelProbeEvaluator:
    """Linear probe of the table's labels on frozen embeddings: predictions of kind "findings", as a classifier's.

    One logistic regression per label on the standardised embeddings of training reports whose label is known; its
    penalty is the one of `penalties` with the highest mean AUROC on the validation split. A label that lacks
    positives or negatives among the training reports gets a constant.

    Args:
        of: the section embedded, or `report`.
        train_reports: of the training split at most so many; None = all. shots: of those, only so many positives and
            negatives of each label; None = all.
        penalties: L2 weights to choose from.
        reports: of validation and test split at most so many.
        options: as in `FindingsEvaluator`.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "findings"

    def __init__(
        self,
        of: str = WHOLE,
        train_reports: int | None = None,
        shots: int | None = None,
        penalties: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
        reports: int | None = None,
        train_split: str = "train",
        threshold_split: str = "val",
        score_split: str = "test",
        probe_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        if len({train_split, threshold_split, score_split}) < 3:
            raise ConfigError(
                f"evaluation trains its probe on {train_split!r}, chooses on {threshold_split!r} and scores on "
                f"{score_split!r}; expected three different splits"
            )
        if (shots is not None and shots < 1) or not penalties or min(penalties) <= 0 or bootstrap < 1:
            raise ConfigError(
                f"evaluation shots={shots}, penalties={list(penalties)}, bootstrap={bootstrap}; expected at least 1 shot "
                "or null, positive penalties and at least 1 replicate"
            )
        self.variant = Variant.checked("of", {"of": of})
        self.splits = (train_split, threshold_split, score_split)
        self.train_reports, self.reports, self.shots = train_reports, reports, shots
        self.penalties, self.probe_seed = tuple(penalties), probe_seed
        self.options = FindingsOptions(
            threshold_split, score_split, bootstrap=bootstrap, seed=seed, confidence=confidence
        )

    def scored(self, table: "ReportTable") -> np.ndarray:
        """Return the rows (n,) int64 of the report table that are read; DataError where it has no labels."""
        if not table.labels:
            raise DataError(f"{table.split_name!r} has no labels to probe; leave the evaluation out")
        train, *rest = self.splits
        return np.concatenate(
            [chosen_reports(table, [train], self.train_reports), chosen_reports(table, rest, self.reports)]
        )

    def probe(self, batch: Batch, output: Any, network: Network, table: "ReportTable") -> pd.DataFrame:
        """Embeddings and labels of a batch's reports."""
        found = [(report.row, self.variant.text(report, 0)) for report in reports_of_batch(batch, table)]
        found = [(row, text) for row, text in found if text]
        if not found:
            return pd.DataFrame()
        rows = [row for row, _ in found]
        targets = {f"target/{label}": table.frame[label].to_numpy(dtype=np.float32)[rows] for label in table.labels}
        vectors = embed(network, [("", text) for _, text in found])
        return pd.DataFrame({**report_columns(table, rows), **targets, "vector": list(vectors)})

    def collect(self, parts: Sequence[pd.DataFrame], table: "ReportTable", *, partial: bool = False) -> Predictions:
        """Fit the probes on the training reports of all processes, and score the others."""
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        if not len(rows):
            return build(rows, self.kind, table.labels, table)
        rows = rows.drop_duplicates(["dataset", "image"]).sort_values(["dataset", "image"], ignore_index=True)
        vectors = np.stack(list(rows["vector"])).astype(np.float64)
        train, val, test = ((rows["split"] == name).to_numpy() for name in self.splits)
        if not train.any() or not val.any() or not test.any():
            raise DataError(f"the probe needs reports in each of {', '.join(self.splits)}; one has none with a text")
        spread = vectors[train].std(axis=0)
        vectors = (vectors - vectors[train].mean(axis=0)) / np.where(spread > 0, spread, 1)
        targets = known_targets(
            rows[[f"target/{label}" for label in table.labels]].to_numpy(dtype=np.float32), "ignore"
        )
        logits = self._logits(vectors, targets, train, val)
        kept = rows[~train].drop(columns="vector").reset_index(drop=True)
        scores = {f"logit/{label}": logits[~train, place] for place, label in enumerate(table.labels)}
        return build(kept.assign(**scores), self.kind, table.labels, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return findings_metrics(predictions, self.options)

    def _logits(
        self, vectors: Floats, targets: NDArray[np.float32], train: np.ndarray, val: np.ndarray
    ) -> NDArray[np.float32]:
        """Logits (n, L) of the probes under the penalty that suits the validation split best."""
        rng = np.random.default_rng(self.probe_seed)
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
