"""How does a table of reports without images become a data set? By a mapping of its columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.sources.base import FileSource, known_options
from cxrvl.data.sources.columns import label_values, values
from cxrvl.data.sources.split_option import RowSplit, SplitOption, split_rows
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import DataError

COLUMNS = ("study", "patient", "split", *SECTIONS)


class ReportFile(FileSource):
    """Reports in one CSV or Parquet file, one row per study.

    Args:
        root: folder of the file; file: relative to it or absolute; name: the column `dataset`.
        columns: what stands where: {study: accession, patient: mrn, report: text}, `study`, `patient` and at least one of
            the report sections. A value is a column name, a template or a pattern, as in `Manifest`.
        labels: label -> column and values, as in `Manifest`; none by default, which linear probes alone need.
        split: None = the mapped column `split`; the name of a split file (`patient,split`); or a new one, {by: patient,
            fractions: {train: .8, val: .1, test: .1}, seed: 0}.
        shareable: see `Source`.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        file: str,
        columns: Mapping[str, Any],
        labels: Mapping[str, Any] | None = None,
        split: SplitOption | None = None,
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        self.file, self.columns, self.labels, self.split = file, columns, labels or {}, split

    def reports(self) -> ReportTable:
        """Read, translate and check the table; DataError names the file, the row and the remedy."""
        path = self._file(self.file, "data.source.file")
        raw, origin = read_table(path), str(path)
        known_options(self.columns, COLUMNS, f"{self.name}: columns")
        absent = [name for name in ("study", "patient") if name not in self.columns]
        if absent or not any(name in self.columns for name in SECTIONS):
            what = absent[0] if absent else "report"
            raise DataError(
                f"{self.name}: columns does not say what the {what} is; add {what}: <column> "
                f"(columns of {origin}: {listing(list(raw.columns), 40)})"
            )
        parts = {
            name: values(raw, spec, origin, None)
            for name, spec in self.columns.items()
            if name != "split" or self.split is None
        }
        for label, spec in self.labels.items():
            parts[label] = label_values(raw, spec, None, origin)
        frame = pd.DataFrame(parts, index=raw.index).assign(dataset=self.name)
        split = self._splits(frame, origin)
        return ReportTable.build(
            frame.assign(split=split.split), tuple(self.labels), split_name=split.name, origin=origin,
            split_lists=split.lists,
        )  # fmt: skip

    def _splits(self, frame: pd.DataFrame, origin: str) -> RowSplit:
        if self.split is not None:
            return split_rows(self, frame, tuple(self.labels), self.split, origin)
        if "split" not in frame:
            raise DataError(
                f"{self.name}: no split; map columns.split, name a split file, or ask for a new one "
                "(split: {by: patient, fractions: {train: 0.8, val: 0.1, test: 0.1}, seed: 0})"
            )
        return RowSplit(frame["split"].to_numpy(dtype=object), f"{self.name}: column {self.columns['split']}", "")
