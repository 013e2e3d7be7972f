"""How do a source, a store, a split and transforms become batches?"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from cxrvl.data.images import ImageStore, StoreSpec, prepare
from cxrvl.data.modules.loading import ResumableLoader, TrainOrder
from cxrvl.data.random import Draw
from cxrvl.data.selection import select
from cxrvl.data.sources.base import Source
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import Pipeline, to_float
from cxrvl.errors import ConfigError

Batch = dict[str, Any]


class StoreRows(Dataset):
    """Rows of the study table as whole batches read from the memory map at once.

    A batch: `image` (B, 1, S, S) uint8 or uint16, `index` (B,) int64 row of the study table,
    `fov` (B, 4) float32 the rectangle of the native image the pixels cover, and what `extra` adds.
    """

    def __init__(self, store: ImageStore, rows: np.ndarray, extra: Callable[[np.ndarray], Batch]) -> None:
        self.store, self.rows, self.extra = store, rows, extra

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Read one batch of study-table rows."""
        index = np.asarray(indices, dtype=np.int64)
        where = self.rows[index]
        batch: Batch = {
            "image": torch.from_numpy(self.store.pixels[where])[:, None],
            "index": torch.from_numpy(index),
            "fov": torch.from_numpy(self.store.fov[where]),
        }
        return batch | self.extra(index)


def as_is(batch: Batch) -> Batch:
    """Collate nothing: `StoreRows` already returns whole batches."""
    return batch


class CXRDataModule(pl.LightningDataModule):
    """Base of all data modules: the study table, the image store, ordered and resumable loaders, batched transforms.

    Args:
        source: where the study table and the pixels come from.
        store: size, resize policy and bits of the decoded images.
        store_root: folder of all stores.
        batch_size: global training batch, over all devices and accumulated parts.
        transforms: pipelines named `train` and `evaluate`; both must return squares of `input_size`.
        input_size: height and width of the model's input, in pixels.
        seed: of the order and the augmentation.
        labels: labels to use, in order; None = all of the source.
        limit: images per split, for debugging.
        overfit_batches: train and validate on the first so many batches without augmentation, for debugging.
        drop_last: leave the last, incomplete training batch out; evaluation never does.
    """

    def __init__(
        self,
        source: Source,
        store: StoreSpec,
        store_root: str,
        transforms: dict[str, Pipeline],
        input_size: int,
        batch_size: int,
        seed: int = 0,
        labels: Sequence[str] | None = None,
        limit: int | None = None,
        overfit_batches: int | None = None,
        drop_last: bool = True,
        evaluation_batch_size: int = 64,
        num_workers: int = 0,
        prepare_workers: int | None = None,
        max_unreadable: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.source, self.spec, self.store_root = source, store, Path(store_root)
        self.transforms, self.input_size, self.seed = transforms, input_size, seed
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.labels, self.limit = labels, limit
        self.overfit_batches, self.drop_last = overfit_batches, drop_last
        self.num_workers, self.prepare_workers = num_workers, prepare_workers
        self.max_unreadable, self.pin_memory = max_unreadable, pin_memory
        self.predict_splits: tuple[str, ...] = ("test",)
        self._table: StudyTable | None = None
        self._store: ImageStore | None = None

    @property
    def table(self) -> StudyTable:
        """The study table, read and checked at first use."""
        if self._table is None:
            self._table = select(self.source.table(), labels=self.labels, limit=self.limit)
        return self._table

    def use_table(self, table: StudyTable) -> None:
        """Take a study table that was already read from this module's source."""
        self._table = table

    @property
    def store(self) -> ImageStore:
        """The decoded images, made at first use."""
        if self._store is None:
            self._store = prepare(
                self.source, self.table, self.spec, self.store_root,
                workers=self.prepare_workers, max_unreadable=self.max_unreadable,
            )  # fmt: skip
        return self._store

    def prepare_data(self) -> None:
        """Decode what is not decoded yet, once per node."""
        self.store  # noqa: B018

    def extra(self, index: np.ndarray) -> Batch:
        """Return what a batch holds besides pixels, for study-table rows `index`; subclasses add targets."""
        return {}

    def rows(self, split: str) -> np.ndarray:
        """Return the study-table rows of a split (n,) int64."""
        rows = self.table.split(split)
        if self.overfit_batches and split in ("train", "val"):
            return self.table.split("train")[: self.overfit_batches * self.batch_size]
        return rows

    def _dataset(self) -> StoreRows:
        return StoreRows(self.store, self.store.rows(self.table), self.extra)

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": as_is,
            "num_workers": self.num_workers,
            "pin_memory": self.pin_memory,
            "persistent_workers": self.num_workers > 0,
        }

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, resumable batches of this device's share."""
        rank, world = self._place()
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else 1
        order = TrainOrder(
            self.rows("train"), self.batch_size, self.seed,
            rank=rank, world=world, accumulate=accumulate, drop_last=self.drop_last,
        )  # fmt: skip
        return ResumableLoader(self._dataset(), order, **self._loader_options())

    def split_dataloader(self, split: str) -> DataLoader:
        """Return every image of a split exactly once over all devices, in order."""
        rank, world = self._place()
        mine = self.rows(split)[rank::world]
        batches = [mine[i : i + self.evaluation_batch_size].tolist()
                   for i in range(0, len(mine), self.evaluation_batch_size)]  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        return DataLoader(self._dataset(), batch_sampler=batches, generator=generator, **self._loader_options())

    def predict_dataloader(self) -> list[DataLoader]:
        """Return the splits an evaluator asked for through `predict_splits`, one loader each."""
        return [self.split_dataloader(split) for split in self.predict_splits]

    def val_dataloader(self) -> DataLoader:
        """Return the validation split."""
        return self.split_dataloader("val")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn stored pixels into the model's input on the batch's device: augmented while training."""
        training = bool(self.trainer and self.trainer.training) and not self.overfit_batches
        return self.transform(batch, epoch=self.trainer.current_epoch if training and self.trainer else None)

    def transform(self, batch: Batch, epoch: int | None = None) -> Batch:
        """Apply the training transforms of an epoch, or the evaluation transforms when `epoch` is None."""
        images = to_float(batch["image"])
        if epoch is not None:
            changed = {"image": self.transforms["train"](images, Draw(self.seed, epoch, batch["index"]))}
        else:
            pipeline = self.transforms["evaluate"]
            changed = {"image": pipeline(images, None), "fov": pipeline.fov(batch["fov"])}
        if changed["image"].shape[-2:] != (self.input_size, self.input_size):
            raise ConfigError(
                f"data.transforms return {tuple(changed['image'].shape[-2:])} px, but data.input_size is {self.input_size}; "
                "set the transforms' size to ${data.input_size}"
            )
        return batch | changed
