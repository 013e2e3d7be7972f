"""How does a run-length encoded mask become pixels and boxes? SIIM-ACR's relative runs, down the columns of the image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrvl.data.boxes import Corners

EMPTY = "-1"


def decode_mask(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """Decode one mask of SIIM-ACR: (height, width) bool, all False for "-1".

    text: pairs "gap length"; a gap is counted from the end of the run before it, pixels run down the first column, then
    down the second (the challenge's mask_functions.py). Raises ValueError saying what is wrong with the text.
    """
    mask = np.zeros(height * width, dtype=bool)
    if text.strip() == EMPTY:
        return mask.reshape(width, height).T
    words = text.split()
    if not words or len(words) % 2:
        raise ValueError(f"{len(words)} numbers, expected pairs of gap and length, or {EMPTY} for none")
    if not all(word.isascii() and word.isdigit() and len(word) <= len(str(mask.size)) for word in words):
        raise ValueError(f"expected whole numbers from 0 to {mask.size}, or {EMPTY} for none")
    numbers = np.array(words, dtype=np.int64)
    if (numbers[1::2] == 0).any():
        raise ValueError("a run of length 0")
    ends = np.cumsum(numbers)
    if ends[-1] > mask.size:
        raise ValueError(f"the runs end at pixel {int(ends[-1])}, expected at most {width} x {height}")
    for start, end in ends.reshape(-1, 2).tolist():
        mask[start:end] = True
    return mask.reshape(width, height).T


def component_boxes(masks: Sequence[NDArray[np.bool_]]) -> list[Corners]:
    """Draw a box around each connected part (8 neighbours) of the union of masks (H, W).

    Returns x0, y0, x1, y1 in [0, 1] of width and height at the outer edges of the pixels, from top to bottom.
    """
    from scipy import ndimage

    union = np.logical_or.reduce(masks)
    height, width = union.shape
    columns = np.flatnonzero(union.any(axis=0))
    if not columns.size:
        return []
    left = int(columns[0])
    parts, _ = ndimage.label(union[:, left : int(columns[-1]) + 1], structure=np.ones((3, 3)))
    return [
        ((left + x.start) / width, y.start / height, (left + x.stop) / width, y.stop / height)
        for y, x in ndimage.find_objects(parts)
    ]
