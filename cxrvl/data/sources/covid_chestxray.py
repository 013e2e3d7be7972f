"""How is the COVID-19 image data collection (ieee8023) read? Radiographs out of publications, with their clinical notes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.rows import numbers
from cxrvl.data.sources.assembly import assemble, recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.covid_findings import DIAGNOSES, read_findings
from cxrvl.data.sources.split_option import SplitOption
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

COLUMNS = ("patientid", "sex", "age", "finding", "view", "filename", "license", "clinical_notes")
KEPT = ("offset", "survival", "date", "location", "doi", "url", "license", "licence_group", "other_notes")
VIEWS = {
    "PA": "PA", "AP": "AP", "AP Supine": "AP", "APS": "AP", "AP Erect": "AP", "AP erect": "AP", "AP semi erect": "AP",
    "L": "L", "Axial": "Axial", "Coronal": "Coronal", "CT": "CT",
}  # fmt: skip
LABEL_MAP: dict[str, str | None] = dict.fromkeys(DIAGNOSES, None) | {
    "Pneumonia": "Pneumonia",
    "COVID-19": "COVID-19",
    "Tuberculosis": "Tuberculosis",
    "No Finding": "No Finding",
}
HANNOVER = "10.6084/m9.figshare.12275009"
"""DOI of the Hannover repository, whose images the collection took over in part."""
DIAGNOSIS_NOTE = (
    "labels are the diagnosis of the case, not a reading of the image: a patient with COVID-19 has COVID-19 = 1 and "
    "Pneumonia = 1 on a clear radiograph too; clinical_notes mix history with findings and may name the diagnosis"
)


class CovidChestXray(FileSource):
    """The collection's `metadata.csv` below `root` and its radiographs (Cohen et al., 2020); CT images are left out.

    Image keys are the column `file` where there is one, else `folder`/`filename` ("images" without that column).
    split: see `cxrvl.data.sources.split_option.split_rows`; None = `BY_PATIENT`. views: AP, PA, L; None = all.
    label_map: one of `covid_findings.DIAGNOSES` -> name in the vocabulary; labels: those to keep.
    The clinical notes are the section `notes`. Further columns, where the file has them: offset (days since onset or
    admission), survival, date, location, doi, url, license (as written, per image), licence_group, other_notes,
    position (the view as written, such as "AP Supine").
    """

    def __init__(
        self,
        root: str | Path,
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
        subset: bool = False,
        name: str = "covid_chestxray",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        self.split = split
        self.label_map = LABEL_MAP if label_map is None else label_map
        self.labels = labels
        self.views = views
        self.subset = subset

    def table(self) -> StudyTable:
        """Read and check `metadata.csv`; DataError names the row."""
        path = self._file("metadata.csv", "the table of the set")
        raw = read_table(path)
        origin = str(path)
        check_columns(raw, COLUMNS, origin)
        raw, notes = _radiographs(raw, origin)
        frame = pd.DataFrame(
            {
                "image": _keys(raw, origin),
                "patient": raw["patientid"],
                "view": recode(raw["view"], VIEWS, origin),
                "position": raw["view"],
                "sex": recode(raw["sex"], {"F": "F", "M": "M"}, origin),
                "age": raw["age"],
                "notes": raw["clinical_notes"].fillna("").str.strip(),
                **{name: raw[name].fillna("") for name in KEPT if name in raw},
            }
        )
        if "offset" in frame:
            frame["offset"] = numbers(raw, "offset", origin)
        written = read_findings(raw["finding"], origin)
        unlabelled = int(written["Pneumonia"].isna().sum())
        hannover = int((raw["doi"].fillna("").str.contains(HANNOVER, regex=False)).sum()) if "doi" in raw else 0
        if hannover:
            notes = (
                *notes,
                f"{hannover} images are from mhh_covid19: do not train on one of the two and test on the other",
            )
        licences = raw["license"].fillna("none stated").str.strip().value_counts()
        return assemble(
            self, frame, written, self.label_map, origin=origin, split=self.split, labels=self.labels,
            views=self.views, subset=self.subset,
            notes=(
                *notes,
                f"{path.name}: {unlabelled} of {len(raw)} images have no diagnosis (todo) and no label",
                "licence per image (column license): " + ", ".join(f"{n} {text}" for text, n in licences.items()),
                DIAGNOSIS_NOTE,
            ),
        )  # fmt: skip


def _radiographs(raw: pd.DataFrame, origin: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Leave out what `modality`, where the file has it, does not call an X-ray."""
    if "modality" not in raw:
        return raw, ()
    kept = (raw["modality"].fillna("").str.lower() == "x-ray").to_numpy()
    if not kept.any():
        found = ", ".join(sorted(raw["modality"].dropna().unique()))
        raise DataError(f"{origin}, column 'modality': no row is an X-ray; found {found or 'empty fields only'}")
    return raw[kept].copy(), (f"{Path(origin).name}: {int((~kept).sum())} rows that are no X-ray are left out",)


def _keys(raw: pd.DataFrame, origin: str) -> pd.Series:
    if "file" in raw:
        return raw["file"]
    if raw["filename"].isna().any():
        row = int(raw.index[int(raw["filename"].isna().to_numpy().argmax())]) + 1
        raise DataError(f"{origin}, row {row}, column 'filename': it is empty; every row needs its image's name")
    folder = raw["folder"].fillna("images") if "folder" in raw else "images"
    return folder + "/" + raw["filename"].str.strip()
