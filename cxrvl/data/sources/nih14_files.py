"""What stands in the files of NIH ChestX-ray14? Label tables of all generations, boxes, and images in many folders."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.boxes import Box, box_lists
from cxrvl.data.checks import OLDEST, check_columns
from cxrvl.data.labels import CHESTXRAY14, NO_FINDING, split_findings
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

# The released PNGs are this wide and high whatever the original was; boxes are in their pixels.
RELEASED_PIXELS = 1024
VOCABULARY = (*CHESTXRAY14, NO_FINDING)
BOX_NAMES = {"Infiltrate": "Infiltration"}

AGE = re.compile(r"(\d+)([YMWD]?)")
PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}

ENTRY_COLUMNS = ("Image Index", "Patient ID", "Patient Age", "Patient Gender", "View Position", "Follow-up #")


def read_entries(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a label table of any generation.

    NIH's `Data_Entry_2017*.csv` list findings in one column; reproduce-chexnet's `nih_labels.csv` has one column per
    finding and a `fold`. Ages are whole years, or "058Y", "013M", "010D".
    Returns the rows (index = data row of the file) with name, patient, study, view, sex, age, one column per name of
    `VOCABULARY`, `fold` and the original image size where the file has them; and notes on mended values.
    """
    raw = read_table(path)
    wide = "Finding Labels" not in raw and CHESTXRAY14[0] in raw
    check_columns(raw, (*ENTRY_COLUMNS, *(CHESTXRAY14 if wide else ("Finding Labels",))), str(path))
    ages, notes = _ages(raw["Patient Age"], path)
    frame = pd.DataFrame(
        {
            "name": raw["Image Index"].fillna("").str.strip(),
            "patient": raw["Patient ID"].fillna("").str.strip(),
            "view": raw["View Position"],
            "sex": raw["Patient Gender"],
            "age": ages,
        }
    )
    frame["study"] = frame["patient"] + "/" + raw["Follow-up #"].fillna("").str.strip()
    twice = np.flatnonzero(frame["name"].duplicated().to_numpy())
    if twice.size:
        row = int(twice[0])
        raise DataError(f"{path}, row {row + 1}: image {frame['name'].iloc[row]!r} is listed twice; remove one row")
    findings = _wide_findings(raw, path) if wide else split_findings(raw["Finding Labels"], VOCABULARY, str(path))
    contradictory = np.flatnonzero(
        (findings[NO_FINDING].to_numpy() == 1) & (findings[list(CHESTXRAY14)].to_numpy() == 1).any(axis=1)
    )
    if contradictory.size:
        row = int(contradictory[0])
        raise DataError(
            f"{path}, row {row + 1}, image {frame['name'].iloc[row]!r}: {NO_FINDING!r} stands beside a finding; "
            "expected one or the other"
        )
    extra = pd.DataFrame(index=frame.index)
    if "fold" in raw:
        extra["fold"] = raw["fold"]
    # The header `OriginalImage[Width,Height]` is not quoted, so it is two columns.
    for column, name in (("OriginalImage[Width", "original_width"), ("Height]", "original_height")):
        if column in raw:
            extra[name] = pd.to_numeric(raw[column], errors="coerce").astype(np.float32)
    return pd.concat([frame, findings, extra], axis=1), notes


def _wide_findings(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    findings = raw[list(CHESTXRAY14)].apply(pd.to_numeric, errors="coerce")
    bad = np.argwhere(~findings.isin([0, 1]).to_numpy())
    if bad.size:
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{path}, row {row + 1}, column {CHESTXRAY14[column]!r}: found {raw[CHESTXRAY14[column]].iloc[row]!r}, "
            "expected 0 or 1"
        )
    findings = findings.astype(np.float32)
    findings[NO_FINDING] = (findings.sum(axis=1) == 0).astype(np.float32)
    return findings


def _ages(text: pd.Series, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Years as float32; the first release's impossible ages (up to 414) become unknown, with a note."""
    codes, entries = pd.factorize(text, use_na_sentinel=False)
    years = np.full(len(entries), np.nan, dtype=np.float32)
    for code, entry in enumerate(entries):
        if pd.isna(entry):
            continue
        match = AGE.fullmatch(str(entry).strip())
        if match is None:
            row = int(np.flatnonzero(codes == code)[0]) + 1
            raise DataError(f"{path}, row {row}, column 'Patient Age': found {entry!r}, expected years or as in '058Y'")
        years[code] = float(match[1]) / PER_YEAR[match[2]]
    ages = years[codes]
    impossible = ages > OLDEST
    if not impossible.any():
        return ages, ()
    note = f"{path.name}: {int(impossible.sum())} ages above {OLDEST:g} years (known errors of the release) are unknown"
    return np.where(impossible, np.float32(np.nan), ages), (note,)


def read_boxes(path: Path, names: pd.Series, labels: Sequence[str], subset: bool) -> list[list[Box]]:
    """Read `BBox_List_2017.csv`: one list of boxes per image.

    names: N image names; labels: the findings whose boxes are kept; subset: whether boxes of other images are expected.
    Coordinates are x, y, w, h in pixels of the released 1024-px PNG; the header `Bbox [x,y,w,h]` is four columns, and
    "Infiltrate" stands for Infiltration. Raises DataError for unknown findings, images, or numbers, naming the row.
    """
    raw = read_table(path)
    columns = list(raw.columns[:6])
    if [*columns[:3], columns[-1]] != ["Image Index", "Finding Label", "Bbox [x", "h]"]:
        raise DataError(
            f"{path}: found the columns {','.join(columns)}; expected Image Index,Finding Label,Bbox [x,y,w,h]"
        )
    findings = raw["Finding Label"].replace(BOX_NAMES)
    numbers = raw[columns[2:]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    positions = pd.Index(names).get_indexer(pd.Index(raw["Image Index"]))
    faults = (
        (~findings.isin(CHESTXRAY14).to_numpy(), "Finding Label", "one of the 14 findings"),
        (~np.isfinite(numbers).all(axis=1), columns[2], "four numbers x, y, w, h"),
        (
            (positions < 0) & (not subset),
            "Image Index",
            "an image of the label table (data.source.subset=true allows others)",
        ),
    )
    for bad, column, expected in faults:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(f"{path}, row {row + 1}: {column} is {raw[column].iloc[row]!r}, expected {expected}")
    kept = (positions >= 0) & findings.isin(list(labels)).to_numpy()
    corners = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1) / RELEASED_PIXELS
    return box_lists(positions[kept], findings[kept].tolist(), corners[kept], len(names))


def find_images(root: Path, folders: Sequence[str] | None) -> dict[str, str]:
    """List the image files: name -> key (path below the root).

    folders: below the root; None = NIH's own layout (`images_001/images` to `images_012/images`) and flat `images`.
    Raises DataError if there is no such folder, or if a name lies in two of them.
    """
    if folders is None:
        tops = sorted(path for path in root.glob("images*") if path.is_dir())
        paths = [inner if (inner := top / "images").is_dir() else top for top in tops]
        folders = [path.relative_to(root).as_posix() for path in paths]
    if not folders:
        raise DataError(f"{root}: no folder images or images_001 to images_012 in it; set data.root or data.image_dirs")
    keys: dict[str, str] = {}
    for folder in folders:
        path = root / folder
        if not path.is_dir():
            raise DataError(f"{path}: no such folder; set data.image_dirs to the folders that hold the images")
        for name in _names(path):
            key = name if folder in ("", ".") else f"{folder.rstrip('/')}/{name}"
            if name in keys:
                raise DataError(f"{root}: image {name!r} lies in two folders, {keys[name]} and {key}; remove one copy")
            keys[name] = key
    return keys


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
