"""What makes a study table unusable? One function per fault; each error names the file, the row and the remedy."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.boxes import bad_boxes, long_boxes
from cxrvl.data.files import FOLDER, MISSING, OUTSIDE, file_sizes, unsafe_key
from cxrvl.errors import DataError

SPLITS = ("train", "val", "test")
# What a study table may say: "unlabelled" images are learnt from without their labels, so they are in no other split.
SPLIT_NAMES = (*SPLITS, "unlabelled")
LABEL_VALUES = (1.0, 0.0, -1.0)
OLDEST = 130.0
# The longest of Open-i's 3,955 reports has 1,446 characters, a case history a few thousand.
LONGEST_TEXT = 50_000
SHOWN = 3


def listing(items: Sequence[object], shown: int = SHOWN) -> str:
    """Print the first few of many: `a, b, c and 7 more`."""
    head = ", ".join(str(item) for item in items[:shown])
    return head if len(items) <= shown else f"{head} and {len(items) - shown} more"


def row_name(frame: pd.DataFrame, position: int) -> str:
    """Name a row as its reader finds it: the data row of the origin file (first row below the header = 1) and its key.

    The frame's index holds the 0-based data rows of the origin file; the key is the image, or else the study.
    """
    key = next((name for name in ("image", "study") if name in frame), None)
    named = f", {key} {frame[key].iloc[position]!r}" if key else ""
    return f"row {int(frame.index[position]) + 1}{named}"


def _refuse(frame: pd.DataFrame, bad: np.ndarray, origin: str, message: Callable[[int], str]) -> None:
    """Raise DataError for the first bad row; `message(position)` says what was found and the remedy."""
    positions = np.flatnonzero(bad)
    if positions.size:
        first = int(positions[0])
        raise DataError(f"{origin}, {row_name(frame, first)}: {message(first)}{_more(bad)}")


def _more(bad: np.ndarray) -> str:
    return f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""


def check_columns(frame: pd.DataFrame, needed: Sequence[str], origin: str) -> None:
    """Refuse a table that lacks a needed column or holds no row."""
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataError(
            f"{origin}: column {listing([repr(name) for name in missing])} is missing; "
            f"found {listing([repr(str(name)) for name in frame.columns], 20)}; add it or map another column to it"
        )
    if frame.empty:
        raise DataError(f"{origin}: the table has no rows; check the file and the filters (view, split) applied to it")


def check_label_names(labels: Sequence[str], reserved: Sequence[str], origin: str) -> None:
    """Refuse labels that repeat, are empty, or carry the name of one of the table's own columns."""
    repeated = sorted({name for name in labels if list(labels).count(name) > 1})
    if repeated:
        raise DataError(f"{origin}: label {listing(repeated)} is listed twice; list every label once")
    taken = [name for name in labels if not name or name in reserved]
    if taken:
        raise DataError(
            f"{origin}: {listing([repr(n) for n in taken])} cannot be a label: the table uses that column name"
        )


def check_keys(frame: pd.DataFrame, origin: str) -> None:
    """Refuse unsafe or repeated image keys, and rows without a patient."""
    keys = frame["image"].tolist()
    reasons = [unsafe_key(key) for key in keys]
    bad = np.array([reason is not None for reason in reasons])
    _refuse(
        frame, bad, origin,
        lambda i: f"the image key {keys[i]!r} {reasons[i]}; write a path relative to the data root",
    )  # fmt: skip
    twice = frame.duplicated(["dataset", "image"]).to_numpy()

    def first_use(i: int) -> str:
        same = (frame["image"] == keys[i]) & (frame["dataset"] == frame["dataset"].iloc[i])
        return (
            f"the key is already used in row {int(frame.index[int(np.flatnonzero(same)[0])]) + 1} of data set "
            f"{frame['dataset'].iloc[i]!r}; every image may be listed once: remove or merge the duplicates"
        )

    _refuse(frame, twice, origin, first_use)
    _refuse(frame, (frame["dataset"] == "").to_numpy(), origin, lambda _: "no dataset; name the data set it comes from")
    _refuse(
        frame,
        (frame["patient"] == "").to_numpy(),
        origin,
        lambda _: "no patient; give every image one, since splits and intervals are by patient",
    )


def check_splits(frame: pd.DataFrame, origin: str) -> None:
    """Refuse split names other than train, val, test, unlabelled, and patients with images in two of them."""
    _refuse(
        frame,
        ~frame["split"].isin(SPLIT_NAMES).to_numpy(),
        origin,
        lambda i: f"split is {frame['split'].iloc[i]!r}, expected one of {', '.join(SPLIT_NAMES)}",
    )
    person = frame["dataset"] + "\0" + frame["patient"]
    codes, persons = pd.factorize(person)
    seen = np.zeros((len(persons), len(SPLIT_NAMES)), dtype=bool)
    seen[codes, pd.Categorical(frame["split"], categories=list(SPLIT_NAMES)).codes] = True
    leaking = np.flatnonzero(seen.sum(axis=1) > 1)
    if leaking.size:
        first = int(np.flatnonzero(codes == leaking[0])[0])
        places = " and ".join(name for name, there in zip(SPLIT_NAMES, seen[leaking[0]], strict=True) if there)
        raise DataError(
            f"{origin}, {row_name(frame, first)}: patient {frame['patient'].iloc[first]!r} has images in {places}; "
            f"{leaking.size} of {len(persons)} patients lie in more than one split, so scores would be too good. "
            "Split by patient: give a patient-disjoint split list, or ask for a new one "
            "(split: {by: patient, fractions: {train: 0.7, val: 0.1, test: 0.2}, seed: 0})"
        )


def check_label_values(frame: pd.DataFrame, labels: Sequence[str], origin: str) -> None:
    """Refuse label values other than 1 (positive), 0 (negative), -1 (uncertain) and missing (not stated)."""
    for label in labels:
        values = frame[label].to_numpy(dtype=np.float64, na_value=np.nan)
        bad = ~(np.isin(values, LABEL_VALUES) | np.isnan(values))
        if bad.any():
            raise DataError(
                f"{origin}, {row_name(frame, int(bad.argmax()))}: label {label!r} is {values[bad][0]:g}, expected "
                f"1 (positive), 0 (negative), -1 (uncertain) or empty (not stated); map other values to these{_more(bad)}"
            )


def check_ages(frame: pd.DataFrame, origin: str) -> None:
    """Refuse ages that are infinite, negative or above `OLDEST` years; NaN means unknown."""
    ages = frame["age"].to_numpy(dtype=np.float64)
    bad = np.isinf(ages) | (ages < 0) | (ages > OLDEST)
    _refuse(
        frame,
        bad,
        origin,
        lambda i: f"age {ages[i]:g} years, expected 0 to {OLDEST:g}, or empty for unknown; mend it or leave it empty",
    )


def check_text(frame: pd.DataFrame, sections: Sequence[str], origin: str) -> None:
    """Refuse text that is no text, holds characters no report has, or is too long to be one report; None and NaN pass."""
    for section in sections:
        values = frame[section].tolist()
        faults = [_text_fault(value) for value in values]
        _refuse(
            frame,
            np.array([fault is not None for fault in faults], dtype=bool),
            origin,
            lambda i, section=section, faults=faults: f"{section} {faults[i]}",  # type: ignore[misc]
        )


def _text_fault(value: object) -> str | None:
    if not isinstance(value, str):
        empty = value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
        return None if empty else f"is of type {type(value).__name__}; expected text, or an empty field"
    if len(value) > LONGEST_TEXT:
        return (
            f"has {len(value):,} characters, expected at most {LONGEST_TEXT:,}; look for a quote that is never closed, "
            "or for several reports in one field"
        )
    if "\0" in value:
        return "holds a NUL character; save the file as UTF-8 text"
    # Only text outside ASCII can hold half a surrogate pair, which no file and no tokenizer takes.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return "holds half of a surrogate pair; save the file as UTF-8 text"
    return None


def check_boxes(frame: pd.DataFrame, labels: Sequence[str], origin: str) -> pd.DataFrame:
    """Refuse impossible boxes and boxes of unknown findings; return the boxes as a long table."""
    boxes = long_boxes(frame["boxes"])
    unknown = np.flatnonzero(~boxes["label"].isin(list(labels)).to_numpy())
    if unknown.size:
        box = boxes.iloc[int(unknown[0])]
        raise DataError(
            f"{origin}, {row_name(frame, int(box['row']))}: a box is labelled {box['label']!r}, which is none of the "
            f"labels {listing(labels, 20)}; map its name or drop it"
        )
    bad = np.flatnonzero(bad_boxes(boxes).to_numpy())
    if bad.size:
        box = boxes.iloc[int(bad[0])]
        raise DataError(
            f"{origin}, {row_name(frame, int(box['row']))}: the {box['label']} box "
            f"x0={box['x0']:.4g} y0={box['y0']:.4g} x1={box['x1']:.4g} y1={box['y1']:.4g} is impossible; expected "
            "0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 in shares of the native image's width and height"
        )
    return boxes


def check_files(frame: pd.DataFrame, root: Path, origin: str) -> np.ndarray:
    """Refuse rows whose file is absent, a folder, or leads out of the root; return (N,) int64 file sizes in bytes."""
    sizes = file_sizes(root, frame["image"].tolist())
    _refuse(
        frame,
        sizes == OUTSIDE,
        origin,
        lambda _: (
            f"the file lies outside the data root {root} (through a symbolic link); "
            "set data.root to the folder that really holds the files"
        ),
    )
    _refuse(
        frame,
        sizes == FOLDER,
        origin,
        lambda _: f"the image is a folder below {root}; expected the path of one file: is another column the image?",
    )
    _refuse(
        frame,
        sizes == MISSING,
        origin,
        lambda _: f"the file is not below the data root {root}; set data.root, or remove the rows without a file",
    )
    return sizes
