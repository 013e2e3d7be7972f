"""How does any other data set come in? A CSV or Parquet file of rows, and a YAML mapping that says what its columns mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.files import MISSING, file_sizes
from cxrvl.data.read_options import Intensity, Window
from cxrvl.data.sources.base import FileSource, known_options
from cxrvl.data.sources.columns import Spec, column, label_values, values
from cxrvl.data.sources.manifest_boxes import attach_boxes
from cxrvl.data.sources.split_option import RowSplit, split_rows
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import SECTIONS, StudyTable
from cxrvl.errors import DataError

COLUMNS = ("image", "patient", "study", "view", "sex", "age", "split", "width", "height", *SECTIONS)


class Manifest(FileSource):
    """Any data set with one table of rows.

    root: folder of the images; file: CSV or Parquet, relative to root or absolute; name: the column `dataset`.
    columns: what stands where, `image` and `patient` at least: {image: file, patient: patient_key, age: Age}. A value is
        a column name, a template "images/{image_id}.jpg", or {column: Path, pattern: '(patient\\d+)'}.
    labels: a list of columns, or label -> column or rule (see `columns.label_values`), in output order.
    label_values: written value -> 1, 0, -1 or null for all labels without a map of their own: {Positive: 1}.
    recode: written value -> value for other columns: {split: {valid: val}, sex: {f: F, m: M}}.
    where: keep only rows whose column has one of these values: {modality: [CR, DX]}.
    split: None = the mapped column `split`; the name of a split file (`image,split` or `patient,split`); or a new one,
        {by: patient, fractions: {train: .7, val: .1, test: .2}, seed: 0, stratify: false}; image keys are `image` above.
    boxes: see `manifest_boxes.attach_boxes`; None = no boxes.
    merge_rows: several rows per image (one per finding or reader): an image has a finding if any of its rows has it.
    subset: keep the rows whose image is on disk, and note how many, instead of refusing absent files.
    intensity, window: see `cxrvl.data.read_options.ReadOptions`; window: ignore where a data set's are wrong.
    shareable: see `cxrvl.data.sources.base.Source`.
    """

    def __init__(
        self,
        root: str | Path,
        file: str,
        name: str,
        columns: Mapping[str, Spec],
        labels: Sequence[str] | Mapping[str, Spec],
        label_values: Mapping[Any, float] | None = None,
        recode: Mapping[str, Mapping[str, str]] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
        split: str | Mapping[str, Any] | None = None,
        boxes: Mapping[str, Any] | None = None,
        merge_rows: bool = False,
        subset: bool = False,
        intensity: Intensity = "auto",
        window: Window = "file",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, window, shareable)
        self.file = file
        self.columns = columns
        self.labels = labels
        self.label_values = label_values
        self.recode = recode or {}
        self.where = where or {}
        self.split = split
        self.boxes = boxes
        self.merge_rows = merge_rows
        self.subset = subset

    def table(self) -> StudyTable:
        """Read, translate and check the table; DataError names the file, the row and the remedy."""
        path = self._file(self.file, "data.source.file")
        raw = self._filtered(read_table(path), str(path))
        frame, labels = self._translated(raw, str(path))
        notes: tuple[str, ...] = ()
        if self.merge_rows:
            frame = _merged(frame, labels, str(path))
        if self.subset:
            there = file_sizes(self.root, frame["image"].astype(str).tolist()) != MISSING
            notes = (f"subset: {int(there.sum())} of {len(frame)} images of {path.name} are on disk",)
            frame = frame[there].copy()
        if frame.empty:
            raise DataError(f"{path}: no row is left after `where` and `subset`; check data.root and the filters")
        split, split_name, split_lists = self._splits(frame, labels, str(path))
        frame["split"] = split
        if self.boxes is not None:
            box_path = self._file(str(self.boxes.get("file", self.file)), "data.source.boxes.file")
            boxes = attach_boxes(frame, labels, self.boxes, box_path, self.columns["image"], self.subset)
            frame["boxes"] = pd.Series(boxes, index=frame.index, dtype=object)
        return StudyTable.build(
            frame.assign(dataset=self.name),
            labels,
            split_name=split_name,
            root=self.root,
            origin=str(path),
            split_lists=split_lists,
            notes=notes,
        )

    def _filtered(self, raw: pd.DataFrame, origin: str) -> pd.DataFrame:
        for name, kept in self.where.items():
            wanted = [str(value) for value in kept]
            there = column(raw, name, origin)
            raw = raw[there.astype(str).isin(wanted).to_numpy()]
            if raw.empty:
                found = listing(sorted(there.dropna().astype(str).unique()), 20)
                raise DataError(f"{origin}: no row has {name} in {wanted}; values there: {found}")
        return raw

    def _translated(self, raw: pd.DataFrame, origin: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The study table's columns out of the file's; the index keeps the file's data rows."""
        known_options(self.columns, COLUMNS, f"{self.name}: columns")
        known_options(self.recode, COLUMNS, f"{self.name}: recode")
        absent = [name for name in ("image", "patient") if name not in self.columns]
        if absent:
            raise DataError(
                f"{self.name}: columns does not say what the {absent[0]} is; add {absent[0]}: <column> "
                f"(columns of {origin}: {listing(list(raw.columns), 40)})"
            )
        parts = {
            name: values(raw, spec, origin, self.recode.get(name))
            for name, spec in self.columns.items()
            if name != "split" or self.split is None
        }
        specs = self.labels if isinstance(self.labels, Mapping) else {name: name for name in self.labels}
        for label, spec in specs.items():
            parts[label] = label_values(raw, spec, self.label_values, origin)
        return pd.DataFrame(parts, index=raw.index), tuple(specs)

    def _splits(self, frame: pd.DataFrame, labels: Sequence[str], origin: str) -> RowSplit:
        if self.split is None:
            if "split" not in frame:
                raise DataError(
                    f"{self.name}: no split; map columns.split, name a split file, or ask for a new one "
                    "(split: {by: patient, fractions: {train: 0.7, val: 0.1, test: 0.2}, seed: 0})"
                )
            return RowSplit(frame["split"].to_numpy(dtype=object), f"{self.name}: column {self.columns['split']}", "")
        return split_rows(self, frame, labels, self.split, origin)


def _merged(frame: pd.DataFrame, labels: Sequence[str], origin: str) -> pd.DataFrame:
    """One row per image: labels by their largest value, everything else must agree; keeps the first row's number."""
    first = frame[~frame["image"].duplicated()].copy()
    position = pd.Index(first["image"]).get_indexer(pd.Index(frame["image"]))
    for name in frame.columns.difference([*labels, "image"]):
        same = frame[name].astype(str).to_numpy() == first[name].astype(str).to_numpy()[position]
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            raise DataError(
                f"{origin}, row {int(frame.index[row]) + 1}: image {frame['image'].iloc[row]!r} has {name} "
                f"{frame[name].iloc[row]!r} here and {first[name].iloc[position[row]]!r} before; rows of one image must agree"
            )
    grouped = frame[list(labels)].groupby(position).max()
    first[list(labels)] = grouped.loc[np.arange(len(first))].to_numpy(dtype=np.float32)
    return first
