"""How is MIMIC-CXR read? JPG or DICOM files, the official split, labels of CheXpert's or NegBio's rules, and its reports.

377,110 radiographs of 227,835 studies and 65,379 patients (Johnson et al., Scientific Data 2019). The tables belong to
MIMIC-CXR-JPG, the reports to MIMIC-CXR; both need PhysioNet's agreement.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrvl.data.read_options import Intensity, Window
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.chexpert import LABEL_MAP
from cxrvl.data.sources.choices import (
    Uncertain,
    keep_files,
    keep_views,
    packed_name,
    pick_labels,
    settle_uncertain,
)
from cxrvl.data.sources.mimic_cxr_reports import add_reports
from cxrvl.data.sources.mimic_cxr_tables import label_rows, metadata_rows, official_split
from cxrvl.data.sources.split_option import RowSplit, SplitOption, split_rows
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

IMAGES = 377_110
SUFFIXES = {"jpg": ".jpg", "dicom": ".dcm"}
TABLES = {
    "metadata": "mimic-cxr-2.0.0-metadata.csv",
    "split": "mimic-cxr-2.0.0-split.csv",
    "chexpert": "mimic-cxr-2.0.0-chexpert.csv",
    "negbio": "mimic-cxr-2.0.0-negbio.csv",
}
LABELS_VERSIONS = ("chexpert", "negbio")


class MimicCXR(FileSource):
    """MIMIC-CXR in its own layout: files/p10/p10000032/s50414267/<dicom_id> with the ending of `layout`, below `root`.

    layout: "jpg" (MIMIC-CXR-JPG) or "dicom" (MIMIC-CXR).
    tables: folder of the tables of MIMIC-CXR-JPG, plain or gzipped, below the root or absolute; None = the root.
    split: "official", the name of a split file, or a new patient-level split {by: patient, fractions: {...}, seed: 0}.
    labels_version: whose rules read the reports, "chexpert" or "negbio".
    label_map: written name -> name in the joint vocabulary, null to leave one out; None = `LABEL_MAP`.
    labels: some of the mapped labels, in output order; None = all.
    uncertain: how -1 is written: keep, positive, negative or missing, for all labels or by label {Edema: positive}.
    views: keep only these of "AP", "PA", "L" (lateral); the column `position` keeps what is written; None = all.
    reports: a folder of files/p10/p10000032/s50414267.txt, mimic-cxr-reports.zip (read in place), or a CSV of sections
        by study, below the root or absolute; None = no text. Studies without a report stay, and a note counts them.
    subset: keep the rows whose image is on disk, and note how many, instead of refusing absent files.
    check_files: look for every image file; without, the table is quick to read and has no fingerprint.
    """

    def __init__(
        self,
        root: str | Path,
        layout: str = "jpg",
        tables: str | None = None,
        split: SplitOption = "official",
        labels_version: str = "chexpert",
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        uncertain: Uncertain = "keep",
        views: Sequence[str] | None = None,
        reports: str | None = None,
        subset: bool = False,
        check_files: bool = True,
        intensity: Intensity = "auto",
        window: Window = "file",
        name: str = "mimic_cxr",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, window, shareable)
        self.layout = layout
        self.tables = tables
        self.split = split
        self.labels_version = labels_version
        self.label_map = label_map
        self.labels = labels
        self.uncertain = uncertain
        self.views = views
        self.reports = reports
        self.subset = subset
        self.check_files = check_files

    def table(self) -> StudyTable:
        """Read the tables and reports and check them; DataError where they do not fit together or files are absent."""
        for option, value, known in (
            ("layout", self.layout, tuple(SUFFIXES)),
            ("labels_version", self.labels_version, LABELS_VERSIONS),
        ):
            if value not in known:
                raise DataError(f"{self.name}: {option} is {value!r}, expected one of {', '.join(known)}")
        path = self._table("metadata")
        origin = str(path)
        frame = metadata_rows(path, SUFFIXES[self.layout])
        lists = ""
        if self.split == "official":
            frame["split"], lists = official_split(frame, self._table("split"), path)
        values, label_notes = label_rows(
            frame, self._table(self.labels_version), LABEL_MAP if self.label_map is None else self.label_map
        )
        values = pick_labels(settle_uncertain(values, self.uncertain, self.name), self.labels, self.name)
        labels = list(values.columns)
        frame = pd.concat([frame, values], axis=1)
        frame = keep_views(frame, self.views, origin)
        frame, absent = keep_files(frame, self.root, origin, self.subset)
        chosen = self._split(frame, labels, lists, origin)
        notes = [*label_notes, *absent]
        if self.reports is not None:
            frame, missing = add_reports(frame, self._reports(self.reports))
            notes.extend(missing)
        return StudyTable.build(
            frame.drop(columns=["dicom", "subject", "number"]).assign(dataset=self.name, split=chosen.split),
            labels,
            split_name=chosen.name,
            root=self.root,
            origin=origin,
            check_files=self.check_files,
            split_lists=chosen.lists,
            notes=notes,
        )

    def _table(self, kind: str) -> Path:
        """A table of MIMIC-CXR-JPG, plain or gzipped."""
        folder = Path() if self.tables is None else Path(self.tables).expanduser()
        return self._file(packed_name(self.root, str(folder / TABLES[kind])), "data.source.tables is their folder")

    def _reports(self, name: str) -> Path:
        path = self.root / Path(name).expanduser()
        if not path.exists():
            raise DataError(
                f"{path}: no such folder or file; data.source.reports expects the folder of the reports, "
                "mimic-cxr-reports.zip or a CSV of sections, or null for a table without text"
            )
        return path

    def _split(self, frame: pd.DataFrame, labels: list[str], lists: str, origin: str) -> RowSplit:
        if self.split == "official":
            size = "" if len(frame) == IMAGES else f" ({len(frame):,} of {IMAGES:,} images)"
            return RowSplit(frame["split"].to_numpy(dtype=object), f"mimic_cxr official{size}", lists)
        return split_rows(self, frame, labels, self.split, origin)
