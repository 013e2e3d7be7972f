"""How does a tensor become a small picture with boxes and attention on it? Arrays and Pillow alone, no figure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from cxrvl.evaluation.attention import BOX_COLOUR, COLOURS, Box, above_uniform

SIDE = 256
"""Longest side of a picture in pixels: enough to see where, small enough to keep many."""
OPACITY = 0.8
Pixels = NDArray[np.uint8]


def grey(image: NDArray[np.floating]) -> Pixels:
    """Turn a model's input (1, H, W) or (3, H, W) in [0, 1] into (h, w) or (h, w, 3) uint8 of at most `SIDE` px."""
    values = np.moveaxis(image, 0, -1)
    flat = values[..., 0] if values.shape[-1] == 1 else values
    eight_bit = np.round(255 * np.nan_to_num(flat).clip(0.0, 1.0)).astype(np.uint8)
    return _resized(eight_bit, grow=False)


def with_boxes(pixels: Pixels, boxes: Sequence[Box]) -> Pixels:
    """Return the picture at `SIDE` px, in colour, with boxes (x0, y0, x1, y1) in [0, 1] of it outlined."""
    canvas = Image.fromarray(_colour(_resized(pixels, grow=True)))
    draw = ImageDraw.Draw(canvas)
    across, down = canvas.width - 1, canvas.height - 1
    for x0, y0, x1, y1 in boxes:
        corners = (round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down))
        draw.rectangle(_grown(corners, 1), outline="black", width=4)
        draw.rectangle(corners, outline=BOX_COLOUR, width=2)
    return np.asarray(canvas)


def with_attention(pixels: Pixels, attention: NDArray[np.floating], side: str, boxes: Sequence[Box] = ()) -> Pixels:
    """Return the picture at `SIDE` px with a softmax map (h, w) of side K or Q in that side's colour, and boxes."""
    base = _colour(_resized(pixels, grow=True)).astype(np.float32)
    strength = Image.fromarray(above_uniform(attention).astype(np.float32))
    height, width = base.shape[:2]
    alpha = OPACITY * np.asarray(strength.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    tint = np.array(ImageColor.getrgb(COLOURS[side]), dtype=np.float32)
    return with_boxes(np.round(base * (1 - alpha) + tint * alpha).astype(np.uint8), boxes)


def beside(parts: Sequence[Pixels], gap: int = 4) -> Pixels:
    """Lay colour pictures of equal height out from left to right, a white gap between."""
    white = np.full((parts[0].shape[0], gap, 3), 255, dtype=np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, white)][:-1], axis=1)


def _resized(pixels: Pixels, grow: bool) -> Pixels:
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale == 1 or (scale > 1 and not grow):
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, way))


def _colour(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _grown(corners: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = corners
    return x0 - by, y0 - by, x1 + by, y1 + by
