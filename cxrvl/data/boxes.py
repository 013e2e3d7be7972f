"""What is a lesion box, is it a possible one, and where does a model see it? Boxes as lists per image and as one long table.

A box is `(label, x0, y0, x1, y1)`: a finding and the rectangle around it, x and y in [0, 1] of the native
image's width and height, origin at the top left corner. An image without box annotation carries an empty list.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxrvl.errors import DataError

Box = tuple[str, float, float, float, float]
Corners = tuple[float, float, float, float]
CORNERS = ("x0", "y0", "x1", "y1")

# Annotation tools round outwards; a box may pass the border by this share of the image before it is called wrong.
BORDER_TOLERANCE = 0.005


def box_lists(rows: np.ndarray, labels: Sequence[str], corners: np.ndarray, n: int) -> list[list[Box]]:
    """Collect boxes into one list per image.

    rows: (M,) int image rows below n; labels: M finding names; corners: (M, 4) x0, y0, x1, y1 in [0, 1].
    Overshoot within `BORDER_TOLERANCE` is clipped to the border; larger faults stay, for the table's checks to name.
    """
    near = (corners >= -BORDER_TOLERANCE) & (corners <= 1 + BORDER_TOLERANCE)
    clipped = np.where(near, np.clip(corners, 0.0, 1.0), corners)
    lists: list[list[Box]] = [[] for _ in range(n)]
    for row, label, (x0, y0, x1, y1) in zip(rows.tolist(), labels, clipped.tolist(), strict=True):
        lists[row].append((label, x0, y0, x1, y1))
    return lists


def long_boxes(boxes: pd.Series) -> pd.DataFrame:
    """Lay the `boxes` column of a study table out as one row per box.

    Returns columns `row` (int64, position of the image), `label`, `x0`, `y0`, `x1`, `y1` (float64), in table order.
    Raises DataError, naming the row, where an entry is not a list of five-part boxes.
    """
    rows: list[int] = []
    parts: list[Box] = []
    for row, (name, entry) in enumerate(boxes.items()):
        if not isinstance(entry, list):
            raise DataError(
                f"boxes in row {name}: found {entry!r} ({type(entry).__name__}), expected a list of "
                "(label, x0, y0, x1, y1); use an empty list for an image without boxes"
            )
        for box in entry:
            if len(box) != 1 + len(CORNERS):
                raise DataError(f"boxes in row {name}: found {box!r}, expected (label, x0, y0, x1, y1)")
            rows.append(row)
            parts.append(tuple(box))
    frame = pd.DataFrame(parts, columns=["label", *CORNERS])
    frame = frame.astype(dict.fromkeys(CORNERS, "float64"))
    frame.insert(0, "row", np.asarray(rows, dtype=np.int64))
    return frame


def bad_boxes(boxes: pd.DataFrame) -> pd.Series:
    """Mark the impossible boxes of a long table: not finite, outside [0, 1], or without area (x1 <= x0, y1 <= y0)."""
    corners = boxes[list(CORNERS)].to_numpy(dtype=np.float64)
    inside = np.isfinite(corners) & (corners >= 0.0) & (corners <= 1.0)
    proper = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    return pd.Series(~(inside.all(axis=1) & proper), index=boxes.index)


def seen(corners: Corners, fov: np.ndarray) -> Corners:
    """Move a box from native image coordinates to those of an input that covers `fov` (4,) of the native image."""
    width, height = fov[2] - fov[0], fov[3] - fov[1]
    x0, x1 = (float(np.clip((v - fov[0]) / width, 0, 1)) for v in (corners[0], corners[2]))
    y0, y1 = (float(np.clip((v - fov[1]) / height, 0, 1)) for v in (corners[1], corners[3]))
    return x0, y0, x1, y1
