"""Are two tables the same data? SHA-256 digests of columns, independent of row order and machine."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from cxrvl.data.boxes import CORNERS, long_boxes

# Boxes that differ by less than a millionth of the image are the same annotation read through another file format.
BOX_STEPS = 1_000_000


def digest(*columns: Iterable[str]) -> str:
    """SHA-256 of string columns, in order; strings may hold any character (each is preceded by its length in bytes)."""
    total = hashlib.sha256()
    for column in columns:
        parts = [value.encode() for value in column]
        lengths = np.fromiter(map(len, parts), dtype="<i8", count=len(parts))
        total.update(np.int64(len(parts)).astype("<i8").tobytes())
        total.update(lengths.tobytes())
        total.update(b"".join(parts))
    return total.hexdigest()


def order_by_key(frame: pd.DataFrame, key: str = "image") -> np.ndarray:
    """Positions (N,) that sort a table by (dataset, key column), by code points, so on every machine alike."""
    keys = list(zip(frame["dataset"].tolist(), frame[key].tolist(), strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def labels_digest(labels: tuple[str, ...], values: np.ndarray) -> str:
    """SHA-256 of label names in order and values (N, L) in {1, 0, -1, NaN}, rows already sorted by key."""
    # NaN has many bit patterns; 2 stands for "not stated".
    codes = np.where(np.isnan(values), 2, values).astype(np.int8)
    return hashlib.sha256(digest(labels).encode() + np.ascontiguousarray(codes).tobytes()).hexdigest()


def boxes_digest(frame: pd.DataFrame) -> str:
    """SHA-256 of all boxes of a table sorted by key, whatever their order within an image."""
    boxes = long_boxes(frame["boxes"])
    corners = np.rint(boxes[list(CORNERS)].to_numpy(dtype=np.float64) * BOX_STEPS).astype(np.int64)
    labels = boxes["label"].tolist()
    lines = sorted(zip(boxes["row"].tolist(), labels, *corners.T.tolist(), strict=True))
    keys = frame["image"].tolist()
    return digest(f"{keys[row]}\t{label}\t{x0},{y0},{x1},{y1}" for row, label, x0, y0, x1, y1 in lines)
