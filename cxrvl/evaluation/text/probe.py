"""Can the findings of a report be read off its embedding by a linear classifier, of all training reports or of a few?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import DataError
from cxrvl.evaluation.findings_metrics import FindingsOptions, findings_metrics
from cxrvl.evaluation.linear_probe import LinearProbe
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.text.reports import WHOLE, Variant, build, chosen_reports, embed, report_columns, reports_of_batch

if TYPE_CHECKING:
    from cxrvl.data.reports.table import ReportTable


class LabelProbeEvaluator:
    """Linear probe of the table's labels on frozen embeddings: predictions of kind "findings", as a classifier's.

    See `LinearProbe`.

    Args:
        of: the section embedded, or `report`. instruction: before every text.
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
        instruction: str = "",
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
        self.linear = LinearProbe.checked(
            (train_split, threshold_split, score_split), penalties, shots, probe_seed, bootstrap
        )
        self.variant = Variant.checked("of", {"of": of}, instruction)
        self.splits = self.linear.splits
        self.train_reports, self.reports = train_reports, reports
        self.options = FindingsOptions(
            threshold_split, score_split, bootstrap=bootstrap, seed=seed, confidence=confidence
        )

    def scored(self, table: "ReportTable") -> np.ndarray:
        """Return the rows (n,) int64 of the report table that are read; DataError where it has no labels."""
        if not table.labels:
            raise DataError(f"{table.split_name!r} has no labels to probe; map some, or leave the evaluation out")
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
        vectors = embed(network, [(self.variant.instruction, text) for _, text in found])
        return pd.DataFrame({**report_columns(table, rows), **targets, "vector": list(vectors)})

    def collect(self, parts: Sequence[pd.DataFrame], table: "ReportTable", *, partial: bool = False) -> Predictions:
        """Fit the probes on the training reports of all processes, and score the others."""
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        if not len(rows):
            return build(rows, self.kind, table.labels, table)
        rows = rows.drop_duplicates(["dataset", "image"]).sort_values(["dataset", "image"], ignore_index=True)
        scored = self.linear.scored(rows, table.labels, "reports with a text")
        return build(scored, self.kind, table.labels, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return findings_metrics(predictions, self.options)
