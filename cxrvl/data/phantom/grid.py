"""At which points is an image drawn, and which part of it does a structure touch?"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cxrvl.data.phantom.texture import interpolation

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square image: `x` (size,), `y` (size, 1) in [0, 1] float32."""

    size: int
    x: Image
    y: Image

    def span(self, low: float, high: float) -> slice:
        """Name the pixels between two coordinates, at least one."""
        first = min(max(int(low * self.size), 0), self.size - 1)
        return slice(first, min(max(int(high * self.size) + 1, first + 1), self.size))


@lru_cache(maxsize=16)
def grid(size: int) -> Grid:
    """Lay out the pixel centres of a size x size image."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return Grid(size, centres, centres[:, None])


@lru_cache(maxsize=16)
def doubling(size: int) -> Image:
    """Build the (size, coarse) matrix that enlarges soft structures drawn at about half the size."""
    return interpolation(size, coarse_size(size))


def coarse_size(size: int) -> int:
    """Choose the size at which soft structures are drawn."""
    return (size + 1) // 2


def ramp(z: Image) -> Image:
    """Clip to [0, 1] in place: the soft step of an edge whose width is one unit of z."""
    out: Image = np.clip(z, 0.0, 1.0, out=z)
    return out
