"""Which point of the input does each output pixel show? Geometric steps as matrices, composed, resampled once.

Coordinates are shares: 0 is the left or top edge of an image, 1 the right or bottom edge, whatever its size. A step's
matrix maps homogeneous output coordinates (x, y, 1) to input coordinates, so steps in a row multiply in their order.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.resample import Sampling, resample, resize
from cxrvl.errors import ConfigError

Size = tuple[int, int]


def pair(size: int | tuple[int, int] | list[int], what: str) -> Size:
    """Height and width from one number or two; ConfigError if they are not positive."""
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(height, width) < 1:
        raise ConfigError(f"{what}: size is {size}, expected at least 1 pixel")
    return height, width


class Geometric(ABC):
    """A step that moves pixels and keeps their values."""

    random = True
    sampling: Sampling | None = "bilinear"
    """How its pixels are taken; None: they are only moved, in whatever way its neighbours' are taken."""

    @abstractmethod
    def size(self, height: int, width: int) -> Size:
        """Height and width of the output for an input of this size."""

    @abstractmethod
    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        """Maps output to input coordinates, (n, 3, 3) float64, for n images of this size."""

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """Transform (B, 1, H, W) float32 in [0, 1] alone; inside a `Pipeline` neighbours are composed first.

        Sampled as PIL does ("bicubic", "nearest"), bytes stay bytes.
        """
        height, width = images.shape[-2:]
        matrix = self.matrix(len(images), height, width, needed(draw, self) if self.random else draw)
        return resample(images, matrix, self.size(height, width), self.sampling or "bilinear")


def needed(draw: Draw | None, step: object) -> Draw:
    """The draw of a random step; ConfigError where a random step stands in an evaluation pipeline."""
    if draw is None:
        raise ConfigError(
            f"{type(step).__name__} is random and has no place in evaluation; use Resize and CenterCrop there"
        )
    return draw


def identity(n: int, device: torch.device | None = None) -> Tensor:
    """(n, 3, 3) float64: every output point shows the same input point."""
    return torch.eye(3, dtype=torch.float64, device=device).repeat(n, 1, 1)


def box_matrix(x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    """Matrices (n, 3, 3) float64 of crops; x0 > x1 mirrors. All (n,) in shares of the input."""
    zero = torch.zeros_like(x0)
    return torch.stack([x1 - x0, zero, x0, zero, y1 - y0, y0, zero, zero, zero + 1], dim=1).view(-1, 3, 3)


class RandomHorizontalFlip(Geometric):
    """Mirror left and right with probability p: faithful to ACM, but puts the heart on the wrong side."""

    sampling = None

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(p, "RandomHorizontalFlip")

    def size(self, height: int, width: int) -> Size:
        return height, width

    def flips(self, draw: Draw) -> Tensor:
        """Which images are mirrored, (B,) bool."""
        return draw.uniform("flip", 1)[:, 0] < self.p

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        left = self.flips(needed(draw, self)).to(torch.float64)
        zeros = torch.zeros_like(left)
        return box_matrix(left, zeros, 1 - left, zeros + 1)


class Resize(Geometric):
    """Resize with antialiasing, as torchvision: one number is the shorter side, two are height and width."""

    random = False

    def __init__(self, size: int | tuple[int, int] | list[int]) -> None:
        self.target = pair(size, "Resize")
        self.shorter = size if isinstance(size, int) else None

    def size(self, height: int, width: int) -> Size:
        if self.shorter is None:
            return self.target
        long = int(self.shorter * max(height, width) / min(height, width))
        return (self.shorter, long) if height <= width else (long, self.shorter)

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        return identity(n, draw.keys.device if draw is not None else None)

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        return resize(images, self.size(*images.shape[-2:]))

    def fov(self, fov: Tensor) -> Tensor:
        """The field of view stays: (B, 4) x0, y0, x1, y1 in shares of the native image."""
        return fov


class CenterCrop(Geometric):
    """Cut out the middle, rounded as torchvision does; an image smaller than that is refused, not padded."""

    random = False

    def __init__(self, size: int | tuple[int, int] | list[int]) -> None:
        self.target = pair(size, "CenterCrop")

    def size(self, height: int, width: int) -> Size:
        return self.target

    def _corner(self, height: int, width: int) -> Size:
        if self.target[0] > height or self.target[1] > width:
            raise ConfigError(
                f"CenterCrop to {self.target} of an image of {height} x {width} pixels; "
                "put a Resize to at least that before it, or lower its size"
            )
        return round((height - self.target[0]) / 2.0), round((width - self.target[1]) / 2.0)

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        box = self._box(height, width).repeat(n, 1).unbind(1)
        matrix = box_matrix(*box)
        return matrix if draw is None else matrix.to(draw.keys.device)

    def _box(self, height: int, width: int) -> Tensor:
        top, left = self._corner(height, width)
        edges = [left / width, top / height, (left + self.target[1]) / width, (top + self.target[0]) / height]
        return torch.tensor([edges], dtype=torch.float64)

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        top, left = self._corner(*images.shape[-2:])
        return images[..., top : top + self.target[0], left : left + self.target[1]]

    def fov_of(self, fov: Tensor, height: int, width: int) -> Tensor:
        """Field of view after the crop of images of this size: (B, 4) x0, y0, x1, y1 in shares of the native image."""
        box = self._box(height, width).to(fov)
        span = fov[:, 2:] - fov[:, :2]
        return torch.cat([fov[:, :2] + box[:, :2] * span, fov[:, :2] + box[:, 2:] * span], dim=1)


def probability(p: float, what: str) -> float:
    """p as a float; ConfigError outside [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise ConfigError(f"{what}: p is {p}, expected a probability from 0 to 1")
    return float(p)


def interval(
    low_high: tuple[float, float] | list[float], what: str, *, above: float = float("-inf")
) -> tuple[float, float]:
    """A range (low, high) as floats; ConfigError if it is not one or not above a bound."""
    low, high = (float(part) for part in low_high)
    if not above < low <= high < float("inf"):
        raise ConfigError(f"{what} is {list(low_high)}, expected [low, high] with low <= high, above {above:g}")
    return low, high
