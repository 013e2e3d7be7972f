"""Which attention maps deserve a look, with and without knowing where the finding is?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrvl.errors import DataError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in [0, 1] of the shown image's width and height."""
COLOURS = {"K": "#FF7F2A", "Q": "#4CC3FF", "CLS": "#FF5C8A"}
"""In which colours the two sides of a comparison, and what CLS attends to, are drawn in every picture of the project."""
BOX_COLOUR = "#F0E442"
_FLAT = 1e-3
"""A map whose peak exceeds the uniform level by less than this share of it is flat: drawn without colour."""


def checked_maps(maps: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """Attention maps (n, G, h, w), non-negative, each normalised to a sum of 1.

    Raises DataError for another shape, for negative or non-finite values, and for a map that is 0 everywhere.
    """
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 4:
        raise DataError(f"{name}: expected maps of shape (images, groups, h, w), found {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise DataError(f"{name}: expected attention after the softmax, found negative or non-finite values")
    total = values.sum(axis=(2, 3), keepdims=True)
    if (total == 0).any():
        raise DataError(f"{name}: a map is 0 everywhere; expected attention after the softmax")
    return values / total


def above_uniform(attention: NDArray[np.floating]) -> NDArray[np.floating]:
    """How strongly to colour each place of a map (h, w): attention above the uniform level, up to its own maximum."""
    uniform = 1 / attention.size
    peak = float(attention.max()) - uniform
    return np.clip(attention - uniform, 0, None) / peak if peak > uniform * _FLAT else np.zeros_like(attention)


def coverage(boxes: Sequence[Box], height: int, width: int) -> NDArray[np.float64]:
    """The share of every cell of a (height, width) grid over the image that boxes cover, in [0, 1]."""
    covered = np.zeros((height, width))
    for x0, y0, x1, y1 in boxes:
        across = _overlap(x0, x1, width)
        down = _overlap(y0, y1, height)
        covered += down[:, None] * across[None]
    return np.minimum(covered, 1.0)


def _overlap(low: float, high: float, cells: int) -> NDArray[np.float64]:
    edges = np.linspace(0.0, 1.0, cells + 1)
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None) * cells


def mass_in_boxes(maps: NDArray[np.float64], boxes: Sequence[Sequence[Box]]) -> NDArray[np.float64]:
    """The attention that falls into an image's boxes: (n, G) in [0, 1]; chance is the boxes' share of the image.

    NaN for an image without a box.
    """
    height, width = maps.shape[2:]
    mass = np.full(maps.shape[:2], np.nan)
    for number, drawn in enumerate(boxes):
        if drawn:
            mass[number] = (maps[number] * coverage(drawn, height, width)).sum(axis=(1, 2))
    return mass


def entropy(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of each map as a share of the uniform map's: (n, G) in [0, 1]; low = attends to few places."""
    cells = maps.shape[2] * maps.shape[3]
    if cells == 1:
        return np.ones(maps.shape[:2])
    logs = np.log(maps, out=np.zeros_like(maps), where=maps > 0)
    return -(maps * logs).sum(axis=(2, 3)) / np.log(cells)


def sharpest_group(maps: NDArray[np.float64]) -> NDArray[np.int64]:
    """The group with the lowest entropy, per image (n,): a rule that knows neither label nor box."""
    return entropy(maps).argmin(axis=1)


def oracle_group(maps: NDArray[np.float64], boxes: Sequence[Sequence[Box]]) -> NDArray[np.int64]:
    """The group with the most attention inside the boxes, per image (n,); -1 without a box.

    This is how the paper's figure 3 was chosen (sorted by overlap with the annotation). It uses the answer, so it shows
    what the best of G maps can look like, not what the model attends to.
    """
    mass = mass_in_boxes(maps, boxes)
    known = ~np.isnan(mass).any(axis=1)
    return np.where(known, np.nan_to_num(mass, nan=-1.0).argmax(axis=1), -1)
