"""Does a vision transformer look where the finding is? One row per image, label with a box, and attention head."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.data.boxes import seen
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.attention import checked_maps, coverage, entropy
from cxrvl.evaluation.attention_metrics import AttentionOptions, attention_metrics
from cxrvl.evaluation.collection import collect, image_columns
from cxrvl.evaluation.predictions import Predictions, to_numpy
from cxrvl.evaluation.probing import Batch, Network

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class AttentionEvaluator:
    """Predictions of kind "attention": what the CLS token of the last block gives to the boxes of a label, per head.

    `in_box` is the share of the attention to patches that falls into the label's boxes, `chance` the boxes' share of
    the image (what attention spread evenly would give), `entropy` that of the head's map as a share of the uniform one.
    Images without a box of any of the labels are not scored.

    Args:
        splits: splits to score.
        score_split: where all metrics are computed.
        network: which network of the task: "model", or the teacher of a self-training task by its attribute.
        groups: name -> labels whose mean is reported apart.
        bootstrap, seed, confidence: of the bootstrap over patients.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "attention"

    def __init__(
        self,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        network: str = "model",
        groups: Mapping[str, Sequence[str]] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.splits, self.network = tuple(str(name) for name in splits), network
        if score_split not in self.splits:
            raise ConfigError(
                f"evaluation score_split is {score_split!r}, which is not among its splits {list(self.splits)}"
            )
        if bootstrap < 1 or not 0 < confidence < 1:
            raise ConfigError(f"evaluation bootstrap={bootstrap}, confidence={confidence}; expected at least 1 replicate, "
                              "and a confidence between 0 and 1")  # fmt: skip
        grouped = {k: tuple(v) for k, v in (groups or {}).items()}
        self.options = AttentionOptions(score_split, grouped, bootstrap, seed, confidence)

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the study-table rows (n,) int64 with a box of a label; DataError where a split has none."""
        chosen = []
        for split in self.splits:
            rows = table.split(split)
            boxes, labels = table.frame["boxes"].iloc[rows], set(table.labels)
            having = rows[np.array([any(box[0] in labels for box in here) for here in boxes], dtype=bool)]
            if not len(having):
                raise DataError(f"no image of split {split!r} of {table.split_name!r} has a box of {', '.join(table.labels)}: "
                                "leave the attention evaluation out")  # fmt: skip
            chosen.append(having)
        return np.concatenate(chosen)

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Rows of the images of a batch that have boxes.

        Args:
            batch: `image` (B, 1, H, W) float32 in [0, 1], `index` (B,) rows of the study table, `fov` (B, 4) what of the
                native image is seen.

        Raises:
            RunError: the task has no such network, or it is no vision transformer.
        """
        from cxrvl.models.cls_attention import cls_attention, transformer_of

        index, fov = batch["index"].cpu().numpy(), to_numpy(batch["fov"])
        boxes = [self._boxes(table, row, fov[number]) for number, row in enumerate(index)]
        having = [number for number, found in enumerate(boxes) if found]
        if not having:
            return pd.DataFrame()
        try:
            encoder = transformer_of(network.task.get_submodule(self.network))
        except AttributeError as error:
            raise RunError(f"the attention evaluation asks for the network {self.network!r}: {error}") from error
        if encoder is None:
            raise RunError(
                f"the attention evaluation needs a vision transformer, and {self.network!r} has none; leave it out"
            )
        with network.precision():
            attention = cls_attention(encoder, batch["image"][having])
        maps = checked_maps(to_numpy(attention), "CLS attention")
        parts = [_rows(maps[place], boxes[number], index[number], table) for place, number in enumerate(having)]
        return pd.concat(parts, ignore_index=True)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes; see `cxrvl.evaluation.collection.collect`."""
        return collect(self.kind, parts, table, self.splits, partial=partial, rows=self.scored(table))

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `attention_metrics`, JSON-able."""
        return attention_metrics(predictions, self.options)

    def _boxes(
        self, table: "StudyTable", row: int, fov: np.ndarray
    ) -> dict[str, list[tuple[float, float, float, float]]]:
        """Boxes of each label of one image, where the network's input shows them."""
        found: dict[str, list[tuple[float, float, float, float]]] = {}
        for label, *corners in table.frame["boxes"].iloc[row]:
            if label in table.labels:
                found.setdefault(label, []).append(seen(tuple(corners), fov))  # type: ignore[arg-type]
        return found


def _rows(
    maps: np.ndarray, boxes: Mapping[str, Sequence[tuple[float, float, float, float]]], row: int, table: "StudyTable"
) -> pd.DataFrame:
    """One row per label and head of an image; maps: (heads, h, w)."""
    heads, height, width = maps.shape
    about = {name: values[0] for name, values in image_columns(table.frame.iloc[[row]]).items()}
    parts = []
    for label, corners in boxes.items():
        covered = coverage(corners, height, width)
        values = {"head": np.arange(heads), "in_box": (maps * covered).sum(axis=(1, 2)), "chance": covered.mean()}
        parts.append(pd.DataFrame({**about, "label": label, **values, "entropy": entropy(maps[None])[0]}))
    return pd.concat(parts, ignore_index=True)
