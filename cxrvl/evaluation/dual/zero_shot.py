"""Does an image lie nearer to sentences that state a finding, or to those that deny it? Labels without any training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.data.reports.policy import BETWEEN
from cxrvl.errors import DataError
from cxrvl.evaluation.classification import FindingsEvaluator
from cxrvl.evaluation.collection import image_columns, merge
from cxrvl.evaluation.dual.encoder import DualEncoder, Passage, dual, image_embeddings, text_embeddings
from cxrvl.evaluation.dual.pairs import predictions_of
from cxrvl.evaluation.dual.prompts import SIDES, PromptSet
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import Vectors

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class ZeroShotEvaluator:
    """Zero-shot classification by pairs of prompts: predictions of kind "findings", as a classifier's.

    The logit of a label is what the model multiplies similarities by, times the mean similarity to the sentences that
    state the finding less that to the sentences that deny it; its logistic function is the softmax over the two
    (Tiu et al. 2022, CheXzero, with sentences ensembled by their mean similarity).

    Args:
        prompts: a prompt set, see `PromptSet`.
        instruction: before every sentence, as the reports of training had one; attended to, not pooled.
        subsets, groups and all others: see `FindingsEvaluator`. Images without any report are scored as well.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "findings"
    asks = DualEncoder

    def __init__(
        self,
        prompts: Mapping[str, Any],
        instruction: str = "",
        splits: Sequence[str] = ("val", "test"),
        threshold_split: str = "val",
        score_split: str = "test",
        uncertain: str = "ignore",
        groups: Mapping[str, Sequence[str]] | None = None,
        threshold_rule: str = "youden",
        threshold_target: float | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
        bins: int = 15,
        operating_points: Mapping[str, Mapping[str, Any]] | None = None,
        subsets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.prompts = PromptSet(prompts)
        self.instruction = instruction.strip()
        self._findings = FindingsEvaluator(
            splits, threshold_split, score_split, uncertain, groups, threshold_rule, threshold_target, bootstrap, seed,
            confidence, bins, operating_points, subsets,
        )  # fmt: skip
        self.splits = self._findings.splits
        self._embedded: tuple[Any, dict[str, Vectors]] | None = None

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are scored.

        Raises:
            ConfigError: a prompt names an unknown label.
            DataError: the data has no label that a prompt stands for.
        """
        if not self.prompts.sentences(table.labels):
            raise DataError(f"{table.split_name!r} has no label that the prompts stand for; leave the evaluation out")
        return np.concatenate([table.split(name) for name in self.splits])

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Keys, targets and logits of a batch, one row per image."""
        frame = table.frame.iloc[np.asarray(batch["index"].cpu(), dtype=np.int64)]
        images, scale = image_embeddings(output), dual(network).similarity_scale
        columns: dict[str, Any] = image_columns(frame)
        directions = self._directions(network, table)
        columns |= {f"target/{label}": frame[label].to_numpy(dtype=np.float32) for label in directions}
        columns |= {f"logit/{label}": scale * (images @ direction) for label, direction in directions.items()}
        return pd.DataFrame(columns)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes, each image once."""
        sentences = self.prompts.sentences(table.labels)
        return predictions_of(merge(self.kind, parts), self.kind, tuple(sentences), table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return self._findings.metrics(predictions)

    def _directions(self, network: Network, table: "StudyTable") -> dict[str, Vectors]:
        """Mean embedding of a label's sentences, those that state it less those that deny it; computed once per model."""
        if self._embedded is None or self._embedded[0] is not network.task:
            sentences = self.prompts.sentences(table.labels)
            flat = [text for sides in sentences.values() for side in SIDES for text in sides[side]]
            head = f"{self.instruction}{BETWEEN}" if self.instruction else ""
            found = dict(zip(flat, text_embeddings(network, [_prompt(head, text) for text in flat]), strict=True))
            means = {
                label: {side: np.mean([found[text] for text in texts], axis=0) for side, texts in sides.items()}
                for label, sides in sentences.items()
            }
            self._embedded = network.task, {label: one["present"] - one["absent"] for label, one in means.items()}
        return self._embedded[1]


def _prompt(head: str, text: str) -> Passage:
    return Passage(head + text, len(head), len(head) + len(text))
