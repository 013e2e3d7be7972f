"""Does an image find its report, and a report its image, among those of all others? One row per query, with its rank."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.style import check_styles
from cxrvl.errors import ConfigError
from cxrvl.evaluation.dual.encoder import DualEncoder
from cxrvl.evaluation.dual.pairs import PLAIN, Pairs, embedded_pairs, joined_pairs, paired_rows, predictions_of
from cxrvl.evaluation.predictions import IMAGE_COLUMNS, NEAREST, Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import Nearest, ranks
from cxrvl.evaluation.text_metrics import TextOptions, text_metrics

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

QUERIES = ("image", "report")
_TASK = ("query", "styles")


class ImageTextRetrievalEvaluator:
    """Retrieval between images and reports: predictions of kind "ranks", with the nearest documents' names.

    Args:
        tasks: name -> {query: image | report, styles: {rewriting: strength}}. An image asks for reports, a report for
            images; with styles the reports are rewritten first, on whichever side they are.
        splits: splits to score, each a pool of its own; metrics are of `score_split`.
        style_seed: of the rewriting. bootstrap, seed, confidence: replicates over patients, of all intervals.

    Images of one study are all right answers to its report. Studies whose reports read the same are right answers to
    each other where copies count, see `POLICIES`; rewritten, a report is still told by how it read before. The row of
    a report carries the name of its study's first image.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "ranks"
    asks = DualEncoder

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        style_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.options = TextOptions.checked(splits, score_split, None, bootstrap, seed, confidence)
        self.splits, self.style_seed = tuple(splits), style_seed
        if not tasks:
            raise ConfigError("evaluation tasks is empty; expected {<name>: {query: image}} or more")
        self.tasks: dict[str, tuple[str, str]] = {}
        self.styles: dict[str, dict[str, float]] = {}
        for name, given in tasks.items():
            self.tasks[str(name)] = self._checked(str(name), given)

    def _checked(self, name: str, given: Mapping[str, Any]) -> tuple[str, str]:
        """Return who asks, and the name of the reports' style, which is kept."""
        for key in given:
            if key not in _TASK:
                raise ConfigError(f"evaluation tasks.{name}: unknown key '{key}'{did_you_mean(str(key), _TASK)}")
        query = str(given.get("query", ""))
        if query not in QUERIES:
            raise ConfigError(
                f"evaluation tasks.{name}.query is {query!r}{did_you_mean(query, QUERIES)}; expected image or report"
            )
        style = {str(key): float(value) for key, value in (given.get("styles") or {}).items()}
        check_styles(style)
        if not style:
            return query, PLAIN
        known = next((own for own, other in self.styles.items() if list(other.items()) == list(style.items())), name)
        self.styles[known] = style
        return query, known

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are scored; DataError for a table without reports."""
        return paired_rows(table, self.splits)

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Vectors of a batch's images and reports, see `embedded_pairs`."""
        return embedded_pairs(batch, output, network, table, self.styles, self.style_seed)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Rank every query among the documents of all processes."""
        rows = joined_pairs(parts, table)
        ranked = [
            self._ranked(pairs, name)
            for _, group in rows.groupby("split", sort=False)
            for pairs in [Pairs.of(group)]
            for name in self.tasks
        ]
        return predictions_of(pd.concat(ranked, ignore_index=True), self.kind, tuple(self.tasks), table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `text_metrics`, JSON-able."""
        return text_metrics(predictions, self.options)

    def _ranked(self, pairs: Pairs, name: str) -> pd.DataFrame:
        """The rows of one task in one pool."""
        query, style = self.tasks[name]
        if query == "image":
            pool, names, asking = pairs.report_pool(style), pairs.report_names(), np.arange(len(pairs.frame))
            vectors, texts, studies = pairs.images, pairs.texts, pairs.studies
        else:
            pool, names, asking = pairs.image_pool(), pairs.image_names(), pairs.first
            vectors, texts, studies = pairs.reports(style), pairs.said, np.arange(len(pairs.first))
        rows = pairs.frame.iloc[asking].reset_index(drop=True)
        about = {column: rows[column] for column in IMAGE_COLUMNS}
        top = Nearest(len(vectors), pool, NEAREST)
        found = {**ranks(vectors, pool, texts, studies, top), **nearest_columns(top, names)}
        return pd.DataFrame({**about, "label": name, "text": rows["said"], **found})


def nearest_columns(top: Nearest, names: np.ndarray) -> dict[str, Any]:
    """Names and similarities of the nearest documents, `found_<n>` and `near_<n>`; "" and NaN in a smaller pool."""
    columns: dict[str, Any] = {}
    for number in range(NEAREST):
        there = number < top.near.shape[1]
        columns[f"found_{number + 1}"] = names[top.places[:, number]] if there else ""
        columns[f"near_{number + 1}"] = top.near[:, number] if there else np.float32(np.nan)
    return columns
