"""How is the paediatric pneumonia set of Kermany et al. read? By patient, because its published split leaks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.labels import map_values
from cxrvl.data.sources.assembly import assemble, recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.folder import class_folders, patients
from cxrvl.data.sources.split_option import RowSplit, SplitOption
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

TABLE = "labels.csv"
COLUMNS = ("file", "pneumonia", "subtype", "patient_key", "kaggle_split")
LABEL_MAP: dict[str, str | None] = {
    "pneumonia": "Pneumonia", "bacteria": None, "virus": None, "normal": "No Finding",
}  # fmt: skip
SUBTYPES = ("normal", "bacteria", "virus")
# person12_bacteria_46.jpeg and IM-0115-0001.jpeg of Kaggle's copy, BACTERIA-1135262-0003.jpeg of Mendeley's.
PATIENT = r"^(person\d+|(?:NORMAL2-)?IM-\d+|(?:BACTERIA|VIRUS|NORMAL)-\d+)"
CLASSES = {"NORMAL": 0.0, "PNEUMONIA": 1.0}


class Kermany(FileSource):
    """Radiographs of children of one to five years, Guangzhou (Kermany et al., Cell 2018).

    Read are `chest_xray` as downloaded (`train/NORMAL/...`), with the patient out of the file name, or a folder with a
    `labels.csv` (file, pneumonia, subtype, patient_key, kaggle_split).
    split: None = `BY_PATIENT`; "published" = the set's own, which the checks refuse where patients lie in two parts of
        it; or an option of `cxrvl.data.sources.split_option.split_rows`.
    label_map: pneumonia, bacteria, virus, normal -> name in the vocabulary. Further column: subtype.
    subtypes: which of normal, bacteria and virus are read; None = all.
    """

    def __init__(
        self,
        root: str | Path,
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        subset: bool = False,
        name: str = "kermany",
        shareable: bool = False,
        subtypes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        unknown = [subtype for subtype in subtypes or () if subtype not in SUBTYPES]
        if unknown or subtypes == []:
            raise ConfigError(f"data.source.subtypes is {subtypes}; expected some of {', '.join(SUBTYPES)}")
        self.subtypes = tuple(subtypes or SUBTYPES)
        self.split = split
        self.label_map = LABEL_MAP if label_map is None else label_map
        self.labels = labels
        self.subset = subset

    def table(self) -> StudyTable:
        """Read and check `labels.csv`, or the folders; DataError names the row or file."""
        path = self.root / TABLE
        origin = str(path) if path.is_file() else f"{self.root} (listing)"
        frame, notes = _from_table(path) if path.is_file() else _from_folders(self.root)
        positive = frame.pop("pneumonia")
        published = frame.pop("published").to_numpy(dtype=object)
        odd = ((positive == 1) == (frame["subtype"] == "normal")).to_numpy()
        if odd.any():
            row = int(odd.argmax())
            raise DataError(
                f"{origin}, row {int(frame.index[row]) + 1}, image {frame['image'].iloc[row]!r}: pneumonia is "
                f"{positive.iloc[row]:g} but the subtype is {frame['subtype'].iloc[row]!r}; mend one of the two"
            )
        kept = frame["subtype"].isin(self.subtypes).to_numpy()
        if not kept.all():
            notes = (*notes, f"{self.name}: {', '.join(self.subtypes)} alone, {int(kept.sum())} of {len(kept)} images")
            frame, positive, published = (
                frame[kept].reset_index(drop=True),
                positive[kept].reset_index(drop=True),
                published[kept],
            )
        written = pd.DataFrame({name: (frame["subtype"] == name).astype(np.float32) for name in SUBTYPES})
        leaks = int((frame.assign(split=published).groupby("patient")["split"].nunique() > 1).sum())
        split: SplitOption | RowSplit | None = self.split
        if split == "published":
            split = RowSplit(published, f"{self.name}: published", "")
        elif leaks:
            persons = frame["patient"].nunique()
            notes = (*notes, f"{self.name}: {leaks} of {persons} patients lie in two parts of the published split")
        return assemble(
            self, frame, written.assign(pneumonia=positive), self.label_map, origin=origin, split=split,
            labels=self.labels, subset=self.subset, notes=notes,
        )  # fmt: skip


def _from_table(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    raw = read_table(path)
    check_columns(raw, COLUMNS, str(path))
    frame = pd.DataFrame(
        {
            "image": raw["file"],
            "patient": raw["patient_key"],
            "subtype": recode(raw["subtype"], {name: name for name in SUBTYPES}, str(path)),
            "pneumonia": map_values(raw["pneumonia"], {"1": 1.0, "0": 0.0}, str(path)),
            "published": recode(raw["kaggle_split"], {name: name for name in ("train", "val", "test")}, str(path)),
        }
    )
    empty = frame[["subtype", "pneumonia"]].isna().any(axis=1).to_numpy()
    if empty.any():
        raise DataError(f"{path}, row {int(empty.argmax()) + 1}: pneumonia or subtype is empty; expected both")
    return frame, ()


def _from_folders(root: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    found, notes = class_folders(root)
    strange = ~found["class"].isin(list(CLASSES)).to_numpy()
    if strange.any() or not found["split"].iloc[0]:
        raise DataError(
            f"{root}: found the image {found['image'].iloc[int(strange.argmax())]!r}; expected {TABLE}, or "
            "train, val and test with NORMAL and PNEUMONIA in each. Set data.root to the folder chest_xray"
        )
    low = found["file"].str.lower()
    sub = np.select([low.str.contains("bacteria"), low.str.contains("virus")], ["bacteria", "virus"], "normal")
    return pd.DataFrame(
        {
            "image": found["image"],
            "patient": patients(found["file"], PATIENT, root),
            "subtype": pd.Series(sub, index=found.index, dtype=object),
            "pneumonia": found["class"].map(CLASSES).astype(np.float32),
            "published": found["split"],
        }
    ), notes
