"""How is NIH ChestX-ray14 read? Both published splits, all generations of labels, and the bounding boxes.

112,120 frontal radiographs of 30,805 patients (Wang et al., CVPR 2017), released as 1024-px PNG. Scores on the official
split and on the random split of CheXNet's followers differ by two to three points of AUROC: never compare across them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.labels import CHESTXRAY14, choose_labels
from cxrvl.data.read_options import Intensity
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.nih14_files import VOCABULARY, find_images, read_boxes, read_entries
from cxrvl.data.splits import SplitAssignment, assignment, patient_draw, read_lists, read_split_file
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

IMAGES = 112_120
BOX_FILE = "BBox_List_2017.csv"

# Label generations: NIH's release of 2020, NIH's release of 2017, and the table of reproduce-chexnet (2018), which ACM
# uses; the last differs from today's labels in 181 images.
LABEL_FILES = {"v2020": "Data_Entry_2017_v2020.csv", "2017": "Data_Entry_2017.csv", "zech_2018": "nih_labels.csv"}

LISTS = {
    "official": {"train": "train_val_list.txt", "test": "test_list.txt"},
    "chexnet_random": {
        "train": "chexnet_train_list.txt",
        "val": "chexnet_val_list.txt",
        "test": "chexnet_test_list.txt",
    },
}
# SHA-256 of the complete published lists, as SplitAssignment.sha256 takes it (the official train_val list as train).
PUBLISHED = {
    "official": "b44b7b76d5b3a79abe1fc76c269c2e3c75e9f2d5a3e3da401431abd744334808",
    "chexnet_random": "49b78eb8a48b994a7393f5139e4d389fe7516ce016829dea412b9f2c8e20e7a5",
}
# The official lists hold no validation part. Ours: this share of the train_val patients, by this version of the hash.
VAL_FRACTION = 0.13
VAL_CUT = "cxrvl nih14 official val v1"


class NIH14(FileSource):
    """NIH ChestX-ray14 in its own layout below `root`.

    split: "official" (NIH's lists; a fixed share of the train_val patients becomes validation), "chexnet_random" (the
        lists of CheXNet's followers and ACM), "fold" (the column of nih_labels.csv) or the name of a CSV file below
        the root (`image,split` or `patient,split`).
    labels_version: "v2020", "2017" or "zech_2018"; labels_file: that file's name if it is another one.
    labels: some of the 14 findings and "No Finding", in output order; None = the 14 in CheXNet's order.
    lists: list files by split name (train, val, test), where they are not below the root under their usual names.
    val_fraction: share of train_val patients for validation (official split only).
    image_dirs: folders of images below the root; None = flat `images` and NIH's `images_001/images` and so on.
    image_suffix: ending of the files where they were re-encoded, such as ".jpg".
    views: keep only these view positions ("PA", "AP"); None = both.
    boxes: read BBox_List_2017.csv (984 boxes of 8 findings; those among `labels` are kept).
    subset: keep the rows whose image is on disk, and note how many, instead of refusing absent files.
    intensity: see `cxrvl.data.read_options.ReadOptions`; name: the column `dataset`; shareable: see `Source`.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "official",
        labels_version: str | int = "v2020",
        labels_file: str | None = None,
        labels: Sequence[str] | None = None,
        lists: Mapping[str, str] | None = None,
        val_fraction: float = VAL_FRACTION,
        image_dirs: Sequence[str] | None = None,
        image_suffix: str | None = None,
        views: Sequence[str] | None = None,
        boxes: bool = True,
        subset: bool = False,
        intensity: Intensity = "auto",
        name: str = "nih14",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, shareable=shareable)
        self.split = split
        # A bare 2017 on the command line or in YAML is a number.
        self.labels_version = str(labels_version)
        self.labels_file = labels_file
        self.labels = labels
        self.lists = lists
        self.val_fraction = val_fraction
        self.image_dirs = image_dirs
        self.image_suffix = image_suffix
        self.views = views
        self.boxes = boxes
        self.subset = subset

    def table(self) -> StudyTable:
        """Read the tables and lists and check them; DataError where they do not fit together or files are absent."""
        labels = choose_labels(CHESTXRAY14 if self.labels is None else self.labels, VOCABULARY, self.name)
        if self.labels_version not in LABEL_FILES:
            raise DataError(
                f"{self.name}: labels_version is {self.labels_version!r}, expected one of {', '.join(LABEL_FILES)}"
            )
        path = self._file(self.labels_file or LABEL_FILES[self.labels_version], "data.source.labels_file")
        frame, notes = read_entries(path)
        members = self._members(frame, path)
        frame["split"] = self._splits(frame, members)
        if self.boxes:
            box_path = self._file(BOX_FILE, "data.source.boxes=false does without")
            boxes = read_boxes(box_path, frame["name"], labels, self.subset)
            frame["boxes"] = pd.Series(boxes, index=frame.index, dtype=object)
        frame, absent = self._with_files(frame, path)
        if self.views is not None:
            frame = self._only_views(frame, self.views, path)
        unused = [name for name in VOCABULARY if name not in labels]
        return StudyTable.build(
            frame.drop(columns=[*unused, "name", "fold"], errors="ignore").assign(dataset=self.name),
            labels,
            split_name=self._split_name(members, len(frame)),
            root=self.root,
            origin=str(path),
            split_lists=members.sha256,
            notes=(*notes, *absent),
        )

    def _members(self, frame: pd.DataFrame, path: Path) -> SplitAssignment:
        """Who is in which published part: the lists, the fold column or the split file."""
        if self.split == "fold":
            if "fold" not in frame:
                raise DataError(f"{path}: split=fold needs a column 'fold', which nih_labels.csv (zech_2018) has")
            pairs = zip(frame["name"], frame["fold"].fillna("").str.replace("valid", "val"), strict=True)
            return assignment("image", dict(pairs), f"{path}, column fold")
        if self.lists is not None or self.split in LISTS:
            names = LISTS.get(self.split, {}) if self.lists is None else self.lists
            return read_lists({key: self._file(name, "data.source.lists") for key, name in names.items()})
        if not (self.root / self.split).is_file():
            raise DataError(
                f"{self.name}: split is {self.split!r}, expected {', '.join(LISTS)}, fold, or a CSV file below {self.root}"
            )
        return read_split_file(self.root / self.split)

    def _splits(self, frame: pd.DataFrame, members: SplitAssignment) -> np.ndarray:
        """Split names (N,), the official validation part cut out; DataError for rows that no list names."""
        split = members.apply(frame["name" if members.by == "image" else "patient"].tolist())
        unlisted = np.flatnonzero(split == "")
        if unlisted.size:
            first = frame.iloc[int(unlisted[0])]
            raise DataError(
                f"{members.origin}: image {first['name']!r} of the label table (row {int(unlisted[0]) + 1}) is in no part of "
                f"the split ({unlisted.size} such images); use the complete lists, or the label table they belong to"
            )
        if members.by == "image" and not self.subset:
            extra = set(members.split) - set(frame["name"])
            if extra:
                raise DataError(
                    f"{members.origin}: {listing(sorted(extra))} not in the label table; give the complete table, "
                    "or allow a part of the data set with data.source.subset=true"
                )
        if self.split == "official" and "val" not in members.split.values():
            patients = frame["patient"].tolist()
            split[(split == "train") & (patient_draw(patients, VAL_CUT) < self.val_fraction)] = "val"
        return split

    def _with_files(self, frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Add the image keys; with `subset`, drop the rows without a file and note it."""
        files = find_images(self.root, self.image_dirs)
        names = frame["name"]
        if self.image_suffix is not None:
            names = names.str.replace(r"\.[^.]+$", "", regex=True) + self.image_suffix
        keys = [files.get(name) for name in names]
        absent = np.array([key is None for key in keys], dtype=bool)
        frame = frame.assign(image=pd.Series(keys, index=frame.index, dtype=object))
        if not absent.any():
            return frame, ()
        first = int(np.flatnonzero(absent)[0])
        if absent.all() or not self.subset:
            stem = names.iloc[first].rpartition(".")[0] + "."
            other = next((name for name in files if name.startswith(stem)), None)
            hint = (
                f"there is {other}: set data.source.image_suffix to .{other.rpartition('.')[2]}"
                if other
                else ("download the rest, or train on the images that are there with data.source.subset=true")
            )
            raise DataError(
                f"{path}, row {int(frame.index[first]) + 1}: image {names.iloc[first]!r} is in none of the image folders "
                f"of {self.root} ({int(absent.sum())} of {len(frame)} images are absent); {hint}"
            )
        note = f"subset: {int((~absent).sum())} of {len(frame)} rows of {path.name} have their image on disk"
        return frame[~absent].copy(), (note,)

    def _only_views(self, frame: pd.DataFrame, views: Sequence[str], path: Path) -> pd.DataFrame:
        there = sorted(frame["view"].dropna().unique())
        unknown = [view for view in views if view not in there]
        if unknown:
            raise DataError(f"{path}: no image has the view {listing(unknown)}; views there: {', '.join(there)}")
        return frame[frame["view"].isin(list(views))].copy()

    def _split_name(self, members: SplitAssignment, rows: int) -> str:
        """The published name only for the complete published split; otherwise how much of it this is."""
        complete = rows == IMAGES
        if self.split == "fold" and members.sha256 == PUBLISHED["chexnet_random"] and complete:
            return "chexnet_random"
        if self.split not in PUBLISHED:
            return f"{Path(self.split).name} {members.sha256[:8]}"
        if complete and members.sha256 == PUBLISHED[self.split]:
            return self.split
        if complete:
            return f"{self.split} (lists differ from the published ones)"
        return f"{self.split} ({rows:,} of {IMAGES:,} images)"
