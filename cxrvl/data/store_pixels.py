"""How does a radiograph of any size become one square of stored pixels, and which part of it does the square show?"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from cxrvl.errors import ConfigError, DataError

Policy = Literal["squash", "pad", "crop"]
LARGEST = 8192

# Raise by hand whenever `to_pixels` returns other numbers: it enters every store's id.
PIXELS_VERSION = 1


@dataclass(frozen=True)
class StoreSpec:
    """The square that an image store keeps of every image.

    size: side in pixels. policy: "squash" scales both sides to it (aspect lost), "pad" scales the long side and centres
    the image on black, "crop" scales the short side and keeps the centre. bits: 8 or 16 per pixel.
    """

    size: int
    policy: Policy = "squash"
    bits: Literal[8, 16] = 8

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not 1 <= self.size <= LARGEST:
            raise ConfigError(f"store size {self.size!r}: expected a whole number of pixels from 1 to {LARGEST}")
        if self.policy not in get_args(Policy):
            raise ConfigError(f"store policy {self.policy!r} is unknown; choose one of {', '.join(get_args(Policy))}")
        if self.bits not in (8, 16):
            raise ConfigError(f"store bits {self.bits!r}: expected 8 or 16")

    @property
    def dtype(self) -> np.dtype:
        """uint8 or uint16 (little endian, so that a store can be moved between machines)."""
        return np.dtype("u1" if self.bits == 8 else "<u2")

    @property
    def full(self) -> int:
        """The stored value of 1.0."""
        return 2**self.bits - 1


def to_pixels(image: np.ndarray, spec: StoreSpec) -> np.ndarray:
    """Resize one image and round it; the store and `predict` both call this, so they see the same numbers.

    image: (H, W) float32 in [0, 1]. Returns (size, size) of `spec.dtype`. Resampling is Pillow's bilinear filter, which
    widens with the scale and so does not alias (torchvision's `Resize` with antialias); an image of the right size is
    not resampled. Rounding is half to even. Raises DataError if the image is empty, has another shape or other values.
    """
    if image.ndim != 2 or not image.size:
        raise DataError(f"an image of shape {image.shape} came from its source; (height, width) was expected")
    low, high = float(image.min()), float(image.max())
    # Written so that NaN fails as well.
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(f"pixels from {low:g} to {high:g} came from their source; [0, 1] was expected")
    height, width = image.shape
    target, box, offset = _geometry(width, height, spec)
    if target != (width, height) or box != (0.0, 0.0, width, height):
        source = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        image = np.asarray(source.resize(target, Image.Resampling.BILINEAR, box=box))
    pixels = np.rint(np.clip(image.astype(np.float64) * spec.full, 0, spec.full)).astype(spec.dtype)
    if spec.policy != "pad":
        return pixels
    square = np.zeros((spec.size, spec.size), dtype=spec.dtype)
    square[offset[1] : offset[1] + target[1], offset[0] : offset[0] + target[0]] = pixels
    return square


def field_of_view(native_w: float, native_h: float, spec: StoreSpec) -> tuple[float, float, float, float]:
    """Rectangle (x0, y0, x1, y1) that the stored square covers, in units of the native image's width and height.

    "squash" covers exactly (0, 0, 1, 1), "pad" exceeds it, "crop" lies inside.
    """
    target, box, offset = _geometry(int(native_w), int(native_h), spec)
    x0 = box[0] / native_w - offset[0] / target[0]
    y0 = box[1] / native_h - offset[1] / target[1]
    if spec.policy == "pad":
        return x0, y0, x0 + spec.size / target[0], y0 + spec.size / target[1]
    return x0, y0, box[2] / native_w, box[3] / native_h


def _geometry(
    width: int, height: int, spec: StoreSpec
) -> tuple[tuple[int, int], tuple[float, float, float, float], tuple[int, int]]:
    """Size of the resized image, the native rectangle it is made from, and its place (x, y) in the square."""
    whole = (0.0, 0.0, float(width), float(height))
    if spec.policy == "squash":
        return (spec.size, spec.size), whole, (0, 0)
    if spec.policy == "crop":
        side = min(width, height)
        x0, y0 = (width - side) / 2, (height - side) / 2
        return (spec.size, spec.size), (x0, y0, x0 + side, y0 + side), (0, 0)
    scale = spec.size / max(width, height)
    target = (max(round(width * scale), 1), max(round(height * scale), 1))
    return target, whole, ((spec.size - target[0]) // 2, (spec.size - target[1]) // 2)
