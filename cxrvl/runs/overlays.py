"""Where on the radiograph does a class map point? One overlay PNG per file and label."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from cxrvl.data.read_options import ReadOptions
from cxrvl.data.readers import read_image
from cxrvl.errors import RunError
from cxrvl.runs.predict import Prediction

LONG_SIDE = 768
OPACITY = 0.6
NO_FILE_NAME = r"[^\w.()-]+"


def write_overlays(
    prediction: Prediction, number: int, labels: Sequence[str], folder: Path, reading: ReadOptions
) -> None:
    """Write `<number>-<file>-<label>.png`: where the map is high in its own range, as strong as the image's probability.

    A class map's own probabilities tell little: heads that pool by attention leave them near 1 all over the image.

    Raises:
        RunError: the run's network has no class maps.
    """
    if prediction.maps is None:
        raise RunError("the run's network has no class maps, so there is nothing to overlay; leave --maps out")
    folder.mkdir(parents=True, exist_ok=True)
    grey = _shrunk(read_image(prediction.file, reading))
    for label, logits, probability in zip(labels, prediction.maps, prediction.probability, strict=True):
        heat = _placed(probability * _relative(logits), prediction.fov, grey.shape)
        name = f"{number:05d}-{prediction.file.stem}-{re.sub(NO_FILE_NAME, '_', label)}.png"
        Image.fromarray(_blend(grey, heat)).save(folder / name)


def _relative(logits: np.ndarray) -> np.ndarray:
    """Scale a map to [0, 1] by its own range; a constant map points nowhere and is zero."""
    low, high = float(logits.min()), float(logits.max())
    return (logits - low) / (high - low) if high > low else np.zeros_like(logits)


def _shrunk(image: np.ndarray) -> np.ndarray:
    scale = min(1.0, LONG_SIDE / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _placed(heat: np.ndarray, fov: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sample a map (h, w) covering `fov` on the pixels of a native image; zero outside what the model saw."""
    height, width = shape
    x = ((np.arange(width) + 0.5) / width - fov[0]) / (fov[2] - fov[0]) * heat.shape[1] - 0.5
    y = ((np.arange(height) + 0.5) / height - fov[1]) / (fov[3] - fov[1]) * heat.shape[0] - 0.5
    seen = ((x >= -0.5) & (x <= heat.shape[1] - 0.5))[None] & ((y >= -0.5) & (y <= heat.shape[0] - 0.5))[:, None]
    return np.where(seen, _bilinear(heat, y, x), 0.0)


def _bilinear(heat: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    y, x = np.clip(y, 0, heat.shape[0] - 1), np.clip(x, 0, heat.shape[1] - 1)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    y1, x1 = np.minimum(y0 + 1, heat.shape[0] - 1), np.minimum(x0 + 1, heat.shape[1] - 1)
    fy, fx = (y - y0)[:, None], (x - x0)[None]
    top = heat[y0][:, x0] * (1 - fx) + heat[y0][:, x1] * fx
    bottom = heat[y1][:, x0] * (1 - fx) + heat[y1][:, x1] * fx
    return top * (1 - fy) + bottom * fy


def _blend(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    colour = np.asarray(colormaps["inferno"](heat))[..., :3]
    alpha = OPACITY * heat[..., None]
    return np.round(255 * (grey[..., None] * (1 - alpha) + colour * alpha)).clip(0, 255).astype(np.uint8)
