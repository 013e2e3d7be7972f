"""Which fine structures fill the lungs? Vessel trees and mottle, drawn once per image size and reused in parts."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cxrvl.data.phantom.draws import Draws

Image = NDArray[np.float32]

TREES = 12
FIELDS = 6
# Calibre of the largest vessels, and the calibre below which they are no longer seen, in image widths.
_TRUNK, _FINEST = 0.012, 0.0013
# How often a vessel parts, per segment.
_PARTING = 0.4
# What a vessel tree covers around the hilum: distance r outwards, height y downwards.
TREE_FRAME = (-0.06, -0.34, 0.34, 0.42)


@dataclass(frozen=True)
class Textures:
    """Fine structures for images of one size, to be cut and laid.

    `trees` (TREES, h, w) vessel depth in `TREE_FRAME`, w running outwards, about 1 at the hilum; `fields` (FIELDS,
    3/2 size, 3/2 size) mottle with mean 0 and standard deviation 1; `coarse` the same without the finest grain.
    """

    trees: Image
    fields: Image
    coarse: Image


@lru_cache(maxsize=2)
def textures(size: int) -> Textures:
    """Draw the textures for images of size x size; the same numbers every time."""
    trees = np.stack([_tree(size, tree) for tree in range(TREES)])
    fields = np.stack([_field(size + size // 2, number, (0.012, 0.024, 0.05)) for number in range(FIELDS)])
    coarse = np.stack([_field(size + size // 2, FIELDS + number, (0.035, 0.07)) for number in range(FIELDS)])
    return Textures(trees, fields, coarse)


def interpolation(points: int, knots: int) -> Image:
    """Build the (points, knots) matrix that reads a line of `knots` cells at `points` cell centres, linearly."""
    place = np.clip((np.arange(points) + 0.5) * knots / points - 0.5, 0, knots - 1)
    low = np.minimum(place.astype(np.int64), max(knots - 2, 0))
    matrix = np.zeros((points, knots))
    matrix[np.arange(points), low] += 1 - (place - low)
    matrix[np.arange(points), np.minimum(low + 1, knots - 1)] += place - low
    return matrix.astype(np.float32)


def _field(size: int, number: int, grains: tuple[float, ...]) -> Image:
    total = np.zeros((size, size), dtype=np.float32)
    for grain in grains:
        knots = round(1.5 / grain)
        cells = np.arange(knots * knots)
        noise = (Draws(number, cells).uniform(f"mottle/{grain}") - 0.5).astype(np.float32).reshape(knots, knots)
        up = interpolation(size, knots)
        total += up @ noise @ up.T
    field: Image = (total - total.mean()) / total.std()
    return field


@dataclass(frozen=True)
class _Branch:
    r: float
    y: float
    angle: float
    length: float
    calibre: float


def _tree(size: int, number: int) -> Image:
    r0, y0, r1, y1 = TREE_FRAME
    wide, tall = round((r1 - r0) * size), round((y1 - y0) * size)
    canvas = np.zeros((tall, wide), dtype=np.float32)
    for branch in _grow(number):
        _stroke(canvas, branch, size)
    return canvas


def _grow(number: int) -> list[_Branch]:
    """Grow a vessel tree: trunks leave the hilum like a fan, wind, part unevenly and taper towards the pleura."""
    draw = iter(Draws(number, np.arange(60000)).uniform("tree").tolist())
    front = [
        _Branch(0.012, 0.02 * angle, angle + 0.3 * (next(draw) - 0.5), 0.022, 0.0056 + 0.0034 * next(draw))
        for angle in (-1.5, -1.1, -0.65, -0.15, 0.35, 0.7, 1.0, 1.25, 1.5)
    ]
    # The pulmonary artery's descending branch and the upper lobe's trunk make the hilum.
    front += [_Branch(0.004, -0.035, 1.5, 0.04, 0.0135), _Branch(0.008, 0.0, 1.3, 0.05, 0.0115)]
    front += [_Branch(0.0, -0.01, -1.2, 0.04, 0.011), _Branch(0.0, 0.0, 0.5, 0.035, 0.011)]
    grown: list[_Branch] = []
    while front:
        branch = front.pop()
        grown.append(branch)
        if branch.calibre < _FINEST:
            continue
        r = branch.r + branch.length * math.cos(branch.angle)
        y = branch.y + branch.length * math.sin(branch.angle)
        wind = 0.5 * (next(draw) - 0.5)
        length = 0.016 + 0.016 * next(draw)
        if next(draw) < _PARTING:
            turn = 1.0 if next(draw) < 0.5 else -1.0
            front.append(_Branch(r, y, branch.angle + turn * (0.35 + 0.5 * next(draw)), length, 0.62 * branch.calibre))
            front.append(_Branch(r, y, branch.angle - turn * 0.18, length, 0.82 * branch.calibre))
        else:
            front.append(_Branch(r, y, branch.angle + wind, length, 0.92 * branch.calibre))
    return grown


def _stroke(canvas: Image, branch: _Branch, size: int) -> None:
    """Add a straight bar with round ends; its depth grows with its calibre, as a vessel's does."""
    half = max(branch.calibre, 0.55 / size)
    along_r, along_y = math.cos(branch.angle), math.sin(branch.angle)
    start_r, start_y = branch.r - TREE_FRAME[0], branch.y - TREE_FRAME[1]
    columns = _pixels(start_r, start_r + along_r * branch.length, 2 * half, size, canvas.shape[1])
    rows = _pixels(start_y, start_y + along_y * branch.length, 2 * half, size, canvas.shape[0])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    r = (np.arange(columns.start, columns.stop) + 0.5) / size - start_r
    y = ((np.arange(rows.start, rows.stop) + 0.5) / size - start_y)[:, None]
    run = np.clip(r * along_r + y * along_y, 0.0, branch.length)
    off_r, off_y = r - run * along_r, y - run * along_y
    depth = np.sqrt(np.maximum(1.0 - (off_r * off_r + off_y * off_y) / (1.3 * half) ** 2, 0.0))
    # A vessel thinner than a pixel is drawn a pixel wide and as much fainter.
    share = branch.calibre / _TRUNK
    strength = share if half <= branch.calibre else share**0.7 * branch.calibre / half
    part = canvas[rows, columns]
    np.maximum(part, (depth * min(strength, 1.0)).astype(np.float32), out=part)


def _pixels(a: float, b: float, margin: float, size: int, end: int) -> slice:
    low, high = min(a, b) - margin, max(a, b) + margin
    return slice(max(math.floor(low * size), 0), min(math.ceil(high * size), end))
