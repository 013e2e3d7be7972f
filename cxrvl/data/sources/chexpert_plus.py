"""What does a CheXpert image's report say? The sections of CheXpert Plus's table, joined by the image's path."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

PATH = "path_to_image"
# Section of the study table -> columns of df_chexpert_plus_240401.csv, the first that says something counts. The
# narrative is the text of reports that have no further headers.
COLUMNS = {
    "findings": ("section_findings",),
    "impression": ("section_impression",),
    "indication": ("section_clinical_history", "section_history"),
    "comparison": ("section_comparison",),
    "technique": ("section_technique",),
    "report": ("section_narrative",),
}


def read_sections(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add one text column per section.

    frame: column image, keys such as train/patient00001/study1/view1_frontal.jpg; path: CheXpert Plus's table, whose
    paths may end in another image format. Returns the frame with the sections, "" where there is none, and a note of
    how many images have no row or no text. Raises DataError if the table lacks a column, names an image twice, or
    knows none of the images.
    """
    raw = read_table(path)
    check_columns(raw, (PATH, "section_findings", "section_impression"), str(path))
    keys = _stem(raw[PATH].fillna("").str.strip())
    twice = np.flatnonzero(keys.duplicated().to_numpy())
    if twice.size:
        row = int(twice[0])
        raise DataError(f"{path}, row {row + 1}: image {raw[PATH].iloc[row]!r} is listed twice; remove one row")
    position = pd.Index(keys).get_indexer(pd.Index(_stem(frame["image"])))
    there = position >= 0
    if not there.any():
        raise DataError(
            f"{path}, column {PATH!r}: it knows none of the {len(frame)} images, such as {frame['image'].iloc[0]!r}; "
            f"found {raw[PATH].iloc[0]!r}; give CheXpert Plus's own table"
        )
    silent = np.ones(len(frame), dtype=bool)
    sections = {}
    for section, columns in COLUMNS.items():
        text = pd.Series("", index=raw.index, dtype=object)
        for name in columns:
            if name in raw:
                text = text.where(text != "", raw[name].fillna("").str.strip().astype(object))
        # A shared empty string for rows without a report: position -1 would take the last row's.
        sections[section] = np.where(there, text.to_numpy(dtype=object)[position], "")
        silent &= sections[section] == ""
    notes = (
        () if not silent.any() else (f"{path.name}: {int(silent.sum())} of {len(frame)} images have no report text",)
    )
    return frame.assign(**sections), notes


def _stem(paths: pd.Series) -> pd.Series:
    """The path below CheXpert's folder, without its ending: releases hold the same images as JPEG, PNG or DICOM."""
    return paths.str.replace(r"^CheXpert-v1\.0[^/]*/", "", regex=True).str.replace(r"\.[^./]+$", "", regex=True)
