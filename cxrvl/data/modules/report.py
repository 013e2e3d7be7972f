"""What does a batch of reports hold?"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from cxrvl.data.modules.base import Batch, CXRDataModule
from cxrvl.data.modules.buckets import BucketedOrder
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.modules.texts import TextOptions, TextRows, checked_empty
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import LENGTHS
from cxrvl.data.selection import select
from cxrvl.data.sources.base import ReportSource, Source, report_table
from cxrvl.errors import ConfigError


class ReportRows(Dataset):
    """Rows of a report table as whole batches."""

    def __init__(self, texts: TextRows, targets: np.ndarray, styled: bool) -> None:
        self.texts, self.targets, self.styled = texts, targets, styled

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, rows: BatchRows) -> Batch:
        """Read one batch of report-table rows."""
        index = np.asarray(rows, dtype=np.int64)
        batch = self.texts.batch(index, rows.epoch if self.styled else None)
        if rows.epoch is None:
            batch["sections"] = [self.texts.texts.sections[row] for row in index]
        numbers = {"target": self.targets[index], "index": index, "study": index.copy()}
        return batch | {name: torch.from_numpy(values) for name, values in numbers.items()}


class ReportDataModule(CXRDataModule[ReportTable]):
    """Reports without images: cleaned, by section policy, in a style that changes with every epoch.

    Batches: `text` list of B str; `instruction`, `body` (B, 2) int64 and `parts` (B, 7, 2) int64, where in the text
    they lie (see `cxrvl.data.modules.texts.text_batch`); outside of training `sections`, a list of B mappings, the
    cleaned sections that the policy may take; `target` (B, L) float32 (1 positive, 0 negative, -1 uncertain,
    NaN not stated); `index` and `study` (B,) int64, both the row of the report table.

    Args:
        source: any with a report table of its own, or with text in its study table.
        batch_size: global training batch.
        text: data set, or `default` -> {policy, instruction, cleaning, style, variants}, see `cxrvl.data.reports.texts.Reading`.
        empty: error | skip: refuse, or count and leave out, reports without anything that the policy asks for.
        bucket_batches: how many batches are drawn together to sort their texts by length; 1 = none.
        length_in: words | characters, which length that is.
        options: those of `CXRDataModule`.
    """

    def __init__(
        self,
        source: Source | ReportSource,
        batch_size: int,
        text: TextOptions | None = None,
        empty: str = "error",
        bucket_batches: int = 50,
        length_in: str = "words",
        **options: Any,
    ) -> None:
        super().__init__(source, batch_size, **options)
        if length_in not in LENGTHS:
            raise ConfigError(f"data.length_in is {length_in!r}; expected {' or '.join(LENGTHS)}")
        self.text, self.empty = text, checked_empty(empty)
        self.bucket_batches, self.length_in = bucket_batches, length_in

    def read_table(self) -> ReportTable:
        """Read the report table and select what the config asks for."""
        return select(report_table(self.source), **self.selection)

    @cached_property
    def texts(self) -> TextRows:
        """The texts of the table, cleaned at first use."""
        return TextRows(self.table, self.text, self.empty, self.seed)

    def prepare_data(self) -> None:
        """Refuse empty reports before a model is loaded for them."""
        if self.fitting:
            self.rows("train")

    def split_rows(self, split: str) -> np.ndarray:
        """Return the report-table rows of a split that have a text, (n,) int64; DataError for empty ones, see `empty`."""
        rows = super().split_rows(split)
        return self.texts.with_text(rows, rows, split)

    def order(self) -> TrainOrder:
        """Return this device's order of the training reports."""
        rows = self.rows("train")
        return BucketedOrder(
            rows, self.batch_size, self.seed, shares=self.shares(rows), lengths=self.texts.texts.lengths(self.length_in),
            bucket_batches=self.bucket_batches, **self._cut(),
        )  # fmt: skip

    def dataset(self) -> ReportRows:
        """Return the reports, readable by row of the report table."""
        return ReportRows(self.texts, self.table.targets(), styled=not self.overfit_batches)
