"""Where does a class map point? Maps of logits become marks: peaks with a rating, a place and a region. No torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MarkOptions:
    """How maps are read.

    max_marks: marks per map at most, highest first; there is always one.
    min_separation: peaks closer than this share of the map's side (in x and in y) count as one, the higher.
    smoothing: standard deviation of a Gaussian over the enlarged map, in cells of the original map; 0 is none, and the
        highest rating then is the map's own maximum.
    resolution: maps are enlarged to at least this many cells a side, by the smallest odd factor.
    region_level: a mark's region is the connected part around its peak where the map exceeds
        background + region_level x (peak - background), the background being the median of the map.
    """

    max_marks: int = 5
    min_separation: float = 0.1
    smoothing: float = 0.0
    resolution: int = 64
    region_level: float = 0.5


@dataclass(frozen=True)
class Marks:
    """Marks of M maps, K = max_marks each: arrays (M, K); coordinates in [0, 1] of the map's width and height.

    Where a map has fewer than K peaks, `rating` is NaN in the places left over, and the rest has no meaning.
    """

    rating: Floats
    x: Floats
    y: Floats
    region: Floats
    """(M, K, 4): x0, y0, x1, y1, the outer edges of the region's bounding box"""


def find_marks(maps: NDArray[np.float32], options: MarkOptions) -> Marks:
    """Peaks of class maps, highest first.

    Maps are enlarged bilinearly (half-pixel centres, borders repeated, as torch's `align_corners=False`). The factor is
    odd, so that every original cell's centre is a cell of the enlarged map and no maximum is averaged away. A peak is a
    cell that nothing within `min_separation` exceeds; of equal ones the most central is taken. All but the highest must
    also exceed the map's background, its median: a flat floor has no peaks.

    Args:
        maps: (M, h, w) finite logits.
    """
    large = enlarge(maps, options)
    count, height, width = large.shape
    reach = (max(1, round(options.min_separation * height)), max(1, round(options.min_separation * width)))
    background = np.median(large.reshape(count, -1), axis=1)
    alive, value, row, column = _candidates(large, reach, background)
    shape = (count, options.max_marks)
    rating, x, y = (np.full(shape, np.nan, dtype=np.float32) for _ in range(3))
    region = np.full((*shape, 4), np.nan, dtype=np.float32)
    for number in range(options.max_marks):
        found = np.flatnonzero(alive.any(axis=1))
        if not len(found):
            break
        place = alive[found].argmax(axis=1)
        peak, down, across = value[found, place], row[found, place], column[found, place]
        near = (np.abs(row[found] - down[:, None]) <= reach[0]) & (np.abs(column[found] - across[:, None]) <= reach[1])
        alive[found] &= ~near
        rating[found, number] = peak
        x[found, number], y[found, number] = (across + 0.5) / width, (down + 0.5) / height
        level = background[found] + options.region_level * (peak - background[found])
        region[found, number] = _regions(large[found], down, across, level)
    return Marks(rating, x, y, region)


def _candidates(
    large: Floats, reach: tuple[int, int], background: Floats
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Cells above background that nothing within reach exceeds: (M, C) there or not, value, row, column; best first."""
    count, height, width = large.shape
    highest = ndimage.maximum_filter(large, size=(1, 2 * reach[0] + 1, 2 * reach[1] + 1), mode="nearest")
    away = np.hypot((np.arange(height) - (height - 1) / 2)[:, None], np.arange(width) - (width - 1) / 2)
    # where half of a map is its maximum nothing rises above the background: the most central maximum stands for all
    flat = np.flatnonzero(large.max(axis=(1, 2)) <= background)
    central = (
        np.where(large[flat] >= background[flat, None, None], away, np.inf).reshape(-1, height * width).argmin(axis=1)
    )
    peaks = np.nonzero((large == highest) & (large > background[:, None, None]))
    ours = (flat, *np.divmod(central, width))
    which, row, column = (np.concatenate(pair) for pair in zip(peaks, ours, strict=True))
    value = large[which, row, column]
    order = np.lexsort((away[row, column], -value, which))
    which, row, column, value = which[order], row[order], column[order], value[order]
    found = np.bincount(which, minlength=count)
    rank = np.arange(len(which)) - np.repeat(np.cumsum(found) - found, found)
    shape = (count, int(found.max(initial=0)))
    alive, values = np.zeros(shape, dtype=bool), np.full(shape, -np.inf, dtype=np.float32)
    rows, columns = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    alive[which, rank] = True
    values[which, rank], rows[which, rank], columns[which, rank] = value, row, column
    return alive, values, rows, columns


def enlarge(maps: NDArray[np.float32], options: MarkOptions) -> Floats:
    """Maps (M, h, w) enlarged bilinearly by an odd factor to at least `resolution` a side, then smoothed."""
    shape = maps.shape[1:]
    factors = [_odd(options.resolution / side) for side in shape]
    down, across = (_interpolation(side, factor) for side, factor in zip(shape, factors, strict=True))
    # in float64, so that what is equal in the map stays equal
    large = np.matmul(np.matmul(down, maps.astype(np.float64)), across.T).astype(np.float32)
    if options.smoothing > 0:
        widths = (0.0, *(options.smoothing * factor for factor in factors))
        large = ndimage.gaussian_filter(large, widths, mode="nearest")
    return np.asarray(large, dtype=np.float32)


def _odd(ratio: float) -> int:
    """The smallest odd whole number that is at least `ratio`."""
    whole = max(1, int(np.ceil(ratio)))
    return whole + 1 - whole % 2


def _interpolation(side: int, factor: int) -> NDArray[np.float64]:
    """Matrix (side * factor, side) of bilinear weights."""
    centre = np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, side - 1)
    low = np.minimum(centre.astype(np.int64), max(side - 2, 0))
    matrix = np.zeros((side * factor, side))
    every = np.arange(side * factor)
    matrix[every, low] = 1 - (centre - low)
    matrix[every, np.minimum(low + 1, side - 1)] += centre - low
    return matrix


def _regions(maps: Floats, row: NDArray[np.int64], column: NDArray[np.int64], level: Floats) -> Floats:
    """Bounding boxes (M, 4) of the connected part above `level` that holds (row, column), in [0, 1]."""
    above = maps >= level[:, None, None]
    every = np.arange(len(maps))
    # one labelling for the whole stack, with no connection from map to map
    plane = np.zeros((3, 3, 3), dtype=bool)
    plane[1] = ndimage.generate_binary_structure(2, 1)
    parts, _ = ndimage.label(above, structure=plane)
    inside = (parts == parts[every, row, column][:, None, None]) & above
    boxes = []
    for axis, side in ((1, maps.shape[2]), (2, maps.shape[1])):
        line = inside.any(axis=axis)
        boxes += [line.argmax(axis=1) / side, 1 - line[:, ::-1].argmax(axis=1) / side]
    return np.stack([boxes[0], boxes[2], boxes[1], boxes[3]], axis=1).astype(np.float32)
