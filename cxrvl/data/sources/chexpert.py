"""How is CheXpert read? Its two tables, doubt written as one asks, and the reports of CheXpert Plus where they are there.

224,316 radiographs of 65,240 patients, 14 observations taken from reports by rules (Irvin et al., AAAI 2019); the 234
images of valid.csv were read by radiologists. CheXpert Plus (Chambon et al., 2024) adds the reports.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns, listing
from cxrvl.data.labels import CHEXPERT14, map_labels
from cxrvl.data.read_options import Intensity
from cxrvl.data.sources.assembly import recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.chexpert_plus import read_sections
from cxrvl.data.sources.choices import (
    Uncertain,
    keep_files,
    keep_views,
    packed_name,
    pick_labels,
    settle_uncertain,
)
from cxrvl.data.sources.split_option import RowSplit, SplitOption, split_rows
from cxrvl.data.sources.tables import read_table
from cxrvl.data.splits import patient_draw
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

IMAGES = 223_648  # rows of train.csv and valid.csv together
LABEL_MAP: Mapping[str, str | None] = {
    **{name: name for name in CHEXPERT14},
    "Pleural Effusion": "Effusion",
}
VALID_AS = {"valid_as_test": ("test", "val"), "valid_as_val": ("val", "test")}
"""Split -> what the official valid.csv becomes, and what is cut out of train.csv."""
CUT = "cxrvl chexpert cut v1"
CUT_FRACTION = 0.05
SEX = {"Female": "F", "Male": "M", "Unknown": ""}
PATH = r"^(?:CheXpert-v1\.0[^/]*/)?(?P<key>(?P<part>train|valid)/(?P<patient>patient\d+)/(?P<study>study\d+)/[\w.-]+)$"
FOLDERS = ("CheXpert-v1.0", "CheXpert-v1.0-small")


class CheXpert(FileSource):
    """CheXpert in its own layout: `root` holds train.csv, valid.csv and the folders train and valid.

    The tables' paths may begin with CheXpert-v1.0/ or CheXpert-v1.0-small/; image keys begin with train/ or valid/.
    split: "valid_as_test" (the official validation images are the test, and a fixed share of the training patients is
        the validation), "valid_as_val" (the other way round), the name of a split file, or a new patient-level split
        {by: patient, fractions: {...}, seed: 0, stratify: false}, which leaves valid.csv out.
    cut_fraction: share of the training patients that is cut out, for the first two.
    label_map: written name -> name in the joint vocabulary, null to leave one out; None = `LABEL_MAP`.
    labels: some of the mapped labels, in output order; None = all.
    uncertain: how -1 is written: keep, positive, negative or missing, for all labels or by label {Edema: positive}.
    views: keep only these of "AP", "PA", "L" (lateral), "Frontal" (direction unknown); None = all.
    reports: CheXpert Plus's table (df_chexpert_plus_240401.csv), below the root or absolute; None = no text.
    image_suffix: ending of the files where they were re-encoded, such as ".png".
    subset: keep the rows whose image is on disk, and note how many, instead of refusing absent files.
    check_files: look for every image file; without, the table is quick to read and has no fingerprint.
    """

    def __init__(
        self,
        root: str | Path,
        split: SplitOption = "valid_as_test",
        cut_fraction: float = CUT_FRACTION,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        uncertain: Uncertain = "keep",
        views: Sequence[str] | None = None,
        reports: str | None = None,
        image_suffix: str | None = None,
        subset: bool = False,
        check_files: bool = True,
        intensity: Intensity = "auto",
        name: str = "chexpert",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, shareable=shareable)
        self.split = split
        self.cut_fraction = cut_fraction
        self.label_map = label_map
        self.labels = labels
        self.uncertain = uncertain
        self.views = views
        self.reports = reports
        self.image_suffix = image_suffix
        self.subset = subset
        self.check_files = check_files

    def table(self) -> StudyTable:
        """Read the tables and check them; DataError where they do not fit together or files are absent."""
        parts = [self._rows("train")]
        if isinstance(self.split, str):
            parts.append(self._rows("valid"))
        frame, notes = self._text(pd.concat(parts))
        origin = " + ".join(dict.fromkeys(frame.pop("origin")))
        frame = keep_views(frame, self.views, origin)
        frame, absent = keep_files(frame, self.root, origin, self.subset)
        labels = [name for name in frame.columns if name in set(self._mapped())]
        values = settle_uncertain(frame[labels], self.uncertain, self.name)
        values = pick_labels(values, self.labels, self.name)
        frame = pd.concat([frame.drop(columns=labels), values], axis=1)
        split = self._split(frame, list(values.columns), origin)
        return StudyTable.build(
            frame.drop(columns="part").assign(dataset=self.name, split=split.split),
            list(values.columns),
            split_name=split.name,
            root=self.root,
            origin=origin,
            check_files=self.check_files,
            split_lists=split.lists,
            notes=(*notes, *absent),
        )

    def _mapped(self) -> tuple[str, ...]:
        return tuple(name for name in (self.label_map or LABEL_MAP).values() if name is not None)

    def _rows(self, part: str) -> pd.DataFrame:
        """One table's rows: image, patient, study, view, sex, age, part, origin and the mapped labels."""
        path = self._table(part)
        raw = read_table(path)
        label_map = self.label_map or LABEL_MAP
        check_columns(raw, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *label_map), str(path))
        found = raw["Path"].fillna("").str.strip().str.extract(PATH)
        wrong = np.flatnonzero((found["part"] != part).to_numpy())
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"{path}, row {row + 1}, column 'Path': found {raw['Path'].iloc[row]!r}, expected "
                f"CheXpert-v1.0/{part}/patient00001/study1/view1_frontal.jpg or the like ({wrong.size} such rows); "
                "use the released table"
            )
        keys = found["key"]
        if self.image_suffix is not None:
            keys = keys.str.replace(r"\.[^./]+$", "", regex=True) + self.image_suffix
        frame = pd.DataFrame(
            {
                "image": keys,
                "patient": found["patient"],
                "study": found["patient"] + "/" + found["study"],
                "view": _views(raw, path),
                "sex": recode(raw["Sex"], SEX, str(path)),
                "age": raw["Age"],
                "part": part,
                "origin": str(path),
            }
        )
        return pd.concat([frame, map_labels(raw[list(label_map)], label_map, str(path))], axis=1)

    def _table(self, part: str) -> Path:
        inner = next((name for name in FOLDERS if (self.root / name / f"{part}.csv").is_file()), None)
        if inner is not None and not (self.root / f"{part}.csv").is_file():
            raise DataError(f"{self.root}: {part}.csv lies in {inner}; set data.root to {self.root / inner}")
        return self._file(
            packed_name(self.root, f"{part}.csv"), "data.source.split: {by: patient, ...} does without valid.csv"
        )

    def _text(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Add the report sections of CheXpert Plus by image, and note how many images have none."""
        if self.reports is None:
            return frame, ()
        path = self._file(self.reports, "data.source.reports=null does without")
        return read_sections(frame, path)

    def _split(self, frame: pd.DataFrame, labels: list[str], origin: str) -> RowSplit:
        if not isinstance(self.split, str) or self.split not in VALID_AS:
            if isinstance(self.split, str) and not (self.root / self.split).is_file():
                raise DataError(
                    f"{self.name}: split is {self.split!r}, expected {', '.join(VALID_AS)}, {{by: patient, ...}}, or a "
                    f"CSV file below {self.root}"
                )
            return split_rows(self, frame, labels, self.split, origin)
        if not 0 <= self.cut_fraction < 1:
            raise DataError(f"{self.name}: cut_fraction is {self.cut_fraction:g}, expected a share from 0 to below 1")
        official, cut = VALID_AS[self.split]
        drawn = patient_draw(frame["patient"].tolist(), CUT) < self.cut_fraction
        split = np.where(frame["part"] == "valid", official, np.where(drawn, cut, "train")).astype(object)
        size = "" if len(frame) == IMAGES else f" ({len(frame):,} of {IMAGES:,} images)"
        return RowSplit(split, f"chexpert {self.split}, {cut} {self.cut_fraction:g} of train{size}", "")


def _views(raw: pd.DataFrame, path: Path) -> np.ndarray:
    """ "AP" or "PA"; "Frontal" where the direction is not one of these; "L" for any lateral view."""
    side = raw["Frontal/Lateral"]
    unknown = np.flatnonzero(~side.isin(["Frontal", "Lateral"]).to_numpy())
    if unknown.size:
        found = listing(sorted(side.iloc[unknown].fillna("").unique()))
        raise DataError(
            f"{path}, row {int(unknown[0]) + 1}, column 'Frontal/Lateral': found {found!r}, expected Frontal or Lateral "
            f"({unknown.size} such rows)"
        )
    frontal = raw["AP/PA"].where(raw["AP/PA"].isin(["AP", "PA"]), "Frontal")
    return np.where(side == "Lateral", "L", frontal).astype(object)
