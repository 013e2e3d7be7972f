"""What does a batch for self-training hold: which images with labels, which without?"""

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from cxrvl.config.numbers import number, whole
from cxrvl.data.modules.base import Batch
from cxrvl.data.modules.correction import CorrectionOrder
from cxrvl.data.modules.image import ImageDataModule, StoreRows
from cxrvl.data.modules.interleaving import InterleavedOrder, TwoStreams
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.random import Draw
from cxrvl.data.resplit import UNLABELLED_FOLD
from cxrvl.data.same_pixels import same_pixels
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import to_float
from cxrvl.data.transforms.corruptions import RandomCorruption
from cxrvl.data.transforms.pipeline import FULL_SCALE
from cxrvl.errors import ConfigError, DataError

LABELLED, UNLABELLED = "labelled", "unlabelled"
_PSEUDO_LABELS_OF = ("all", "stated")
WITHHELD = "withheld"
"""Targets of unlabelled images, where the source has them: to watch pseudo-labels with, never to learn from."""


class Clock(NamedTuple):
    """What a training's schedules count: stream is labelled | unlabelled, steps are its optimiser steps per epoch."""

    stream: str
    steps: int


class Shown(NamedTuple):
    """How often a training shows labels: images in all, counted every time, and those of one pass over the labels.

    corrections: labelled passes of their own; 0 where both streams share the steps.
    """

    images: int
    one_pass: int
    corrections: int = 0


class StreamRows(Dataset):
    """A step's rows as sub-batches, rows of an evaluation as one batch.

    known: (N, L) bool, which labels the data set of each study-table row states; None = of no interest.
    """

    def __init__(self, stored: StoreRows, known: np.ndarray | None = None) -> None:
        self.stored, self.known = stored, known

    def __len__(self) -> int:
        return len(self.stored)

    def __getitems__(self, rows: TwoStreams | BatchRows) -> Batch:
        """Read the sub-batches of one training step, or one batch of an evaluation."""
        if not isinstance(rows, TwoStreams):
            batch = self.stored.__getitems__(rows)
            return batch if rows.epoch is None else {LABELLED: batch}
        step: Batch = {}
        if rows.labelled is not None:
            step[LABELLED] = self.stored.__getitems__(rows.labelled)
        if rows.unlabelled is not None:
            seen = self.stored.__getitems__(rows.unlabelled)
            step[UNLABELLED] = {WITHHELD if name == "target" else name: value for name, value in seen.items()}
            if self.known is not None:
                step[UNLABELLED]["known"] = torch.from_numpy(self.known[seen["index"].numpy()])
        return step


class SelfTrainingDataModule(ImageDataModule):
    """A labelled and an unlabelled stream of radiographs, for DISTL (Park et al., Nature Communications 2022).

    Labelled are the images of the split `train`, unlabelled those of `unlabelled`: `label_fraction` and
    `unlabelled_folds`, a split file with the columns labelled and fold, or the source's own split say which those are.

    Training batches: `labelled` (`image`, `target`, `index`, `fov`; absent in a step without a labelled part) and
    `unlabelled` (`image`, `index`, `fov`, and `withheld`, the targets nobody may learn from; absent in generation 0 and
    in corrections; with `pseudo_labels_of=stated` also `known`, (B, L) bool, which labels its data set states), each as
    in `ClassificationDataModule`, but with the images as they are stored, (B, 1, S, S) uint8 or uint16: views are drawn
    from them by the task. Evaluation batches are those of `ClassificationDataModule`.

    Args:
        batch_size: global batch of unlabelled images; of labelled ones in generation 0.
        labelled_batch_size: global batch of a labelled part.
        ratio: labelled parts per step, in (0, 1]; 0.45 = nine in twenty steps. See `InterleavedOrder`.
        correction_every: instead of a ratio (ratio=None): a whole labelled pass after every so many unlabelled steps, as
            released; see `CorrectionOrder`.
        reshuffle_corrections: another order in every such pass.
        generation: None = all unlabelled images; 0 = labelled ones alone; T = the unlabelled folds 0 to T - 1 together.
        labels_of_folds: in generation 0, reveal the labels of so many unlabelled folds too: the supervised comparator of
            that generation, on the same images.
        unlabelled_corruption: spoils a share of the unlabelled images, for studies of robustness: the same images in the
            same way in every epoch and for every training seed, drawn by `split_seed`.
        pseudo_labels_of: which labels an unlabelled image gets pseudo-labels of: all, or in a mixture only those that its
            data set states of any image; a set that states none gets all. It is what the set is about, never what it says
            of an image, that is used.
        options: those of `ImageDataModule` and `CXRDataModule`; `transforms` has `evaluate` alone; the weights of a
            mixture are those of the unlabelled stream.
    """

    PIPELINES: ClassVar[tuple[str, ...]] = ("evaluate",)

    def __init__(
        self,
        *,
        labelled_batch_size: int,
        ratio: float | None = 1.0,
        correction_every: int | None = None,
        reshuffle_corrections: bool = True,
        generation: int | None = None,
        labels_of_folds: int = 0,
        unlabelled_corruption: RandomCorruption | None = None,
        pseudo_labels_of: str = "all",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        whole("data.labelled_batch_size", labelled_batch_size, least=1)
        whole("data.labels_of_folds", labels_of_folds)
        if ratio is not None:
            number("data.ratio", ratio)
        for name, given in (("correction_every", correction_every), ("generation", generation)):
            if given is not None:
                whole(f"data.{name}", given)
        if pseudo_labels_of not in _PSEUDO_LABELS_OF:
            raise ConfigError(
                f"data.pseudo_labels_of is {pseudo_labels_of!r}; expected {' or '.join(_PSEUDO_LABELS_OF)}"
            )
        if (ratio is None) == (correction_every is None):
            raise ConfigError(
                f"data.ratio={ratio} with data.correction_every={correction_every}: labelled and unlabelled images either "
                "share the steps (a ratio) or take turns (a period, with data.ratio=null); give one of them"
            )
        if labels_of_folds and generation != 0:
            raise ConfigError(
                f"data.labels_of_folds={labels_of_folds} reveals labels, which is for training on labels alone; "
                f"set data.generation=0, it is {generation}"
            )
        self.unlabelled_corruption, self.pseudo_labels_of = unlabelled_corruption, pseudo_labels_of
        self.labelled_batch_size, self.ratio, self.generation = labelled_batch_size, ratio, generation
        self.correction_every, self.reshuffle_corrections = correction_every, reshuffle_corrections
        self.labels_of_folds = self.selection["labels_of_folds"] = labels_of_folds

    def setup(self, stage: str) -> None:
        """Refuse to train on labels that the labelled images do not teach, and on folds that are not there.

        Raises:
            DataError: a label without a positive or without a negative labelled image, no unlabelled image, or a
                labelled or unlabelled one that is a test image under another name.
            ConfigError: a generation that the folds do not have.
        """
        if stage == "fit":
            self.table.check_trainable()
            self.unlabelled()
            self.labelled()
            self._refuse_test_images()
            if self.correction_every is not None and self.trainer is not None:
                # Epochs differ in length, and Lightning asks for it only when it makes a loader.
                self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]

    def prepare_data(self) -> None:
        """Refuse labels that cannot be learnt before decoding images, which may take hours; see `setup`."""
        if self.fitting:
            self._whole_table().check_trainable()
        super().prepare_data()

    def _refuse_test_images(self) -> None:
        """Refuse training images that have a test image's pixels; that no patient is in two parts is checked before."""
        split = self.table.frame["split"]
        pool, test = np.flatnonzero(split.isin(["train", UNLABELLED])), np.flatnonzero(split == "test")
        stored = self.store.rows(self.table)
        pairs = same_pixels(self.store, stored[pool], stored[test])
        if pairs:
            key = self.table.frame["image"]
            one, other = key.iloc[pool[pairs[0][0]]], key.iloc[test[pairs[0][1]]]
            found_in_pool = {place for place, _ in pairs}
            bare = sum(split.iloc[pool[place]] == UNLABELLED for place in found_in_pool)
            kinds = ((len(found_in_pool) - bare, LABELLED), (bare, UNLABELLED))
            found = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
            raise DataError(
                f"{found} image(s) of {self.table.split_name!r} have the very pixels of a test image, first "
                f"{one} those of {other}: the test would be on images that were learnt from. `cxrvl data duplicates` lists "
                "them; put both into one part (data.split_file), or leave one out"
            )

    def labelled(self) -> np.ndarray:
        """Return the study-table rows whose labels are learnt from, (n,) int64."""
        rows = self.rows("train")
        if not self.labels_of_folds:
            return rows
        revealed = self.split_rows(UNLABELLED)
        revealed = revealed[self._folds("labels_of_folds", self.labels_of_folds)[revealed] < self.labels_of_folds]
        return np.sort(np.concatenate([rows, revealed]))

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
            rows = rows[self._folds("generation", self.generation)[rows] < self.generation]
        return rows[: self.overfit_batches * self.batch_size] if self.overfit_batches else rows

    def _folds(self, option: str, count: int) -> np.ndarray:
        """Unlabelled fold of every row, (N,) int64, -1 for other rows; `count` of them are asked for."""
        if UNLABELLED_FOLD not in self.table.frame:
            raise ConfigError(
                f"data.{option}={count} needs unlabelled folds; set data.unlabelled_folds, or give a split file "
                "with the columns labelled and fold"
            )
        folds = self.table.frame[UNLABELLED_FOLD].to_numpy(dtype=np.int64)
        there = max(int(folds.max()) + 1, self.selection["unlabelled_folds"] or 0)
        if not 0 <= count <= there:
            raise ConfigError(f"data.{option} is {count}; expected 0 to {there}: there are {there} folds")
        empty = sorted(set(range(count)) - set(folds.tolist()))
        if empty:
            raise DataError(
                f"unlabelled fold {empty[0]} of {self.table.split_name!r} holds no image, so generation {empty[0] + 1} would "
                "repeat the one before; lower data.unlabelled_folds, or give more unlabelled patients"
            )
        return folds

    def order(self) -> TrainOrder:
        """Return this device's order of both streams; of the labelled one alone in generation 0."""
        if self.generation == 0:
            rows = self.labelled()
            return TrainOrder(rows, self.batch_size, self.seed, shares=self.shares(rows), **self._cut())
        rows = self.unlabelled()
        options = {"labelled_batch_size": self.labelled_batch_size, "shares": self.shares(rows), **self._cut()}
        if self.correction_every is None:
            return InterleavedOrder(
                self.labelled(), rows, self.batch_size, self.seed, ratio=float(self.ratio or 0), **options
            )
        order = CorrectionOrder(
            self.labelled(), rows, self.batch_size, self.seed, every=self.correction_every,
            reshuffle=self.reshuffle_corrections, **options,
        )  # fmt: skip
        order.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        return order

    def clock(self) -> Clock:
        """Return what schedules count: unlabelled steps, or the labelled ones of generation 0."""
        order = self.order()
        batches = order.unlabelled_batches if isinstance(order, CorrectionOrder) else len(order)
        return Clock(LABELLED if self.generation == 0 else UNLABELLED, -(-batches // order.accumulate))

    def shown(self, epochs: int) -> Shown:
        """Return how often a training of so many epochs shows labels."""
        order = self.order()
        steps = self.clock().steps * epochs
        if isinstance(order, CorrectionOrder):
            batches = len(order.labelled) // order.accumulate
            one_pass = min(batches * self.labelled_batch_size, order.labelled.samples)
            corrections = -(-steps // order.every)
            return Shown(corrections * one_pass, one_pass, corrections)
        if isinstance(order, InterleavedOrder):
            return Shown(order.labelled_parts(steps) * self.labelled_batch_size, len(order.labelled))
        one_pass = min(steps // max(epochs, 1) * self.batch_size, order.samples)
        return Shown(epochs * one_pass, one_pass)

    def images_per_device(self) -> dict[str, int]:
        """Return how many images of each stream a device sees at once, by the key of its batch size."""
        _, world = self._place()
        parts = world * (self.trainer.accumulate_grad_batches if self.trainer else 1)
        labelled = {} if self.generation == 0 else {"data.labelled_batch_size": self.labelled_batch_size // parts}
        return {"data.batch_size": self.batch_size // parts} | labelled

    @property
    def streams(self) -> list[tuple[str, ...]]:
        """The kinds of training steps there are, each by the streams it holds."""
        if self.generation == 0:
            return [(LABELLED,)]
        if self.correction_every is not None:
            return [(UNLABELLED,), (LABELLED,)]
        return [(LABELLED, UNLABELLED)] if self.ratio == 1 else [(UNLABELLED,), (LABELLED, UNLABELLED)]

    def extra(self, index: np.ndarray, epoch: int | None = None) -> Batch:
        """Return the targets of study-table rows."""
        return {"target": self.target(index)}

    def dataset(self) -> StreamRows:  # type: ignore[override]
        """Return the stored images, readable by the rows of a step or of an evaluation."""
        return StreamRows(super().dataset(), self.stated() if self.pseudo_labels_of == "stated" else None)

    def stated(self) -> np.ndarray:
        """Return which labels the data set of each study-table row states of any image, (N, L) bool; see the class."""
        given, names = ~np.isnan(self.table.targets()), self.table.frame["dataset"].to_numpy(dtype=object)
        known = np.ones(given.shape, dtype=bool)
        for name in dict.fromkeys(names):
            rows = names == name
            if given[rows].any():
                known[rows] = given[rows].any(axis=0)
        return known

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
