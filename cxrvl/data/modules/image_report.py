"""What does a batch of image-text pairs hold, and which images of a study come with its report?"""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrvl.data.modules.base import Batch
from cxrvl.data.modules.curriculum import LateOrder, checked_policy, impression_alone, left_out
from cxrvl.data.modules.image import ImageDataModule, StoreRows
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.modules.texts import TextOptions, TextRows, checked_empty
from cxrvl.data.reports.style import style_generator
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.same_pixels import same_pixels
from cxrvl.errors import ConfigError, DataError

PAIRINGS = ("all", "one_per_study", "frontal_first", "random_view")
_FRONTAL = r"(?i)(?:PA|AP)(?![a-z])|.*frontal"


class PairRows(StoreRows):
    """Images with their reports; `views` says which image stands for a row in an epoch."""

    def __init__(self, module: "ImageReportDataModule") -> None:
        super().__init__(module.store, module.store.rows(module.table), module.extra)
        self.views = module.views

    def __getitems__(self, rows: BatchRows) -> Batch:
        """Read one batch of pairs."""
        return self.read(self.views(np.asarray(rows, dtype=np.int64), rows.epoch), rows.epoch)


class ImageReportDataModule(ImageDataModule):
    """Pairs of a radiograph and its report.

    Batches: those of `ClassificationDataModule` (`image`, `target`, `index`, `fov`); of the texts, `text`,
    `instruction`, `body`, `parts` (see `cxrvl.data.modules.texts.text_batch`); and `study` (B,) int64, the row of the
    study's report in `reports`: images of one study have the same.

    Args:
        source: images with text in the study table.
        text, empty: see `ReportDataModule`; all images of a study have the same text in an epoch.
        pairing: which images of a study are paired with its report.
            all: every image is a pair. one_per_study: the first image of the table alone.
            frontal_first: the first frontal one (view PA or AP), or else the first.
            random_view: in training another one per epoch, drawn; in evaluation as frontal_first.
        impression_only: what becomes of training reports with an impression and no findings, which say little and are
            noisy (papers/llm2clip4cxr.md, 3.2). keep; leave_out; late: they come in over the first `late_epochs`.
        late_epochs: until all of them take part.
        least_words: reports of fewer words say nothing that an image could be found by; `empty` decides about them.
        options: those of `ImageDataModule` and `CXRDataModule`.
    """

    def __init__(
        self,
        *,
        text: TextOptions | None = None,
        empty: str = "error",
        pairing: str = "all",
        impression_only: str = "keep",
        late_epochs: int = 0,
        least_words: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if pairing not in PAIRINGS:
            raise ConfigError(f"data.pairing is {pairing!r}; expected one of {', '.join(PAIRINGS)}")
        self.text, self.empty, self.pairing = text, checked_empty(empty), pairing
        self.impression_only, self.late_epochs = checked_policy(impression_only, late_epochs), late_epochs
        self.least_words = least_words

    @cached_property
    def reports(self) -> ReportTable:
        """The reports of the table's studies, one row each."""
        return self.table.reports()

    @cached_property
    def texts(self) -> TextRows:
        """The texts of `reports`, cleaned at first use."""
        return TextRows(self.reports, self.text, self.empty, self.seed, self.least_words)

    @property
    def text_versions(self) -> int | None:
        """How many different texts a report has in training at most; None = a new one in every epoch."""
        versions = [reading.versions for reading in self.texts.texts.readings]
        return None if None in versions else max((number for number in versions if number), default=1)

    @cached_property
    def report_rows(self) -> np.ndarray:
        """Row of `reports` for each row of the study table, (N,) int64."""
        known = pd.MultiIndex.from_frame(self.reports.frame[["dataset", "study"]])
        return known.get_indexer(pd.MultiIndex.from_frame(self.table.frame[["dataset", "study"]])).astype(np.int64)

    @cached_property
    def _first(self) -> np.ndarray:
        """The image that stands for each study, (reports,) int64 rows of the study table."""
        behind = np.zeros(len(self.table), dtype=bool)
        if self.pairing in ("frontal_first", "random_view"):
            behind = ~self.table.frame["view"].str.match(_FRONTAL).to_numpy(dtype=bool)
        order = np.lexsort((np.arange(len(behind)), behind, self.report_rows))
        _, begin = np.unique(self.report_rows[order], return_index=True)
        return order[begin].astype(np.int64)

    @cached_property
    def _images(self) -> list[np.ndarray]:
        """The images of each study, rows of the study table in order."""
        order = np.argsort(self.report_rows, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.report_rows))[:-1])

    def views(self, rows: np.ndarray, epoch: int | None) -> np.ndarray:
        """Return the images (B,) that stand for study-table rows (B,) in an epoch; None = evaluation."""
        if self.pairing != "random_view" or epoch is None or self.overfit_batches:
            return rows
        chosen = []
        for report in self.report_rows[rows]:
            images = self._images[report]
            draw = style_generator(self.seed, epoch, self.texts.texts.keys[report], "view")
            chosen.append(images[int(draw.integers(len(images)))])
        return np.array(chosen, dtype=np.int64)

    def check_before_decoding(self) -> None:
        """Refuse reports without text in any split there is; DataError naming the first ones."""
        for split in ("train", "val", "test"):
            if (self.table.frame["split"] == split).any():
                self.split_rows(split)

    def prepare_data(self) -> None:
        """Refuse empty reports before decoding images, which may take hours."""
        if self.fitting and not self.max_unreadable:  # which images can be read decides the table
            self.rows("train")
        super().prepare_data()

    def setup(self, stage: str) -> None:
        """Refuse pairs that are in the training and in another split, too; DataError naming the first of them."""
        if stage == "fit" and not self.overfit_batches:
            self.check_decoded()

    def check_decoded(self) -> None:
        """Refuse pairs that are in the training and in another split, too, whichever view training may show.

        Raises:
            DataError: the first of them.
        """
        there = [split for split in ("train", "val", "test") if (self.table.frame["split"] == split).any()]
        if "train" not in there:
            return
        keys, stored = self.table.frame["image"], self.store.rows(self.table)
        train = self.split_rows("train")
        if self.pairing == "random_view":
            train = np.flatnonzero(np.isin(self.report_rows, self.report_rows[train]))
        for split in there[1:]:
            others = self.split_rows(split)
            pairs = [
                (train[one], others[other])
                for one, other in same_pixels(self.store, stored[train], stored[others])
                if self._plain(train[one]) == self._plain(others[other])
            ]
            if pairs:
                count = len({row for row, _ in pairs})
                raise DataError(
                    f"{count} pair(s) of {self.table.split_name!r} are in the splits train and {split} alike, image and "
                    f"report: {keys.iloc[pairs[0][0]]} is {keys.iloc[pairs[0][1]]}. Put both into one split "
                    "(data.split_file), or leave one out; `cxrvl data duplicates` lists them"
                )

    def _plain(self, row: int) -> str:
        """The report of a study-table row, in no style."""
        joined = self.texts.texts.compose(int(self.report_rows[row]))
        return joined.text[joined.body.start : joined.body.end]

    def split_rows(self, split: str) -> np.ndarray:
        """Return the study-table rows of a split that stand for a pair, (n,) int64; DataError for reports without text."""
        rows = super().split_rows(split)
        if self.pairing != "all":
            rows = rows[np.isin(rows, self._first)]
        rows = self.texts.with_text(rows, self.report_rows[rows], split)
        return left_out(self.impression_only, self._impression_alone[rows], rows) if split == "train" else rows

    @cached_property
    def _impression_alone(self) -> np.ndarray:
        """Which rows of the study table have a report of an impression alone, (N,) bool."""
        if self.impression_only == "keep":
            return np.zeros(len(self.table), dtype=bool)
        return impression_alone(self.reports)[self.report_rows]

    def order(self) -> TrainOrder:
        """Return this device's order of the training pairs."""
        if self.impression_only != "late" or self.overfit_batches:
            return super().order()
        rows = self.rows("train")
        return LateOrder(
            rows, self.batch_size, self.seed, shares=self.shares(rows), late=self._impression_alone,
            epochs=self.late_epochs, **self._cut(),
        )  # fmt: skip

    def extra(self, index: np.ndarray, epoch: int | None = None) -> Batch:
        """Return targets and texts of study-table rows."""
        report = self.report_rows[index]
        texts = self.texts.batch(report, None if self.overfit_batches else epoch)
        return {"target": self.target(index), "study": torch.from_numpy(report), **texts}

    def dataset(self) -> PairRows:
        """Return the pairs, readable by study-table row."""
        return PairRows(self)
