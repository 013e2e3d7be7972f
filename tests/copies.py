"""What happens to a radiograph on its way into another public set? Changes of square pictures (S, S) uint8."""

import io

import numpy as np
from PIL import Image


def resized(image: Image.Image, side: int) -> np.ndarray:
    """Return a picture scaled to a square."""
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def encoded(picture: np.ndarray, quality: int = 50) -> np.ndarray:
    """Return a picture after JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def smaller(picture: np.ndarray) -> np.ndarray:
    """Return a picture scaled to 96 pixels and back."""
    return resized(Image.fromarray(resized(Image.fromarray(picture), 96)), len(picture))


def cropped(picture: np.ndarray) -> np.ndarray:
    """Return a picture without 2 % at each edge, scaled back."""
    edge = round(0.02 * len(picture))
    return resized(Image.fromarray(picture[edge:-edge, edge:-edge]), len(picture))


def brighter(picture: np.ndarray) -> np.ndarray:
    """Return a picture with more contrast and brightness, some of it lost in white."""
    return np.clip(picture * 1.2 + 10, 0, 255).astype(np.uint8)


def darker(picture: np.ndarray) -> np.ndarray:
    """Return a picture with another gamma."""
    return (255 * (picture / 255.0) ** 1.5).astype(np.uint8)


def rotated(picture: np.ndarray) -> np.ndarray:
    """Return a picture rotated by a degree, corners black."""
    return np.asarray(Image.fromarray(picture).rotate(1, Image.Resampling.BILINEAR))


def letterboxed(picture: np.ndarray) -> np.ndarray:
    """Return a picture with black bars of a tenth of its width at both sides, after JPEG."""
    side = len(picture)
    bar = side // 10
    canvas = np.zeros((side, side), dtype=np.uint8)
    inside = Image.fromarray(picture).resize((side - 2 * bar, side), Image.Resampling.BILINEAR)
    canvas[:, bar:-bar] = np.asarray(inside)
    return encoded(canvas)


CHANGES = {
    "jpeg": encoded,
    "resize": smaller,
    "crop": cropped,
    "brightness": brighter,
    "gamma": darker,
    "rotation": rotated,
    "letterbox": letterboxed,
    "mirror": lambda picture: encoded(np.ascontiguousarray(picture[:, ::-1])),
    "inversion": lambda picture: encoded(255 - picture),
}
"""Each alone."""


def all_at_once(picture: np.ndarray) -> np.ndarray:
    """Return a picture rotated, cropped, brightened and encoded."""
    return encoded(brighter(cropped(rotated(picture))))
