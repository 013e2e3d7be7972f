"""Does the report nearest to an image say what its own report says? One row per image, with the findings of both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.labeler import OBSERVATIONS, Labeler
from cxrvl.data.reports.abbreviations import expansions
from cxrvl.data.reports.edits import apply_edits
from cxrvl.errors import ConfigError
from cxrvl.evaluation.dual.encoder import DualEncoder, passages_of
from cxrvl.evaluation.dual.pairs import Pairs, embedded_pairs, joined_pairs, paired_rows, predictions_of
from cxrvl.evaluation.predictions import IMAGE_COLUMNS, Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import nearest
from cxrvl.evaluation.report_metrics import ReportOptions, report_metrics
from cxrvl.evaluation.text.clinical import check_published, published
from cxrvl.evaluation.text_metrics import TextOptions

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

UNCERTAIN = ("ones", "zeros")


class ReportScoresEvaluator:
    """The top-1 retrieved report as if it were a generated one: predictions of kind "reports".

    What both reports say is read by the rule labeler (CheXpert's 14 observations), always. Published scores need the
    extra `clinical` and their weights.

    Args:
        pool_split: the split whose reports are retrieved; None = the image's own, with its own report among them, as the
            paper does it. A training split makes it retrieval of what is known, as at a workstation.
        scores: of `PUBLISHED_SCORES`, computed besides.
        uncertain: what an uncertain finding counts as: "ones", as published F1 of reports takes it, or "zeros".
        expand_abbreviations: write abbreviations out before the rule labeler reads, which knows few of them; ambiguous
            ones stay. Published scores get the reports as they are.
        splits, score_split, bootstrap, seed, confidence: see `ImageTextRetrievalEvaluator`.

    Raises:
        ConfigError: options that cannot be right, or a score whose package is missing.
    """

    kind = "reports"
    asks = DualEncoder

    def __init__(
        self,
        pool_split: str | None = None,
        scores: Sequence[str] = (),
        uncertain: str = "ones",
        expand_abbreviations: bool = True,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        if uncertain not in UNCERTAIN:
            raise ConfigError(
                f"evaluation uncertain is {uncertain!r}{did_you_mean(uncertain, UNCERTAIN)}; expected ones or zeros"
            )
        for name in scores:
            check_published(name, "scores", "the rule labeler's F1 alone (scores: [])")
        TextOptions.checked(splits, score_split, None, bootstrap, seed, confidence)
        self.options = ReportOptions(score_split, uncertain, bootstrap, seed, confidence)
        self.asking, self.pool_split, self.scores = tuple(splits), pool_split, tuple(scores)
        self.expand_abbreviations = expand_abbreviations
        self.splits = tuple(dict.fromkeys([*splits, *([pool_split] if pool_split else [])]))

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are scored; DataError for a table without reports."""
        return paired_rows(table, self.splits)

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Vectors of a batch's images and reports, and the reports themselves, which go no further than `collect`."""
        rows = embedded_pairs(batch, output, network, table, {}, 0)
        return rows.assign(report=[passage.body for passage in passages_of(batch)])

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Let every image find a report among those of all processes, and label both."""
        rows = joined_pairs(parts, table)
        groups = {str(name): Pairs.of(group) for name, group in rows.groupby("split", sort=False)}
        found = [self._found(groups[name], groups[self.pool_split or name]) for name in self.asking if name in groups]
        return predictions_of(pd.concat(found, ignore_index=True), self.kind, OBSERVATIONS, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `report_metrics`, JSON-able."""
        return report_metrics(predictions, self.options)

    def _found(self, asking: Pairs, pool: Pairs) -> pd.DataFrame:
        top = nearest(asking.images, pool.report_pool(), 1)
        own = asking.frame["report"].to_numpy()
        others = pool.frame["report"].to_numpy()[pool.first[top.places[:, 0]]]
        about = {name: asking.frame[name] for name in IMAGE_COLUMNS}
        scores = {f"score/{name}": published(name, list(own), list(others)) for name in self.scores}
        expand = self.expand_abbreviations
        return pd.DataFrame({
            **about, "text": asking.frame["said"], "found": pool.report_names()[top.places[:, 0]], "near": top.near[:, 0],
            "pool": float(len(pool.first)), **_labelled("target", own, expand), **_labelled("found", others, expand), **scores,
        })  # fmt: skip


def _labelled(side: str, texts: np.ndarray, expand: bool) -> dict[str, np.ndarray]:
    """What the rule labeler reads in texts (n,): `<side>/<observation>`, each text read once."""
    labeler = Labeler("chexpert")
    codes, different = pd.factorize(texts)
    read = [apply_edits(text, expansions(text)).text if expand else text for text in different]
    values = pd.DataFrame([labeler.label(text) for text in read])[list(OBSERVATIONS)].to_numpy(dtype=np.float32)
    return {f"{side}/{name}": values[codes, place] for place, name in enumerate(OBSERVATIONS)}
