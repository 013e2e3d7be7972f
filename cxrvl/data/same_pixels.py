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
        (place in `one`, place in `other`) of each two that are alike, in the order of `one`.
    """
    if not len(one) or not len(other):
        return []
    known: dict[bytes, list[list[int]]] = {}  # of a stripe: images that differ, each with all that are like it
    for place, key in enumerate(_stripes(store, other)):
        groups = known.setdefault(key, [])
        if (like := _like(store, int(other[place]), groups, other)) is None:
            groups.append([place])
        else:
            like.append(place)
    pairs = []
    for place, key in enumerate(_stripes(store, one)):
        pairs += [(place, like) for like in _like(store, int(one[place]), known.get(key, []), other) or ()]
    return pairs


def _like(store: ImageStore, one: int, groups: list[list[int]], other: np.ndarray) -> list[int] | None:
    """The group whose images are the same as that in a store row; None where there is none."""
    alike = (group for group in groups if np.array_equal(*store.take(np.array([one, other[group[0]]]))))
    return next(alike, None)


def _stripes(store: ImageStore, rows: np.ndarray) -> list[bytes]:
    """The middle of each image."""
    pixels = store.pixels.view(np.ndarray)
    first = max(pixels.shape[1] // 2 - STRIPE // 2, 0)
    parts = (rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE))
    return [stripe.tobytes() for part in parts for stripe in pixels[part, first : first + STRIPE]]
