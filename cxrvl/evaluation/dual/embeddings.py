"""Where do images and reports lie in the space they share? The vectors themselves, one row each, for any later use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.evaluation.dual.encoder import DualEncoder
from cxrvl.evaluation.dual.pairs import Pairs, embedded_pairs, joined_pairs, paired_rows, predictions_of
from cxrvl.evaluation.embedding_metrics import IMAGE, REPORT, embedding_metrics, vector_columns
from cxrvl.evaluation.predictions import IMAGE_COLUMNS, Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.text_metrics import TextOptions

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class EmbeddingEvaluator:
    """The embeddings of images and reports: predictions of kind "embeddings".

    One row per image, and one per study's report, which carries the name of the study's first image; the columns `v/0`,
    `v/1`, ... are the vector as the model compares it. 10,000 pairs in 512 dimensions are about 40 MB.

    Args:
        splits, score_split, bootstrap, seed, confidence: see `ImageTextRetrievalEvaluator`.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "embeddings"
    asks = DualEncoder

    def __init__(
        self,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.options = TextOptions.checked(splits, score_split, None, bootstrap, seed, confidence)
        self.splits = tuple(splits)

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are scored; DataError for a table without reports."""
        return paired_rows(table, self.splits)

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Vectors of a batch's images and reports, see `embedded_pairs`."""
        return embedded_pairs(batch, output, network, table, {}, 0)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Lay out the vectors of all processes."""
        groups = [Pairs.of(group) for _, group in joined_pairs(parts, table).groupby("split", sort=False)]
        rows = [part for pairs in groups for part in (_laid_out(pairs, IMAGE), _laid_out(pairs, REPORT))]
        return predictions_of(pd.concat(rows, ignore_index=True), self.kind, (IMAGE, REPORT), table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `embedding_metrics`, JSON-able."""
        return embedding_metrics(predictions, self.options)


def _laid_out(pairs: Pairs, which: str) -> pd.DataFrame:
    """One row per image, or per report, of a pool."""
    chosen = np.arange(len(pairs.frame)) if which == IMAGE else pairs.first
    rows = pairs.frame.iloc[chosen].reset_index(drop=True)
    vectors = pairs.images if which == IMAGE else pairs.reports()
    about = rows[list(IMAGE_COLUMNS)].assign(label=which, text=rows["said"])
    return pd.concat([about, pd.DataFrame(vectors, columns=vector_columns(vectors.shape[1]))], axis=1)
