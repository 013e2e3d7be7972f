"""Small picklable sources for the image store's tests; importable in worker processes."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxrvl.data.readers import read_image
from cxrvl.data.studies import StudyTable


@dataclass
class FolderSource:
    """PNG files of a folder; `delay` seconds per image, `kill_at` an image key that kills the reading process."""

    root: Path
    delay: float = 0.0
    kill_at: str = ""
    version: int = 1
    name: str = "folder"

    def table(self) -> StudyTable:
        keys = sorted(path.name for path in self.root.glob("*.png"))
        return table_of(keys, self.root)

    def read(self, key: str) -> np.ndarray:
        if key == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.delay)
        return read_image(self.root / key)

    def pixel_identity(self) -> dict:
        return {"version": self.version}


@dataclass
class DrawnSource:
    """Generated images, many at a time, `delay` seconds each time: image i is constant i / 128."""

    count: int
    delay: float = 0.0
    name: str = "drawn"

    def table(self) -> StudyTable:
        return table_of([f"drawn/{i:03d}" for i in range(self.count)], None)

    def read(self, key: str) -> np.ndarray:
        raise AssertionError("read_many was expected")

    def read_many(self, keys: list[str]) -> np.ndarray:
        time.sleep(self.delay)
        return np.stack([np.full((6, 9), int(key[-3:]) / 128, np.float32) for key in keys])

    def pixel_identity(self) -> dict:
        return {}


def table_of(keys: list[str], root: Path | None) -> StudyTable:
    frame = pd.DataFrame({"image": keys, "dataset": "d", "patient": keys, "split": "train", "a": 0.0})
    return StudyTable.build(frame, ("a",), split_name="all", root=root, origin="test")


def write_folder(root: Path, count: int, shape: tuple[int, int] = (30, 40)) -> Path:
    """Random images 000.png, 001.png, ..."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i:03d}.png")
    return root
