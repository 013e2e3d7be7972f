"""What does a trained run say of new files? The same numbers as evaluation, from pixels to probability."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrvl.data.images import StoreSpec, field_of_view, to_pixels
from cxrvl.data.modules.base import CXRDataModule
from cxrvl.data.readers import read_image
from cxrvl.errors import DataError, ImageError, RunError
from cxrvl.evaluation.predictions import probabilities
from cxrvl.runs.checkpoints import BEST, FINAL, load_into
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_data, build_task, quieten, set_up_process

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", "")


@dataclass(frozen=True)
class Prediction:
    """Scores of one file.

    Attributes:
        file: as given.
        probability: (L,) float32 in [0, 1], in the order of the labels.
        maps: (L, h, w) float32 class-map logits.
        fov: (4,) rectangle of the native image, in its normalised coordinates, that the maps cover.
    """

    file: Path
    probability: np.ndarray
    maps: np.ndarray
    fov: np.ndarray


class Predictor:
    """A finished run, ready to score files.

    Args:
        run: a run that is done.

    Raises:
        RunError: the run has no weights.
    """

    def __init__(self, run: Run) -> None:
        quieten()
        config = run.config()
        if run.state() != "done":
            raise RunError(f"run {run.run_id} is {run.state()}; finish it first: cxrvl train with its overrides.yaml")
        set_up_process(config)
        self.config = config
        self.data: CXRDataModule = build_data(config)
        self.labels = labels_of(run, config)
        self.task = build_task(config, pretrained=False).eval()
        best = run.checkpoints / BEST
        use_best = config["checkpoint"]["use"] == "best" and best.is_file()
        load_into(self.task, best if use_best else run.checkpoints / FINAL)

    @property
    def spec(self) -> StoreSpec:
        """Size and policy the run's images were decoded with."""
        return self.data.spec

    def __call__(self, files: Sequence[Path], batch_size: int = 32) -> Iterator[Prediction]:
        """Score files in order.

        Raises:
            ImageError: a file that cannot be read, before any score of its batch is given.
        """
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            yield from self._batch(chunk, [read_image(path) for path in chunk])

    def _batch(self, files: Sequence[Path], images: list[np.ndarray]) -> Iterator[Prediction]:
        pixels = np.stack([to_pixels(image, self.spec) for image in images])
        fov = np.array([field_of_view(i.shape[1], i.shape[0], self.spec) for i in images], dtype=np.float32)
        batch = {"image": torch.from_numpy(pixels)[:, None], "fov": torch.from_numpy(fov)}
        with torch.inference_mode():
            batch = self.data.transform(batch)
            output = self.task(batch["image"])
        scores = probabilities(output.logits.float().numpy())
        for i, file in enumerate(files):
            yield Prediction(file, scores[i], output.maps[i].float().numpy(), batch["fov"][i].numpy())


def labels_of(run: Run, config: dict[str, Any]) -> list[str]:
    """Return a run's labels, in the order of its outputs."""
    labels = config["data"].get("labels") or config["data"]["source"].get("labels")
    if not labels:
        raise RunError(f"run {run.run_id} does not name its labels in config.yaml; set data.labels and train again")
    return list(labels)


def files_in(inputs: Sequence[str]) -> list[Path]:
    """Return the image files that paths name: files, folders (recursively), or a CSV with a column `image`.

    Raises:
        DataError: a path that does not exist, a folder without images, a CSV without the column, a missing row.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"folder {path} holds no file ending in {', '.join(s for s in SUFFIXES if s)}")
            found += inside
        elif path.suffix.lower() == ".csv" and path.is_file():
            found += _listed(path)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"there is no file or folder {path}")
    return found


def _listed(path: Path) -> list[Path]:
    table = pd.read_csv(path, dtype=str)
    if "image" not in table:
        raise DataError(
            f"{path} has no column 'image' (it has: {', '.join(table.columns)}); rename the column of paths"
        )
    files = []
    for row, value in enumerate(table["image"], start=2):
        file = path.parent / str(value)
        if not file.is_file():
            raise DataError(f"{path}, line {row}: there is no file {file}; paths are relative to the CSV file")
        files.append(file)
    return files


def predict_all(
    predictor: Predictor, files: Sequence[Path], max_unreadable: int = 0
) -> tuple[list[Prediction], list[tuple[Path, str]]]:
    """Score every readable file, and list the others with the reason.

    Raises:
        ImageError: more unreadable files than `max_unreadable`.
    """
    done: list[Prediction] = []
    broken: list[tuple[Path, str]] = []
    for file in files:
        try:
            done += list(predictor([file]))
        except ImageError as error:
            broken.append((file, str(error)))
            if len(broken) > max_unreadable:
                raise ImageError(f"{error}; to go on without such files, allow some: --max-unreadable N") from error
    return done, broken
