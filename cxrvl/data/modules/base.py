"""How do a source, a split and an order become batches that a killed run finds its place in again?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from cxrvl.data.modules.loading import ResumableLoader, TrainOrder, WholeSplit
from cxrvl.data.modules.shares import Shares
from cxrvl.data.rows import LabelledRows
from cxrvl.data.sources.base import ReportSource, Source
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.spoil import Noise
from cxrvl.data.worker_signals import obey_parent_only
from cxrvl.errors import ConfigError, DataError

Batch = dict[str, Any]
Table = TypeVar("Table", bound=LabelledRows)


def as_is(batch: Batch) -> Batch:
    """Collate nothing: the data sets here already return whole batches."""
    return batch


class CXRDataModule(pl.LightningDataModule, Generic[Table]):
    """Base of all data modules: a table of rows, its splits, ordered and resumable loaders.

    A subclass reads its table (`read_table`) and says what a batch of its rows holds (`dataset`). Where the source is a
    mixture with weights, an epoch holds the stated share of each of its sources.

    Args:
        source: where the table and what its rows name come from.
        batch_size: global training batch, over all devices and accumulated parts.
        seed: of the order and of all chance in the data.
        root: folder of the data set, which the source's own root refers to; None for generated images.
        labels: labels to use, in order; None = all of the source.
        limit: rows per split, for debugging.
        split_file, fold, folds, label_fraction, unlabelled_folds, split_seed: another split than the source's own, see
            `cxrvl.data.resplit.resplit`.
        label_noise, unseen: for studies of robustness, see `cxrvl.data.spoil`: a share of the training labels turned
            over, and findings that unlabelled images alone show.
        overfit_batches: train and validate on the first so many batches without augmentation, for debugging.
        drop_last: leave the last, incomplete training batch out; evaluation never does.
    """

    def __init__(
        self,
        source: Source | ReportSource,
        batch_size: int,
        seed: int = 0,
        root: str | None = None,
        labels: Sequence[str] | None = None,
        limit: int | None = None,
        overfit_batches: int | None = None,
        drop_last: bool = True,
        evaluation_batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
        split_file: str | None = None,
        fold: int | None = None,
        folds: int | None = None,
        label_fraction: float | None = None,
        unlabelled_folds: int | None = None,
        split_seed: int = 0,
        label_noise: Noise | None = None,
        unseen: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if evaluation_batch_size < 1 or num_workers < 0:
            raise ConfigError(f"data.evaluation_batch_size={evaluation_batch_size}, data.num_workers={num_workers}; "
                              "expected at least 1 row and no negative number of processes")  # fmt: skip
        if root is not None and not Path(root).expanduser().is_dir():
            raise DataError(f"data.root={root} is no folder; set data.root (or paths.data) to where the data set lies")
        self.source, self.seed = source, seed
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.selection: dict[str, Any] = {
            "labels": labels, "limit": limit, "split_file": split_file, "fold": fold, "folds": folds,
            "label_fraction": label_fraction, "unlabelled_folds": unlabelled_folds, "split_seed": split_seed,
            "label_noise": label_noise, "unseen": unseen,
        }  # fmt: skip
        self.overfit_batches, self.drop_last = overfit_batches, drop_last
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.predict_splits: tuple[str, ...] = ("test",)
        self.predict_rows: np.ndarray | None = None
        self._table: Table | None = None
        self._train_loader: ResumableLoader | None = None
        self._place_in_epoch: dict[str, Any] | None = None

    # What a subclass writes.

    def read_table(self) -> Table:
        """Read the table and select what the config asks for."""
        raise NotImplementedError

    def dataset(self) -> Dataset:
        """Return what turns the rows a sampler hands out into a batch."""
        raise NotImplementedError

    def train_dataset(self) -> Dataset:
        """Return the same for training, where its batches hold something else."""
        return self.dataset()

    # What all share.

    @property
    def table(self) -> Table:
        """The table, read and checked at first use."""
        return self._whole_table()

    def _whole_table(self) -> Table:
        if self._table is None:
            self._table = self.read_table()
        return self._table

    def use_table(self, table: Table) -> None:
        """Take a table that was already read from this module's source."""
        self._table = table

    @property
    def fitting(self) -> bool:
        """Whether a trainer is about to train, not only to validate or predict."""
        return bool(self.trainer and self.trainer.state.fn == TrainerFn.FITTING)

    def rows(self, split: str) -> np.ndarray:
        """Return the table rows that are read for a split, (n,) int64."""
        if self.overfit_batches and split in ("train", "val"):
            return self.split_rows("train")[: self.overfit_batches * self.batch_size]
        return self.split_rows(split)

    def split_rows(self, split: str) -> np.ndarray:
        """Return the table rows of a split that can be read, (n,) int64."""
        return self.table.split(split)

    def shares(self, rows: np.ndarray) -> Shares | None:
        """Return how often each source of a weighted mixture comes up among training rows (n,); None without weights."""
        if not isinstance(self.source, Mixture) or self.source.weights is None or self.overfit_batches:
            return None
        datasets = self.table.frame["dataset"].to_numpy(dtype=object)[rows]
        return Shares.of(rows, datasets, self.source.weights, self.source.epoch_length, self.seed)

    def order(self) -> TrainOrder:
        """Return this device's order of the training rows."""
        rows = self.rows("train")
        return TrainOrder(rows, self.batch_size, self.seed, shares=self.shares(rows), **self._cut())

    def _cut(self) -> dict[str, Any]:
        """Which part of a global batch this device reads at a time."""
        rank, world = self._place()
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else 1
        return {"rank": rank, "world": world, "accumulate": accumulate, "drop_last": self.drop_last}

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": as_is,
            "num_workers": self.num_workers,
            "pin_memory": self.pin_memory,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": obey_parent_only,
        }

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, resumable batches of this device's share."""
        self._train_loader = ResumableLoader(self.train_dataset(), self.order(), **self._loader_options())
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
        """Return every row of some splits, once over all devices but for the last batch; see `WholeSplit`."""
        return self._whole(np.concatenate([self.rows(split) for split in splits]))

    def _whole(self, rows: np.ndarray) -> DataLoader:
        rank, world = self._place()
        batches = WholeSplit(rows, self.evaluation_batch_size, rank, world)
        generator = torch.Generator().manual_seed(0)
        return DataLoader(self.dataset(), batch_sampler=batches, generator=generator, **self._loader_options())

    def predict_dataloader(self) -> DataLoader:
        """Return the splits an evaluator asked for through `predict_splits`, of them `predict_rows` alone where it chose."""
        if self.predict_rows is None:
            return self.split_dataloader(*self.predict_splits)
        rows = np.concatenate([self.rows(split) for split in self.predict_splits])
        return self._whole(rows[np.isin(rows, self.predict_rows)])

    def val_dataloader(self) -> DataLoader:
        """Return the validation split."""
        return self.split_dataloader("val")
