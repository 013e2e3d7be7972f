"""Can the findings of a radiograph be read off the image tower by a linear classifier, of all training images or few?"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.collection import image_columns
from cxrvl.evaluation.dual.encoder import DualEncoder, image_embeddings, image_features
from cxrvl.evaluation.dual.pairs import joined_pairs, predictions_of
from cxrvl.evaluation.findings_metrics import FindingsOptions, findings_metrics
from cxrvl.evaluation.linear_probe import LinearProbe
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

VECTORS = {"features": image_features, "embedding": image_embeddings}


class ImageProbeEvaluator:
    """Linear probe of the table's labels on the frozen image tower: predictions of kind "findings", see `LinearProbe`.

    Args:
        vectors: features, the tower's before the projection, or embedding, those in the common space.
        train_images: of the training split at most so many, those whose names hash lowest; None = all.
        shots: of those, only so many positives and negatives of each label (few-shot); None = all.
        penalties: L2 weights to choose from.
        train_split, threshold_split, score_split: where the probe is fitted, where penalty and thresholds are chosen,
            where it is scored. The rest: see `FindingsEvaluator`.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "findings"
    asks = DualEncoder

    def __init__(
        self,
        vectors: str = "features",
        train_images: int | None = None,
        shots: int | None = None,
        penalties: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
        train_split: str = "train",
        threshold_split: str = "val",
        score_split: str = "test",
        probe_seed: int = 0,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        if vectors not in VECTORS or (train_images is not None and train_images < 2):
            raise ConfigError(
                f"evaluation vectors is {vectors!r}{did_you_mean(vectors, VECTORS)}, train_images={train_images}; expected "
                "features or embedding, and at least 2 images or null"
            )
        self.linear = LinearProbe.checked(
            (train_split, threshold_split, score_split), penalties, shots, probe_seed, bootstrap
        )
        self.splits, self.vectors, self.train_images = self.linear.splits, vectors, train_images
        self.options = FindingsOptions(
            threshold_split, score_split, bootstrap=bootstrap, seed=seed, confidence=confidence
        )

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are read; DataError where it has no labels."""
        if not table.labels:
            raise DataError(f"{table.split_name!r} has no labels to probe; leave the evaluation out")
        train, *rest = (table.split(name) for name in self.splits)
        if self.train_images is not None and len(train) > self.train_images:
            names = (table.frame["dataset"] + "/" + table.frame["image"]).iloc[train]
            order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in names], kind="stable")
            train = np.sort(train[order[: self.train_images]])
        return np.concatenate([train, *rest])

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Vectors and labels of a batch's images."""
        frame = table.frame.iloc[np.asarray(batch["index"].cpu(), dtype=np.int64)]
        targets = {f"target/{label}": frame[label].to_numpy(dtype=np.float32) for label in table.labels}
        return pd.DataFrame({**image_columns(frame), **targets, "vector": list(VECTORS[self.vectors](output))})

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Fit the probes on the training images of all processes, and score the others."""
        rows = self.linear.scored(joined_pairs(parts, table), table.labels, "images")
        return predictions_of(rows, self.kind, table.labels, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return findings_metrics(predictions, self.options)
