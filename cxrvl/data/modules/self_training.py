"""What does a batch for self-training hold: which images with labels, which without?"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from cxrvl.data.modules.base import Batch
from cxrvl.data.modules.image import ImageDataModule, StoreRows
from cxrvl.data.modules.interleaving import InterleavedOrder, TwoStreams
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.random import Draw
from cxrvl.data.resplit import UNLABELLED_FOLD
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import to_float
from cxrvl.data.transforms.corruptions import RandomCorruption
from cxrvl.data.transforms.pipeline import FULL_SCALE
from cxrvl.errors import ConfigError, DataError

UNLABELLED = "unlabelled"
_HIDDEN = ("target",)


class StreamRows(Dataset):
    """A step's rows as sub-batches, rows of an evaluation as one batch."""

    def __init__(self, stored: StoreRows) -> None:
        self.stored = stored

    def __len__(self) -> int:
        return len(self.stored)

    def __getitems__(self, rows: TwoStreams | BatchRows) -> Batch:
        """Read the sub-batches of one training step, or one batch of an evaluation."""
        if isinstance(rows, TwoStreams):
            seen = self.stored.__getitems__(rows.unlabelled)
            batch: Batch = {UNLABELLED: {name: value for name, value in seen.items() if name not in _HIDDEN}}
            return batch if rows.labelled is None else {"labelled": self.stored.__getitems__(rows.labelled), **batch}
        batch = self.stored.__getitems__(rows)
        return batch if rows.epoch is None else {"labelled": batch}


class SelfTrainingDataModule(ImageDataModule):
    """A labelled and an unlabelled stream of radiographs, for DISTL (Park et al., Nature Communications 2022).

    Labelled are the images of the split `train`, unlabelled those of `unlabelled`: `label_fraction` and
    `unlabelled_folds`, a split file with the columns labelled and fold, or the source's own split say which those are.

    Training batches: `labelled` (`image`, `target`, `index`, `fov`; absent in a step without a labelled part) and
    `unlabelled` (`image`, `index`, `fov`; absent in generation 0), each as in `ClassificationDataModule`, but with the
    images as they are stored, (B, 1, S, S) uint8 or uint16: views are drawn from them by the task. Evaluation batches
    are those of `ClassificationDataModule`.

    Args:
        batch_size: global batch of unlabelled images; of labelled ones in generation 0.
        labelled_batch_size: global batch of a labelled part.
        ratio: labelled parts per step, in (0, 1]; 0.45 = nine in twenty steps.
        generation: None = all unlabelled images; 0 = labelled ones alone; T = the unlabelled folds 0 to T - 1 together.
        unlabelled_corruption: spoils a share of the unlabelled images, for studies of robustness: the same images in the
            same way in every epoch and for every training seed, drawn by `split_seed`.
        options: those of `ImageDataModule` and `CXRDataModule`; `transforms` has `evaluate` alone; the weights of a
            mixture are those of the unlabelled stream.
    """

    PIPELINES: ClassVar[tuple[str, ...]] = ("evaluate",)

    def __init__(
        self,
        *,
        labelled_batch_size: int,
        ratio: float = 1.0,
        generation: int | None = None,
        unlabelled_corruption: RandomCorruption | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.unlabelled_corruption = unlabelled_corruption
        self.labelled_batch_size, self.ratio, self.generation = labelled_batch_size, ratio, generation

    def setup(self, stage: str) -> None:
        """Refuse to train on labels that the labelled images do not teach, and on folds that are not there.

        Raises:
            DataError: a label without a positive or without a negative labelled image, or no unlabelled image.
            ConfigError: a generation that the folds do not have.
        """
        if stage == "fit":
            self.table.check_trainable()
            self.unlabelled()

    def prepare_data(self) -> None:
        """Refuse labels that cannot be learnt before decoding images, which may take hours; see `setup`."""
        if self.fitting:
            self._whole_table().check_trainable()
        super().prepare_data()

    def unlabelled(self) -> np.ndarray:
        """Return the study-table rows of this generation's unlabelled images, (n,) int64; none in generation 0."""
        if self.generation == 0:
            return np.empty(0, dtype=np.int64)
        if not (self.table.frame["split"] == UNLABELLED).any():
            raise DataError(
                f"no image of {self.table.split_name!r} is unlabelled; set data.label_fraction (and data.unlabelled_folds), "
                "give data.split_file with a column `labelled`, or train on labels alone with data.generation=0"
            )
        rows = self.rows(UNLABELLED)
        if self.generation is not None:
            rows = rows[self._folds()[rows] < self.generation]
        return rows[: self.overfit_batches * self.batch_size] if self.overfit_batches else rows

    def _folds(self) -> np.ndarray:
        """Unlabelled fold of every row, (N,) int64, -1 for other rows."""
        if UNLABELLED_FOLD not in self.table.frame:
            raise ConfigError(
                f"data.generation={self.generation} needs unlabelled folds; set data.unlabelled_folds, or give a split file "
                "with the columns labelled and fold"
            )
        folds = self.table.frame[UNLABELLED_FOLD].to_numpy(dtype=np.int64)
        if not 0 <= int(self.generation or 0) <= folds.max() + 1:
            raise ConfigError(
                f"data.generation is {self.generation}; expected 0 to {folds.max() + 1}: there are {folds.max() + 1} folds"
            )
        return folds

    def order(self) -> TrainOrder:
        """Return this device's order of both streams; of the labelled one alone in generation 0."""
        if self.generation == 0:
            return super().order()
        rows = self.unlabelled()
        return InterleavedOrder(
            self.rows("train"), rows, self.batch_size, self.seed, shares=self.shares(rows),
            labelled_batch_size=self.labelled_batch_size, ratio=self.ratio, **self._cut(),
        )  # fmt: skip

    def extra(self, index: np.ndarray, epoch: int | None = None) -> Batch:
        """Return the targets of study-table rows."""
        return {"target": self.target(index)}

    def dataset(self) -> StreamRows:  # type: ignore[override]
        """Return the stored images, readable by the rows of a step or of an evaluation."""
        return StreamRows(super().dataset())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Leave training images as they are stored; turn those of an evaluation into the model's input."""
        if "image" in batch:
            return self.transform(batch)
        if self.unlabelled_corruption is None or UNLABELLED not in batch:
            return batch
        unlabelled = batch[UNLABELLED]
        return batch | {UNLABELLED: unlabelled | {"image": self._spoiled(unlabelled["image"], unlabelled["index"])}}

    def _spoiled(self, pixels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Corrupt stored images (B, 1, S, S) of study-table rows (B,); those that are not chosen stay to the last bit."""
        assert self.unlabelled_corruption is not None
        draw = Draw(self.selection["split_seed"], 0, index)
        changed = self.unlabelled_corruption(to_float(pixels), draw)
        return (changed * FULL_SCALE[pixels.dtype]).round().to(pixels.dtype)

    def read_table(self) -> StudyTable:
        """Read the study table and select what the config asks for; its notes tell of corrupted images."""
        return self._noted(super().read_table())

    def use_table(self, table: StudyTable) -> None:
        """Take a table that was already read from this module's source."""
        super().use_table(self._noted(table))

    def _noted(self, table: StudyTable) -> StudyTable:
        if self.unlabelled_corruption is None:
            return table
        note = f"unlabelled images corrupted: {self.unlabelled_corruption.told()} (seed {self.selection['split_seed']})"
        return replace(table, notes=(*table.notes, note))
