"""Is a report told from the same report with an error in it? One row per report: four candidates, one of them true."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.data.reports.errors import ERRORS, check_errors, inject
from cxrvl.errors import ConfigError
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.text.reports import (
    WHOLE,
    Report,
    Variant,
    build,
    chosen_reports,
    embed,
    fingerprint_of,
    report_columns,
    reports_of_batch,
)
from cxrvl.evaluation.text_metrics import TextOptions, text_metrics

if TYPE_CHECKING:
    from cxrvl.data.reports.table import ReportTable

WRONG = 3
"""Wrong candidates of every report."""
_TRIED = 12


class ErrorDiscriminationEvaluator:
    """4-way choice between a text and three variants with one error each: predictions of kind "choices".

    Args:
        tasks: name -> kinds of errors, see `cxrvl.data.reports.errors.ERRORS`; a report counts where it offers three
            different wrong texts. null leaves a task out.
        of: the section that the candidates are, or `report`.
        query: {of, styles, instruction}: what is compared with them, see `Variant`; it must not read like the true one.
        instruction, document_instruction: before every query that has none of its own, and before every candidate.
        splits, score_split, reports, bootstrap, seed, confidence: see `TextRetrievalEvaluator`.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "choices"

    def __init__(
        self,
        tasks: Mapping[str, Sequence[str] | None] | None = None,
        of: str = WHOLE,
        query: Mapping[str, Any] | None = None,
        instruction: str = "",
        document_instruction: str = "",
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        reports: int | None = None,
        style_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        given = {"all": tuple(ERRORS)} if tasks is None else tasks
        self.tasks = {str(name): tuple(kinds) for name, kinds in given.items() if kinds is not None}
        if not self.tasks:
            raise ConfigError(f"evaluation tasks {list(given)}; expected one at least that is not null")
        for kinds in self.tasks.values():
            check_errors(kinds)
        self.true = Variant.checked("of", {"of": of}, document_instruction)
        self.query = Variant.checked(
            "query", query or {"of": of, "styles": {"synonyms": 0.5, "shuffle": 1.0}}, instruction
        )
        if (self.query.of, self.query.styles) == (self.true.of, self.true.styles):
            raise ConfigError(f"evaluation query is the section {of!r} itself; give it styles, or another section")
        self.options = TextOptions.checked(splits, score_split, reports, bootstrap, seed, confidence)
        self.splits, self.reports = tuple(splits), reports
        self.style_seed = style_seed

    def scored(self, table: "ReportTable") -> np.ndarray:
        """Return the rows (n,) int64 of the report table that are read."""
        return chosen_reports(table, self.splits, self.reports)

    def probe(self, batch: Batch, output: Any, network: Network, table: "ReportTable") -> pd.DataFrame:
        """Similarities of a batch's reports to their candidates, one row per report and task."""
        entries: list[tuple[int, str, list[str]]] = []
        for report in reports_of_batch(batch, table):
            asked, true = self.query.text(report, self.style_seed), self.true.text(report, self.style_seed)
            if not asked or not true or fingerprint_of(asked) == fingerprint_of(true):
                continue
            for name, kinds in self.tasks.items():
                wrong = self._wrong(report, true, kinds)
                if len(wrong) == WRONG:
                    entries.append((report.row, name, [asked, true, *wrong]))
        if not entries:
            return pd.DataFrame()
        texts = [
            ((self.true if place else self.query).instruction, text)
            for *_, own in entries
            for place, text in enumerate(own)
        ]
        vectors = embed(network, texts).reshape(len(entries), 2 + WRONG, -1).astype(np.float64)
        near = np.einsum("nd,ncd->nc", vectors[:, 0], vectors[:, 1:]).astype(np.float32)
        return pd.DataFrame({
            **report_columns(table, [row for row, *_ in entries]),
            "label": [name for _, name, _ in entries],
            "text": [fingerprint_of("\n".join(own)) for *_, own in entries],
            "true": near[:, 0],
            **{f"wrong_{place}": near[:, place] for place in range(1, 1 + WRONG)},
        })  # fmt: skip

    def collect(self, parts: Sequence[pd.DataFrame], table: "ReportTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes."""
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        if len(rows):
            rows = rows.drop_duplicates(["dataset", "image", "label"], ignore_index=True)
        return build(rows, self.kind, tuple(self.tasks), table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `text_metrics`, JSON-able."""
        return text_metrics(predictions, self.options)

    def _wrong(self, report: Report, text: str, kinds: Sequence[str]) -> list[str]:
        """Up to three different texts with one error each."""
        found: dict[str, str] = {}
        for number in range(_TRIED):
            made = inject(text, kinds, seed=self.style_seed, key=f"{report.key}/wrong{number}")
            if made is None:
                break
            found.setdefault(fingerprint_of(made.text), made.text)
            if len(found) == WRONG:
                break
        return [one for name, one in found.items() if name != fingerprint_of(text)]
