"""Does a text find its counterpart among those of all other reports? One row per query, with its rank under any policy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import ConfigError
from cxrvl.evaluation.predictions import TEXTS, Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import Pool, Vectors, ranks
from cxrvl.evaluation.text.reports import (
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

KEEP = ("all", "changed")


class TextRetrievalEvaluator:
    """Retrieval of texts by texts: predictions of kind "ranks".

    Args:
        tasks: name -> {query: variant, document: variant}, see `Variant`; the documents of all reports are the pool. null
            leaves a task out.
        instruction, document_instruction: before every query, and before every document, whose variant has none of its
            own; a run's tasks are named by {task: <name>} in a config.
        splits: splits to score, each a pool of its own; metrics are of `score_split`.
        reports: of a split at most so many, chosen by a hash of their names; None = all.
        keep: all | changed: whether a query that reads like its document counts; with `changed` reports in which there was
            nothing to rewrite are in the pool, and ask for nothing.
        seed: of styles, choice of reports and bootstrap. bootstrap, confidence: replicates over patients, of all intervals.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "ranks"

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | None],
        instruction: str = "",
        document_instruction: str = "",
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        reports: int | None = None,
        keep: str = "all",
        style_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        chosen = {str(name): sides for name, sides in tasks.items() if sides is not None}
        if keep not in KEEP or not chosen:
            raise ConfigError(f"evaluation keep is {keep!r}, tasks {list(tasks)}; expected all or changed, and a task")
        self.options = TextOptions.checked(splits, score_split, reports, bootstrap, seed, confidence)
        self.splits, self.reports, self.keep = tuple(splits), reports, keep
        self.style_seed = style_seed
        before = {"query": instruction, "document": document_instruction}
        self.tasks = {}
        for name, sides in chosen.items():
            if set(sides) != {"query", "document"}:
                raise ConfigError(f"evaluation tasks.{name} has {sorted(sides)}; expected query and document")
            self.tasks[name] = tuple(
                Variant.checked(f"tasks.{name}.{side}", sides[side], said) for side, said in before.items()
            )

    def scored(self, table: "ReportTable") -> np.ndarray:
        """Return the rows (n,) int64 of the report table that are read."""
        return chosen_reports(table, self.splits, self.reports)

    def probe(self, batch: Batch, output: Any, network: Network, table: "ReportTable") -> pd.DataFrame:
        """Texts and embeddings of a batch's reports, one row per report and task."""
        entries: list[tuple[int, str, str, str, bool]] = []
        for report in reports_of_batch(batch, table):
            for name, (query, document) in self.tasks.items():
                asked, there = query.text(report, self.style_seed), document.text(report, self.style_seed)
                if not there:
                    continue
                same = fingerprint_of(asked) == fingerprint_of(there)
                asks = bool(asked) and not (same and self.keep == "changed")
                entries.append((report.row, name, asked if asks else there, there, asks))
        if not entries:
            return pd.DataFrame()
        texts = [self._behind(name, 0 if asks else 1, asked) for _, name, asked, _, asks in entries]
        texts += [self._behind(name, 1, there) for _, name, _, there, _ in entries]
        vectors = embed(network, texts)
        return pd.DataFrame({
            **report_columns(table, [row for row, *_ in entries]),
            "label": [name for _, name, *_ in entries],
            "text": [fingerprint_of(f"{asked}\n{there}") for *_, asked, there, _ in entries],
            "own": [fingerprint_of(there) for *_, there, _ in entries],
            "asks": [asks for *_, asks in entries],
            "query": list(vectors[: len(entries)]),
            "document": list(vectors[len(entries) :]),
        })  # fmt: skip

    def _behind(self, task: str, side: int, text: str) -> tuple[str, str]:
        """A text and the instruction before it: of a query (0), or a document (1)."""
        return self.tasks[task][side].instruction, text

    def collect(self, parts: Sequence[pd.DataFrame], table: "ReportTable", *, partial: bool = False) -> Predictions:
        """Rank every query among the documents of all processes."""
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
        if len(rows):
            rows = rows.drop_duplicates(["dataset", "image", "label"], ignore_index=True)
            ranked = [_ranked(group) for _, group in rows.groupby(["split", "label"], sort=False)]
            rows = pd.concat(ranked, ignore_index=True)
        return build(rows, self.kind, tuple(self.tasks), table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `text_metrics`, JSON-able."""
        return text_metrics(predictions, self.options)


def _ranked(group: pd.DataFrame) -> pd.DataFrame:
    """Replace the vectors of one pool by where each query finds its own document; documents that nobody asks for go."""
    codes, names = pd.factorize(group["own"], sort=False)
    first = np.unique(codes, return_index=True)[1]
    pool: Vectors = np.stack([group["document"].iloc[place] for place in first])
    asking = group["asks"].to_numpy()
    kept = group[asking].drop(columns=["own", "asks", "query", "document"]).reset_index(drop=True)
    if not len(kept):
        return kept
    queries: Vectors = np.stack(list(group["query"][asking]))
    counts = np.bincount(codes, minlength=len(names))
    found = ranks(queries, Pool.build(pool, np.arange(len(pool)), counts=counts), codes[asking])
    return kept.assign(**{name: found[name] for name in TEXTS["ranks"][1]})
