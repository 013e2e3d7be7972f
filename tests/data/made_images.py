"""Writes small grey images where a test's table says there are some."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(root: Path, keys: Iterable[str], mode: str = "L") -> None:
    """One 6 x 8 PNG or JPEG per key; mode "P" has a grey palette, "RGB" equal channels."""
    for number, key in enumerate(keys):
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 8), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)


def write_rows(path: Path, header: str, rows: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
