"""How is the COVID-19 image repository of Hannover Medical School read? One table, positives only, no published split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.rows import numbers
from cxrvl.data.sources.assembly import assemble, recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.image_files import images_by_name
from cxrvl.data.sources.split_option import SplitOption
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import StudyTable

COLUMNS = ("patient_id", "image_id", "sex", "age", "admission_offset", "modality", "projection")
LABEL_MAP = {"COVID-19": "COVID-19"}
NOTE = (
    "mhh_covid19: every patient has COVID-19 and nothing else is stated; add another set for negatives, and look for "
    "near duplicates if it is covid_chestxray, which took over a part of this set"
)


class MHHCovid19(FileSource):
    """243 radiographs of 71 patients with COVID-19 (Winther et al., 2020): `data.csv` and the images below `root`.

    image_dirs: folders of `<image_id>.png` or .jpg below `root`; None = anywhere.
    split: see `cxrvl.data.sources.split_option.split_rows`; None = `BY_PATIENT`. views: AP, PA; None = both.
    Further columns: modality (CR or DX), admission_offset (days from the image to the
    admission, negative where the patient was in hospital already).
    """

    def __init__(
        self,
        root: str | Path,
        image_dirs: Sequence[str] | None = None,
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
        subset: bool = False,
        name: str = "mhh_covid19",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        self.image_dirs = image_dirs
        self.split = split
        self.label_map = LABEL_MAP if label_map is None else label_map
        self.labels = labels
        self.views = views
        self.subset = subset

    def table(self) -> StudyTable:
        """Read and check `data.csv`; DataError names the row."""
        path = self._file("data.csv", "the table of the set")
        raw = read_table(path)
        origin = str(path)
        check_columns(raw, COLUMNS, origin)
        files = images_by_name(self.root, self.image_dirs)
        frame = pd.DataFrame(
            {
                # An id without a file stays as it is, for the checks to name.
                "image": raw["image_id"].map(lambda name: files.get(name, name)),
                "patient": raw["patient_id"],
                "view": recode(raw["projection"], {"ap": "AP", "pa": "PA"}, origin),
                "sex": recode(raw["sex"], {"f": "F", "m": "M"}, origin),
                "age": raw["age"],
                "modality": raw["modality"],
                "admission_offset": numbers(raw, "admission_offset", origin),
            }
        )
        written = pd.DataFrame({"COVID-19": 1.0}, index=raw.index)
        return assemble(
            self, frame, written, self.label_map, origin=origin, split=self.split, labels=self.labels,
            views=self.views, subset=self.subset, notes=(NOTE,),
        )  # fmt: skip
