"""Which random views of a radiograph are drawn? Crops resized to one size, and small rotations, shifts and shears."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import Geometric, Size, box_matrix, identity, interval, needed, pair
from cxrvl.data.transforms.resample import Sampling
from cxrvl.errors import ConfigError

TRIES = 10


class RandomResizedCrop(Geometric):
    """Cut out a random rectangle and resize it, with torchvision's distribution.

    size: output pixels; scale: range of the area's share; ratio: range of width / height, drawn uniformly in its
    logarithm. Ten rectangles are tried; if none fits, the middle is taken. Edges lie on pixels.
    interpolation: "bilinear" is composed with neighbouring steps; "bicubic" is resized as PIL does before what follows.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | list[int],
        scale: tuple[float, float] | list[float] = (0.08, 1.0),
        ratio: tuple[float, float] | list[float] = (3 / 4, 4 / 3),
        interpolation: Sampling = "bilinear",
    ) -> None:
        self.target = pair(size, "RandomResizedCrop")
        self.sampling = _one_of(interpolation, ("bilinear", "bicubic"), "RandomResizedCrop")
        self.scale = interval(scale, "RandomResizedCrop.scale", above=0.0)
        self.ratio = interval(ratio, "RandomResizedCrop.ratio", above=0.0)

    def size(self, height: int, width: int) -> Size:
        return self.target

    def boxes(self, height: int, width: int, draw: Draw) -> Tensor:
        """Rectangles (B, 4) int64 x0, y0, width, height in pixels."""
        area = _between(draw.uniform("area", TRIES), *self.scale) * (height * width)
        ratio = _between(draw.uniform("ratio", TRIES), math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        wide, high = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
        first = fits.to(torch.int8).argmax(dim=1, keepdim=True)
        fallback_w, fallback_h = self._fallback(height, width)
        none = ~fits.any(dim=1)
        w = wide.gather(1, first)[:, 0].masked_fill(none, fallback_w)
        h = high.gather(1, first)[:, 0].masked_fill(none, fallback_h)
        place = draw.uniform("place", 2).to(torch.float64)
        x0 = torch.where(none, (width - w) // 2, (place[:, 0] * (width - w + 1)).floor())
        y0 = torch.where(none, (height - h) // 2, (place[:, 1] * (height - h + 1)).floor())
        return torch.stack([x0, y0, w, h], dim=1).to(torch.int64)

    def _fallback(self, height: int, width: int) -> tuple[int, int]:
        if width / height < self.ratio[0]:
            return width, round(width / self.ratio[0])
        if width / height > self.ratio[1]:
            return round(height * self.ratio[1]), height
        return width, height

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        x0, y0, w, h = self.boxes(height, width, needed(draw, self)).to(torch.float64).unbind(1)
        return box_matrix(x0 / width, y0 / height, (x0 + w) / width, (y0 + h) / height)


class RandomRotation(Geometric):
    """Turn about the middle by an angle from a range, as torchvision; what comes in from outside is 0 (air).

    degrees: a number (range -d to d) or [low, high], counterclockwise as the picture is seen; interpolation: "bilinear"
    is composed with neighbouring steps; "nearest" takes the pixels that PIL takes, after what goes before.
    """

    def __init__(self, degrees: float | Sequence[float], interpolation: Sampling = "bilinear") -> None:
        self.degrees = _symmetric(degrees, "RandomRotation.degrees")
        self.sampling = _one_of(interpolation, ("bilinear", "nearest"), "RandomRotation")

    def size(self, height: int, width: int) -> Size:
        return height, width

    def angles(self, draw: Draw) -> Tensor:
        """Degrees counterclockwise, (B,) float64."""
        return _between(draw.uniform("angle", 1)[:, 0], *self.degrees)

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        angle = torch.deg2rad(self.angles(needed(draw, self)))
        cos, sin = angle.cos(), angle.sin()
        # Where an output pixel comes from: turned back, in pixels, about the middle.
        x, y = -sin * (height / width), sin * (width / height)
        zero = torch.zeros_like(cos)
        rows = [cos, x, 0.5 * (1 - cos - x), y, cos, 0.5 * (1 - y - cos), zero, zero, zero + 1]
        return torch.stack(rows, dim=1).view(-1, 3, 3)


class RandomAffine(Geometric):
    """Rotate, shift, scale and shear about the middle, with torchvision's meaning of each.

    degrees: a number (range -d to d) or [low, high]; translate: largest shift as shares of width and height;
    scale: range of the factor; shear: degrees along x, -s to s or [low, high]; p: share of images that are moved.
    What comes in from outside is 0 (air).
    """

    def __init__(
        self,
        degrees: float | Sequence[float] = 0.0,
        translate: Sequence[float] = (0.0, 0.0),
        scale: tuple[float, float] | list[float] = (1.0, 1.0),
        shear: float | Sequence[float] = 0.0,
        p: float = 1.0,
    ) -> None:
        self.degrees = _symmetric(degrees, "RandomAffine.degrees")
        self.translate = (float(translate[0]), float(translate[1]))
        self.scale = interval(scale, "RandomAffine.scale", above=0.0)
        self.shear = _symmetric(shear, "RandomAffine.shear")
        self.p = p
        if not all(0.0 <= share <= 1.0 for share in (*self.translate, p)):
            raise ConfigError(f"RandomAffine: translate {self.translate} and p {p} are shares from 0 to 1")

    def size(self, height: int, width: int) -> Size:
        return height, width

    def matrix(self, n: int, height: int, width: int, draw: Draw | None) -> Tensor:
        draw = needed(draw, self)
        u = draw.uniform("affine", 6).to(torch.float64)
        angle = _between(u[:, 0], *self.degrees)
        shift_x = _between(u[:, 1], -self.translate[0], self.translate[0])
        shift_y = _between(u[:, 2], -self.translate[1], self.translate[1])
        factor = _between(u[:, 3], *self.scale)
        matrix = affine_matrix(angle, shift_x, shift_y, factor, _between(u[:, 4], *self.shear), width / height)
        moved = (u[:, 5] < self.p)[:, None, None]
        return torch.where(moved, matrix, identity(n, matrix.device))


def affine_matrix(
    angle: Tensor, shift_x: Tensor, shift_y: Tensor, factor: Tensor, shear: Tensor, aspect: float
) -> Tensor:
    """Output-to-input matrices (n, 3, 3) float64 of turns about the middle.

    angle, shear: degrees, clockwise as the picture is seen; shift_x, shift_y: shares of width and height;
    factor: 2 doubles the picture; aspect: width / height, since turning happens in pixels, not in shares.
    """
    a, s = torch.deg2rad(angle), torch.deg2rad(shear)
    forward = torch.stack(
        [a.cos(), -a.cos() * s.tan() - a.sin(), a.sin(), -a.sin() * s.tan() + a.cos()], dim=1
    ).reshape(-1, 2, 2)
    inverse = torch.linalg.inv(forward * factor[:, None, None])
    units = torch.tensor([aspect, 1.0], dtype=torch.float64, device=inverse.device)
    inverse = inverse * units[None, None, :] / units[None, :, None]
    middle = torch.full((len(angle), 2), 0.5, dtype=torch.float64, device=inverse.device)
    matrix = identity(len(angle), inverse.device)
    matrix[:, :2, :2] = inverse
    shifted = (middle + torch.stack([shift_x, shift_y], dim=1))[:, :, None]
    matrix[:, :2, 2] = middle - (inverse @ shifted)[:, :, 0]
    return matrix


def _one_of(interpolation: Sampling, choices: tuple[Sampling, ...], what: str) -> Sampling:
    if interpolation not in choices:
        raise ConfigError(f"{what}: interpolation is {interpolation!r}, expected {' or '.join(map(repr, choices))}")
    return interpolation


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return u.to(torch.float64) * (high - low) + low


def _symmetric(value: float | Sequence[float], what: str) -> tuple[float, float]:
    if isinstance(value, int | float):
        return interval((-abs(value), abs(value)), what)
    return interval((value[0], value[1]), what)
