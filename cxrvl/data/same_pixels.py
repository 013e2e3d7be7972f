"""Which images of a store are the same to the last pixel, whatever their names? For parts that must share none."""

import numpy as np

from cxrvl.data.images import ImageStore

STRIPE = 4
"""Rows in the middle of an image that are read of all; images alike there are compared whole."""
AT_ONCE = 4096


def same_pixels(store: ImageStore, one: np.ndarray, other: np.ndarray) -> list[tuple[int, int]]:
    """Return the images of one part that are in another part, too.

    Args:
        store: of both; only a stripe of each image is read, about one page of the disk.
        one, other: store rows, (n,) and (m,) int64.

    Returns:
        (place in `one`, place in `other`) for each image of `one` that has its like, with the first one like it.
    """
    if not len(one) or not len(other):
        return []
    known: dict[bytes, list[int]] = {}
    for place, key in enumerate(_stripes(store, other)):
        known.setdefault(key, []).append(place)
    pairs = []
    for place, key in enumerate(_stripes(store, one)):
        alike = (i for i in known.get(key, ()) if np.array_equal(*store.take(np.array([one[place], other[i]]))))
        if (found := next(alike, None)) is not None:
            pairs.append((place, found))
    return pairs


def _stripes(store: ImageStore, rows: np.ndarray) -> list[bytes]:
    """The middle of each image."""
    pixels = store.pixels.view(np.ndarray)
    first = max(pixels.shape[1] // 2 - STRIPE // 2, 0)
    parts = (rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE))
    return [stripe.tobytes() for part in parts for stripe in pixels[part, first : first + STRIPE]]
