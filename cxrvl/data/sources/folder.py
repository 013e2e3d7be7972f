"""How do images that are sorted into one folder per class come in? `root/<split>/<class>/...` or `root/<class>/...`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.sources.assembly import assemble
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.image_files import image_keys
from cxrvl.data.sources.split_option import RowSplit, SplitOption
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def class_folders(root: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """List the images of class folders: (frame with image, class, file, split; notes on what was passed over).

    class: the folder's name; file: the path below it; split: "train", "val", "test", or "" where the folders have none.
    Raises DataError if there is no image, if one lies outside of a class, or if only some top folders are splits.
    """
    images, others = image_keys(root)
    tops = {key.split("/")[0] for key in images if "/" in key}
    splits = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    if splits and splits != tops:
        raise DataError(
            f"{root}: {listing(sorted(splits))} are splits, but {listing(sorted(tops - splits))} beside them is none; "
            f"expected only split folders ({', '.join(SPLIT_FOLDERS)}), or only class folders"
        )
    rows = []
    for key in images:
        parts = key.split("/")
        depth = 1 if splits else 0
        if len(parts) < depth + 2:
            raise DataError(
                f"{root}: image {key!r} lies in no class folder; expected "
                f"{'<split>/<class>' if splits else '<class>'}/{parts[-1]}"
            )
        split = SPLIT_FOLDERS[parts[0].lower()] if splits else ""
        rows.append((key, parts[depth], "/".join(parts[depth + 1 :]), split))
    if not rows:
        raise DataError(f"{root}: no PNG, JPEG or DICOM file in any class folder below it; set data.root")
    notes = (f"{len(others)} files that are no images are passed over: {listing(others)}",) if others else ()
    return pd.DataFrame(rows, columns=["image", "class", "file", "split"]), notes


def patients(files: pd.Series, pattern: str, root: Path) -> pd.Series:
    """Find each file's patient by a regular expression: its first group, or the whole match.

    Raises DataError for a pattern that is no regular expression, and naming the first file it does not fit.
    """
    try:
        expression = re.compile(pattern)
    except re.error as fault:
        raise DataError(f"data.source.patient={pattern!r} is no regular expression: {fault}") from fault
    matches = [expression.search(file) for file in files]
    unfit = [file for file, match in zip(files, matches, strict=True) if match is None]
    if unfit:
        raise DataError(
            f"{root}: {unfit[0]!r} does not fit data.source.patient={pattern!r} ({len(unfit)} such files); "
            "correct the expression, or leave it empty to take every file as its own patient"
        )
    found = [match[1] if expression.groups else match[0] for match in matches if match is not None]
    return pd.Series(found, index=files.index, dtype=object)


class Folder(FileSource):
    """Class folders, read without a table: an image has the label of its folder and none of the others.

    label_map: folder name -> name in the joint vocabulary, None = a class that is none of the labels (its images are
        negative for all); without a map every folder's name is itself a label. labels: those to keep, in order.
    patient: regular expression searched in the path below the class folder; its first group, or the whole match, is the
        patient. None = every file is its own patient, which a note says.
    split: None = the split folders, or `BY_PATIENT` where there are none; or an option of
        `cxrvl.data.sources.split_option.split_rows`, which wins over split folders.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        patient: str | None = None,
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        self.split = split
        self.label_map = label_map
        self.labels = labels
        self.patient = patient

    def table(self) -> StudyTable:
        """List the folders and check what is in them; DataError names the file."""
        found, notes = class_folders(self.root)
        classes = sorted(found["class"].unique())
        if self.patient is None:
            found["patient"] = found["image"]
            notes = (*notes, f"{self.name}: no patient is known: every file is taken as its own patient")
        else:
            found["patient"] = patients(found["file"], self.patient, self.root)
        written = pd.DataFrame({name: (found["class"] == name).astype(np.float32) for name in classes})
        origin = f"{self.root} (listing)"
        split: SplitOption | RowSplit | None = self.split
        if split is None and found["split"].iloc[0]:
            split = RowSplit(found["split"].to_numpy(dtype=object), f"{self.name}: split folders", "")
        return assemble(
            self, found[["image", "patient"]], written, self.label_map, origin=origin, split=split, labels=self.labels,
            notes=notes,
        )  # fmt: skip
