"""How do rows of a study table become batches of pixels? Through one store and batched transforms."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from cxrvl.data.images import ImageStore, StoreSpec, prepare
from cxrvl.data.modules.base import Batch, CXRDataModule
from cxrvl.data.modules.loading import BatchRows
from cxrvl.data.random import Draw
from cxrvl.data.selection import select
from cxrvl.data.sources.base import Source
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import Pipeline, to_float
from cxrvl.errors import ConfigError

log = logging.getLogger(__name__)
Extra = Callable[[np.ndarray, int | None], Batch]


class StoreRows(Dataset):
    """Rows of the study table as whole batches read from the memory map at once.

    A batch: `image` (B, 1, S, S) uint8 or uint16, `index` (B,) int64 row of the study table,
    `fov` (B, 4) float32 the rectangle of the native image the pixels cover, and what `extra` adds for these rows in
    an epoch (None = evaluation).
    """

    def __init__(self, store: ImageStore, rows: np.ndarray, extra: Extra) -> None:
        self.store, self.rows, self.extra = store, rows, extra

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, rows: BatchRows) -> Batch:
        """Read one batch of study-table rows."""
        return self.read(np.asarray(rows, dtype=np.int64), rows.epoch)

    def read(self, index: np.ndarray, epoch: int | None) -> Batch:
        """Read study-table rows (B,) as they are in an epoch."""
        where = self.rows[index]
        batch: Batch = {
            "image": torch.from_numpy(self.store.take(where))[:, None],
            "index": torch.from_numpy(index),
            "fov": torch.from_numpy(self.store.fov[where]),
        }
        return batch | self.extra(index, epoch)


class ImageDataModule(CXRDataModule[StudyTable]):
    """Radiographs of a study table: decoded once into a store, transformed in batches on the batch's device.

    Args:
        source: where the study table and the pixels come from.
        store: size, resize policy and bits of the decoded images.
        store_root: folder of all stores.
        transforms: pipelines named `train` and `evaluate`; both must return squares of `input_size`.
        input_size: height and width of the model's input, in pixels.
        prepare_workers: processes that decode; None = one per core.
        max_unreadable: images that may turn out unreadable; they are left out and counted, never replaced.
        options: those of `CXRDataModule`.
    """

    PIPELINES: ClassVar[tuple[str, ...]] = ("train", "evaluate")
    """The pipelines that `transforms` names."""

    def __init__(
        self,
        source: Source,
        store: StoreSpec,
        store_root: str,
        transforms: Mapping[str, Pipeline],
        input_size: int,
        batch_size: int,
        prepare_workers: int | None = None,
        max_unreadable: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(source, batch_size, **options)
        self.source: Source = source
        if set(transforms) != set(self.PIPELINES):
            raise ConfigError(
                f"data.transforms has the keys {sorted(transforms)}; expected {' and '.join(self.PIPELINES)}"
            )
        if not all(callable(pipeline) for pipeline in transforms.values()):
            named = " and ".join(f"data.transforms.{name}" for name in self.PIPELINES)
            raise ConfigError(f"{named} are pipelines; one of them is not")
        self.spec, self.store_root = store, Path(store_root)
        self.transforms, self.input_size = transforms, input_size
        self.prepare_workers, self.max_unreadable = prepare_workers, max_unreadable
        self._readable = False
        self._store: ImageStore | None = None

    def read_table(self) -> StudyTable:
        """Read the study table and select what the config asks for."""
        return select(self.source.table(), **self.selection)

    @property
    def table(self) -> StudyTable:
        """The study table, read and checked at first use, without the unreadable images that were allowed for."""
        if self.max_unreadable and not self._readable:
            self._leave_out_unreadable()
        return self._whole_table()

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

    @property
    def store(self) -> ImageStore:
        """The decoded images, made at first use."""
        if self._store is None:
            self._store = prepare(
                self.source, self._whole_table(), self.spec, self.store_root,
                workers=self.prepare_workers, max_unreadable=self.max_unreadable,
            )  # fmt: skip
        return self._store

    def check_before_decoding(self) -> None:
        """Refuse rows that are of no use, before hours go into their pixels; of images alone there are none."""

    def check_decoded(self) -> None:
        """Refuse what only pixels show, such as the same pair in two splits; of images alone nothing."""

    def prepare_data(self) -> None:
        """Decode what is not decoded yet, once per node."""
        self.store  # noqa: B018

    @cached_property
    def _targets(self) -> np.ndarray:
        return self.table.targets()

    def target(self, index: np.ndarray) -> torch.Tensor:
        """Label values (B, L) float32 of study-table rows (B,)."""
        return torch.from_numpy(self._targets[index])

    def extra(self, index: np.ndarray, epoch: int | None = None) -> Batch:
        """Return what a batch holds besides pixels, for study-table rows `index` (B,) in an epoch; None = evaluation."""
        return {}

    @property
    def fixed_images(self) -> bool:
        """Whether an image looks the same in every epoch of training: nothing in its transforms is left to chance."""
        try:
            self.transforms["train"](torch.zeros(1, 1, self.spec.size, self.spec.size), None)
        except ConfigError:  # a step that draws refuses to be called without a draw
            return False
        return True

    def dataset(self) -> StoreRows:
        """Return the stored images, readable by study-table row."""
        return StoreRows(self.store, self.store.rows(self.table), self.extra)

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
