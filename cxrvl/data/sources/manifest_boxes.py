"""Where are the lesion boxes of a manifest? A second table, in pixels or shares, corners or corner and size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.boxes import Box, box_lists
from cxrvl.data.checks import listing
from cxrvl.data.sources.base import known_options
from cxrvl.data.sources.columns import Spec, column, values
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

OPTIONS = ("file", "image", "label", "label_names", "constant_label", "corners", "xywh", "size", "other_labels")


def attach_boxes(
    frame: pd.DataFrame,
    labels: Sequence[str],
    options: Mapping[str, Any],
    path: Path,
    image: Spec,
    subset: bool,
) -> list[list[Box]]:
    """Read a table of boxes, one row per box; rows without coordinates (no finding) are passed over.

    frame: the translated rows, for their image keys and, with `size: table`, their width and height.
    options:
        file           CSV or Parquet, by default the manifest itself
        image          where the image key stands, by default as in the manifest's columns
        label          column of the finding, or constant_label: one finding for all boxes
        label_names    written name -> label
        corners        the four columns of x0, y0, x1, y1; or xywh: those of x, y, width, height
        size           what coordinates are divided by: [width, height] in pixels, [column, column] of the box file,
                       "table" for the manifest's own width and height, or None: they are shares of the image already
        other_labels   "error" (default) or "drop", for findings that are not among the labels
    Returns one list of (label, x0, y0, x1, y1) in [0, 1] per row of `frame`. DataError names file, row and remedy.
    """
    known_options(options, OPTIONS, f"{path}: boxes")
    origin = str(path)
    raw = read_table(path)
    if ("corners" in options) == ("xywh" in options):
        raise DataError(f"{origin}: boxes needs either corners: [x0, y0, x1, y1] or xywh: [x, y, width, height]")
    numbers = _numbers(raw, list(options.get("corners") or options["xywh"]), origin)
    given = np.isfinite(numbers).all(axis=1)
    raw, numbers = raw[given], numbers[given]
    if "xywh" in options:
        numbers = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    positions = pd.Index(frame["image"]).get_indexer(pd.Index(values(raw, options.get("image", image), origin)))
    if (positions < 0).any() and not subset:
        row = int(np.flatnonzero(positions < 0)[0])
        raise DataError(
            f"{origin}, row {int(raw.index[row]) + 1}: the box belongs to an image that is not in the manifest "
            f"({int((positions < 0).sum())} such boxes); correct boxes.image, or allow it with subset: true"
        )
    findings = _findings(raw, labels, options, origin)
    kept = (positions >= 0) & findings.isin(list(labels)).to_numpy()
    scale = _scale(raw, frame, positions, options.get("size"), origin)
    return box_lists(positions[kept], findings[kept].tolist(), (numbers / scale)[kept], len(frame))


def _numbers(raw: pd.DataFrame, names: list[str], origin: str) -> np.ndarray:
    """Four columns as (M, 4) float64, NaN where all four are empty; DataError where only some are, or are no numbers."""
    text = pd.DataFrame({name: column(raw, name, origin) for name in names})
    numbers = text.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    whole = np.isfinite(numbers).all(axis=1) | text.isna().all(axis=1).to_numpy()
    if numbers.shape[1] != 4 or not whole.all():
        row = int(np.flatnonzero(~whole)[0]) if not whole.all() else 0
        found = ", ".join(map(str, text.iloc[row].tolist()))
        raise DataError(
            f"{origin}, row {row + 1}, columns {', '.join(names)}: found {found}; expected four numbers or none"
        )
    return numbers


def _findings(raw: pd.DataFrame, labels: Sequence[str], options: Mapping[str, Any], origin: str) -> pd.Series:
    if "constant_label" in options:
        return pd.Series(str(options["constant_label"]), index=raw.index, dtype=object)
    if "label" not in options:
        raise DataError(f"{origin}: boxes needs label: <column of the finding> or constant_label: <finding>")
    findings = values(raw, options["label"], origin, options.get("label_names"))
    other = np.flatnonzero(~findings.isin(list(labels)).to_numpy())
    policy = options.get("other_labels", "error")
    if policy not in ("error", "drop"):
        raise DataError(f"{origin}: boxes.other_labels is {policy!r}, expected error or drop")
    if other.size and policy == "error":
        raise DataError(
            f"{origin}, row {int(raw.index[other[0]]) + 1}: a box is labelled {findings.iloc[other[0]]!r}, which is none of "
            f"{listing(list(labels), 20)}; map it with boxes.label_names, or boxes.other_labels: drop"
        )
    return findings


def _scale(raw: pd.DataFrame, frame: pd.DataFrame, positions: np.ndarray, size: Any, origin: str) -> np.ndarray:
    """What x0, y0, x1, y1 are divided by: (1 or M, 4)."""
    if size is None:
        return np.ones((1, 4))
    if size == "table":
        size_of = frame[["width", "height"]].apply(pd.to_numeric).to_numpy(dtype=np.float64)[positions]
    elif all(isinstance(part, str) for part in size):
        size_of = np.stack(
            [pd.to_numeric(column(raw, name, origin)).to_numpy(dtype=np.float64) for name in size], axis=1
        )
    else:
        size_of = np.array([[float(part) for part in size]])
    bad = np.flatnonzero(~(np.isfinite(size_of) & (size_of > 0)).all(axis=1))
    if bad.size:
        row = int(raw.index[bad[0]]) + 1 if len(size_of) == len(raw) else 1
        raise DataError(
            f"{origin}, row {row}: image size {size_of[bad[0]].tolist()}, expected width and height in pixels"
        )
    return np.concatenate([size_of, size_of], axis=1)
