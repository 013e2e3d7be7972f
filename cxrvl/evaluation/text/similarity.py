"""Are reports near each other that say the same of the patient? One row per pair of reports."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import ConfigError
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.text.clinical import REFERENCES, agreements, check_reference
from cxrvl.evaluation.text.reports import WHOLE, Variant, build, chosen_reports, embed, report_columns, reports_of_batch
from cxrvl.evaluation.text_metrics import TextOptions, text_metrics

if TYPE_CHECKING:
    from cxrvl.data.reports.table import ReportTable


class ClinicalSimilarityEvaluator:
    """Correlation of cosine with clinical agreement over pairs of reports: predictions of kind "pairs".

    Args:
        references: what agreement is measured by: `labels` (overlap of the rule labeler's findings), or, with the extra
            `clinical` and its weights, `radgraph`, `chexbert`, `green`.
        of: the section compared, or `report`. instruction: before both texts of a pair.
        pairs: of a split, drawn once; every report with as many others as it takes.
        splits, score_split, reports, bootstrap, seed, confidence: see `TextRetrievalEvaluator`.

    Raises:
        ConfigError: options that cannot be right, or a reference whose package is missing.
    """

    kind = "pairs"

    def __init__(
        self,
        references: Sequence[str] = ("labels",),
        of: str = WHOLE,
        instruction: str = "",
        pairs: int = 2000,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        reports: int | None = None,
        pair_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        if not references or pairs < 10:
            raise ConfigError(f"evaluation references={list(references)}, pairs={pairs}; expected at least one of "
                              f"{', '.join(REFERENCES)} and 10 pairs")  # fmt: skip
        for name in references:
            check_reference(name)
        self.references, self.pairs, self.pair_seed = tuple(references), pairs, pair_seed
        self.variant = Variant.checked("of", {"of": of}, instruction)
        self.options = TextOptions.checked(splits, score_split, reports, bootstrap, seed, confidence)
        self.splits, self.reports = tuple(splits), reports

    def scored(self, table: "ReportTable") -> np.ndarray:
        """Return the rows (n,) int64 of the report table that are read."""
        return chosen_reports(table, self.splits, self.reports)

    def probe(self, batch: Batch, output: Any, network: Network, table: "ReportTable") -> pd.DataFrame:
        """Texts and embeddings of a batch's reports."""
        found = [(report.row, self.variant.text(report, 0)) for report in reports_of_batch(batch, table)]
        found = [(row, text) for row, text in found if text]
        if not found:
            return pd.DataFrame()
        vectors = embed(network, [(self.variant.instruction, text) for _, text in found])
        columns = report_columns(table, [row for row, _ in found])
        return pd.DataFrame({**columns, "said": [text for _, text in found], "vector": list(vectors)})

    def collect(self, parts: Sequence[pd.DataFrame], table: "ReportTable", *, partial: bool = False) -> Predictions:
        """Draw pairs among the reports of all processes, and measure both kinds of nearness."""
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        if len(rows):
            rows = rows.drop_duplicates(["dataset", "image"], ignore_index=True)
            rows = rows.sort_values(["dataset", "image"], ignore_index=True)
            rows = pd.concat([self._paired(group) for _, group in rows.groupby("split", sort=True)], ignore_index=True)
        return build(rows, self.kind, self.references, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `text_metrics`, JSON-able."""
        return text_metrics(predictions, self.options)

    def _paired(self, group: pd.DataFrame) -> pd.DataFrame:
        first, second = drawn_pairs(len(group), self.pairs, self.pair_seed)
        ones, others = group.iloc[first].reset_index(drop=True), group.iloc[second].reset_index(drop=True)
        vectors = np.stack(list(group["vector"])).astype(np.float64)
        cosine = np.einsum("nd,nd->n", vectors[first], vectors[second]).astype(np.float32)
        about = ones.drop(columns=["said", "vector"])
        other = {"other": others["image"], "other_patient": others["patient"], "other_dataset": others["dataset"]}
        return pd.concat(
            [
                about.assign(
                    label=name, **other, cosine=cosine, agreement=agreements(name, ones["said"], others["said"])
                )
                for name in self.references
            ],
            ignore_index=True,
        )


def drawn_pairs(reports: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw different pairs of different reports: two (n,) int64, n at most `pairs`; all there are, where they are fewer."""
    every = reports * (reports - 1) // 2
    rng = np.random.default_rng(seed)
    numbers = np.arange(every) if every <= pairs else np.sort(rng.choice(every, size=pairs, replace=False))
    # Number k of the pairs (i, j), i < j, counted row by row of the upper triangle.
    first = np.floor(((2 * reports - 1) - np.sqrt((2 * reports - 1) ** 2 - 8.0 * numbers)) / 2).astype(np.int64)
    start = first * (2 * reports - first - 1) // 2
    over = numbers < start
    first -= over
    start = first * (2 * reports - first - 1) // 2
    return first, numbers - start + first + 1
