"""How is PadChest read? One table of images with lists of findings and Spanish reports; 16-bit PNG, no published split.

160,868 radiographs of 67,625 patients from Alicante; 27 % of the reports were labelled by physicians, the rest by a
network trained on these (Bustos et al., Medical Image Analysis 2020).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.checks import OLDEST, check_columns, listing
from cxrvl.data.read_options import Intensity
from cxrvl.data.sources.assembly import BY_PATIENT, recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.choices import keep_files, keep_views, packed_name, pick_labels
from cxrvl.data.sources.padchest_terms import TERM_MAP, TermMap, label_terms
from cxrvl.data.sources.split_option import SplitOption, split_rows
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

FILE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
COLUMNS = ("ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "MethodLabel", "Labels", "Report")
VIEWS = {"AP_horizontal": "AP"}
"""Projection -> view; PA, AP, L, COSTAL and EXCLUDE are kept as they are."""
PROJECTIONS = ("PA", "AP", "AP_horizontal", "L", "COSTAL", "EXCLUDE", "UNK")
SEX = {"M": "M", "F": "F", "O": "", "None": "", "nan": ""}


class PadChest(FileSource):
    """PadChest in its own layout: the table and the image folders 0 to 54 below `root`.

    file: the table, plain or gzipped, below the root or absolute.
    image_dirs: "numbered" (<ImageDir>/<ImageID>) or the one folder that holds all images, "" for the root itself.
    image_suffix: ending of the files where they were re-encoded, such as ".jpg".
    split: the name of a split file, or a patient-level split {by: patient, fractions: {...}, seed: 0}; None =
        `assembly.BY_PATIENT`. There is no published one.
    label_map: written term -> label or labels of the joint vocabulary, null to leave one out; None = `TERM_MAP`.
    labels: some of the mapped labels, in output order; None = all.
    methods: keep the rows labelled so: "Physician", "RNN_model"; None = both. The column `method` keeps it.
    views: keep only these of "PA", "AP", "L", "COSTAL", "EXCLUDE"; the column `position` keeps what is written.
    reports: read the Spanish reports (stemmed and without accents, as released) into the section `report`.
    subset: keep the rows whose image is on disk, and note how many, instead of refusing absent files.
    check_files: look for every image file; without, the table is quick to read and has no fingerprint.
    intensity: the PNGs have 16 bits and use fewer, which "auto" sees, see `cxrvl.data.read_options.ReadOptions`.
    """

    def __init__(
        self,
        root: str | Path,
        file: str = FILE,
        image_dirs: str = "numbered",
        image_suffix: str | None = None,
        split: SplitOption | None = None,
        label_map: TermMap | None = None,
        labels: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
        reports: bool = True,
        subset: bool = False,
        check_files: bool = True,
        intensity: Intensity = "auto",
        name: str = "padchest",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, shareable=shareable)
        self.file = file
        self.image_dirs = image_dirs
        self.image_suffix = image_suffix
        self.split = split
        self.label_map = label_map
        self.labels = labels
        self.methods = methods
        self.views = views
        self.reports = reports
        self.subset = subset
        self.check_files = check_files

    def table(self) -> StudyTable:
        """Read the table and check it; DataError names the row at fault."""
        path = self._file(packed_name(self.root, self.file), "data.source.file")
        raw = read_table(path)
        check_columns(raw, COLUMNS, str(path))
        origin = str(path)
        values, notes = label_terms(raw["Labels"], TERM_MAP if self.label_map is None else self.label_map, origin)
        values = pick_labels(values, self.labels, self.name)
        labels = list(values.columns)
        rows, age_notes = self._rows(raw, path)
        frame = pd.concat([rows, values], axis=1)
        frame = keep_views(self._only_methods(frame, path), self.views, origin)
        frame, absent = keep_files(frame, self.root, origin, self.subset)
        split = split_rows(self, frame, labels, BY_PATIENT if self.split is None else self.split, origin)
        return StudyTable.build(
            frame.assign(dataset=self.name, split=split.split),
            labels,
            split_name=split.name,
            root=self.root,
            origin=origin,
            check_files=self.check_files,
            split_lists=split.lists,
            notes=(*(f"{path.name}: {note}" for note in (*notes, *age_notes)), *absent),
        )

    def _rows(self, raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The study table's columns out of the file's."""
        projection = raw["Projection"].fillna("").str.strip()
        unknown = np.flatnonzero(~projection.isin([*PROJECTIONS, ""]).to_numpy())
        if unknown.size:
            raise DataError(
                f"{path}, row {int(unknown[0]) + 1}, column 'Projection': found {projection.iloc[int(unknown[0])]!r}, "
                f"expected one of {', '.join(PROJECTIONS)} ({unknown.size} such rows)"
            )
        ages, notes = _ages(raw)
        parts: dict[str, Any] = {
            "image": self._keys(raw, path),
            "patient": raw["PatientID"].str.strip(),
            "study": raw["StudyID"].str.strip(),
            "view": projection.replace(VIEWS),
            "position": projection,
            "age": ages,
            "method": raw["MethodLabel"].fillna("").str.strip(),
        }
        if "PatientSex_DICOM" in raw:
            parts["sex"] = recode(raw["PatientSex_DICOM"], SEX, str(path))
        if self.reports:
            parts["report"] = raw["Report"].fillna("").str.strip().astype(object)
        return pd.DataFrame(parts, index=raw.index), notes

    def _keys(self, raw: pd.DataFrame, path: Path) -> pd.Series:
        keys = raw["ImageID"].fillna("").str.strip()
        odd = np.flatnonzero(~keys.str.fullmatch(r"[^/\\]+\.png").to_numpy(dtype=bool))
        if odd.size:
            row = int(odd[0])
            raise DataError(
                f"{path}, row {row + 1}, column 'ImageID': found {raw['ImageID'].iloc[row]!r}, expected the name of a PNG "
                f"file ({odd.size} such rows); use the released table"
            )
        if self.image_suffix is not None:
            keys = keys.str.removesuffix(".png") + self.image_suffix
        if self.image_dirs != "numbered":
            return keys if self.image_dirs in ("", ".") else f"{self.image_dirs.rstrip('/')}/" + keys
        folders = raw["ImageDir"].fillna("").str.strip().str.removesuffix(".0")
        odd = np.flatnonzero(~folders.str.fullmatch("[0-9]+").to_numpy(dtype=bool))
        if odd.size:
            row = int(odd[0])
            raise DataError(
                f"{path}, row {row + 1}, column 'ImageDir': found {raw['ImageDir'].iloc[row]!r}, expected a number "
                f"({odd.size} such rows); use the released table, or data.source.image_dirs for one folder of all images"
            )
        return folders + "/" + keys

    def _only_methods(self, frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        if self.methods is None:
            return frame
        there = sorted(frame["method"].unique())
        unknown = [name for name in self.methods if name not in there]
        if unknown or isinstance(self.methods, str):
            raise DataError(
                f"{path}, column 'MethodLabel': no row has {listing(unknown)}; found {listing(there, 10)}. "
                "Give methods as a list of these, or null for all"
            )
        return frame[frame["method"].isin(list(self.methods))].copy()


def _ages(raw: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """Years between birth and study (N,) float32; the table gives the year of birth only, so a year may be too much."""
    if "PatientBirth" not in raw or "StudyDate_DICOM" not in raw:
        return np.full(len(raw), np.nan, dtype=np.float32), ()
    birth = pd.to_numeric(raw["PatientBirth"], errors="coerce").to_numpy(dtype=np.float64)
    study = pd.to_numeric(raw["StudyDate_DICOM"].str[:4], errors="coerce").to_numpy(dtype=np.float64)
    ages = study - birth
    impossible = (ages < 0) | (ages > OLDEST)
    ages[impossible] = np.nan
    notes = (f"{int(impossible.sum())} ages below 0 or above {OLDEST:g} years are unknown",) if impossible.any() else ()
    return ages.astype(np.float32), notes
