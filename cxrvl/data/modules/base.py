"""How do a source, a store, a split and transforms become batches?"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from cxrvl.data.images import ImageStore, StoreSpec, prepare
from cxrvl.data.modules.loading import ResumableLoader, TrainOrder, WholeSplit
from cxrvl.data.random import Draw
from cxrvl.data.selection import select
from cxrvl.data.sources.base import Source
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import Pipeline, to_float
from cxrvl.data.worker_signals import obey_parent_only
from cxrvl.errors import ConfigError, DataError

Batch = dict[str, Any]
log = logging.getLogger(__name__)


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
            "image": torch.from_numpy(self.store.take(where))[:, None],
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
        root: folder of the data set, which the source's own root refers to; None for generated images.
        labels: labels to use, in order; None = all of the source.
        limit: images per split, for debugging.
        overfit_batches: train and validate on the first so many batches without augmentation, for debugging.
        max_unreadable: images that may turn out unreadable; they are left out and counted, never replaced.
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
        root: str | None = None,
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
        if set(transforms) != {"train", "evaluate"}:
            raise ConfigError(f"data.transforms has the keys {sorted(transforms)}; expected train and evaluate")
        if not all(callable(pipeline) for pipeline in transforms.values()):
            raise ConfigError("data.transforms.train and data.transforms.evaluate are pipelines; one of them is not")
        if evaluation_batch_size < 1 or num_workers < 0:
            raise ConfigError(f"data.evaluation_batch_size={evaluation_batch_size}, data.num_workers={num_workers}; "
                              "expected at least 1 image and no negative number of processes")  # fmt: skip
        if root is not None and not Path(root).expanduser().is_dir():
            raise DataError(f"data.root={root} is no folder; set data.root (or paths.data) to where the data set lies")
        self.source, self.spec, self.store_root = source, store, Path(store_root)
        self.transforms, self.input_size, self.seed = transforms, input_size, seed
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.labels, self.limit = labels, limit
        self.overfit_batches, self.drop_last = overfit_batches, drop_last
        self.num_workers, self.prepare_workers = num_workers, prepare_workers
        self.max_unreadable, self.pin_memory = max_unreadable, pin_memory
        self.predict_splits: tuple[str, ...] = ("test",)
        self._table: StudyTable | None = None
        self._readable = False
        self._store: ImageStore | None = None
        self._train_loader: ResumableLoader | None = None
        self._place_in_epoch: dict[str, Any] | None = None

    @property
    def table(self) -> StudyTable:
        """The study table, read and checked at first use, without the unreadable images that were allowed for."""
        if self.max_unreadable and not self._readable:
            self._leave_out_unreadable()
        return self._whole_table()

    def _whole_table(self) -> StudyTable:
        if self._table is None:
            self._table = select(self.source.table(), labels=self.labels, limit=self.limit)
        return self._table

    def _leave_out_unreadable(self) -> None:
        """Take the quarantined images out of the table; how many is bounded by max_unreadable, and said."""
        table, self._readable = self._whole_table(), True
        available = self.store.available(table)
        if not available.all():
            note = f"{int((~available).sum())} unreadable image(s) left out, as data.max_unreadable allows"
            log.warning(note)
            self._table = replace(
                table, frame=table.frame[available].reset_index(drop=True), notes=(*table.notes, note)
            )

    def use_table(self, table: StudyTable) -> None:
        """Take a study table that was already read from this module's source."""
        self._table = table

    @property
    def store(self) -> ImageStore:
        """The decoded images, made at first use."""
        if self._store is None:
            self._store = prepare(
                self.source, self._whole_table(), self.spec, self.store_root,
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

    def dataset(self) -> StoreRows:
        """Return the stored images, readable by study-table row."""
        return StoreRows(self.store, self.store.rows(self.table), self.extra)

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": as_is,
            "num_workers": self.num_workers,
            "pin_memory": self.pin_memory,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": obey_parent_only,
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
        self._train_loader = ResumableLoader(self.dataset(), order, **self._loader_options())
        if self._place_in_epoch is not None:
            self._train_loader.load_state_dict(self._place_in_epoch)
            self._place_in_epoch = None
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Return the place inside the training epoch, which Lightning keeps in the resume point.

        Lightning restores loaders by itself only if nobody asked for the number of steps before; a schedule does.
        """
        return self._train_loader.state_dict() if self._train_loader is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue inside an epoch: the training loader starts there, whether or not a schedule has asked for it."""
        if self._train_loader is not None and state_dict:
            self._train_loader.load_state_dict(state_dict)
        else:
            self._place_in_epoch = state_dict or None

    def split_dataloader(self, *splits: str) -> DataLoader:
        """Return every image of some splits, once over all devices but for the last batch; see `WholeSplit`."""
        rank, world = self._place()
        rows = np.concatenate([self.rows(split) for split in splits])
        batches = WholeSplit(rows, self.evaluation_batch_size, rank, world)
        generator = torch.Generator().manual_seed(0)
        return DataLoader(self.dataset(), batch_sampler=batches, generator=generator, **self._loader_options())

    def predict_dataloader(self) -> DataLoader:
        """Return the splits an evaluator asked for through `predict_splits`."""
        return self.split_dataloader(*self.predict_splits)

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
