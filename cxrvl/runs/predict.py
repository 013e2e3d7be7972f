"""What does a trained run say of new files? The same numbers as evaluation, from pixels to probability."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from cxrvl.data.images import StoreSpec, field_of_view, to_pixels
from cxrvl.data.read_options import ReadOptions
from cxrvl.data.readers import read_image
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError, ImageError, RunError
from cxrvl.evaluation.predictions import probabilities
from cxrvl.runs.execute import use_weights
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_images, build_task, precision_of, quieten, set_up_process

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
DICOM_HEAD = 132
BATCH_FILES = 32


@dataclass(frozen=True)
class Prediction:
    """Scores of one file.

    Attributes:
        file: as given.
        probability: (L,) float32 in [0, 1], in the order of the labels.
        maps: (L, h, w) float32 class-map logits; None for a network that has none.
        fov: (4,) rectangle of the native image, in its normalised coordinates, that the maps cover.
    """

    file: Path
    probability: np.ndarray
    maps: np.ndarray | None
    fov: np.ndarray


class Square(NamedTuple):
    """One file as a store would hold it: (S, S) pixels, and the rectangle (4,) of the native image they cover."""

    file: Path
    pixels: np.ndarray
    fov: np.ndarray


class Predictor:
    """A finished run, ready to score files.

    Args:
        run: a run that is done.

    Raises:
        RunError: the run is not finished, or does not name its labels.
    """

    def __init__(self, run: Run) -> None:
        quieten()
        if run.state() != "done":
            raise RunError(f"run {run.run_id} is {run.state()}; finish it first: cxrvl train with its overrides.yaml")
        config = run.config()
        set_up_process(config)
        self.config = config
        self.data = build_images(config)
        self.labels = labels_of(run, config)
        self.task = build_task(config, pretrained=False).eval()
        use_weights(run, config, self.task)
        self.precision = precision_of(config)
        self.precision.convert_module(self.task)

    @property
    def spec(self) -> StoreSpec:
        """Size and policy the run's images were decoded with."""
        return self.data.spec

    @property
    def reading(self) -> ReadOptions:
        """How the run's own images were read; generated images were not.

        Raises:
            RunError: they come from several sources that are read in different ways.
        """
        source = self.data.source
        parts = source.parts.values() if isinstance(source, Mixture) else [source]
        found = {part.options for part in parts if isinstance(part, FileSource)}
        if len(found) > 1:
            raise RunError(
                f"the run's images were read in {len(found)} ways ({'; '.join(sorted(map(str, found)))}), and nothing says "
                "which is right for these files; train on sources that are read alike"
            )
        return found.pop() if found else ReadOptions()

    def read(self, file: Path) -> Square:
        """Read one file as the run's store holds its images.

        Raises:
            ImageError: a file that cannot be read.
        """
        image = read_image(file, self.reading)
        fov = np.array(field_of_view(image.shape[1], image.shape[0], self.spec), dtype=np.float32)
        return Square(file, to_pixels(image, self.spec), fov)

    def score(self, squares: Sequence[Square]) -> Iterator[Prediction]:
        """Score files that were read, in one forward pass."""
        batch = {
            "image": torch.from_numpy(np.stack([square.pixels for square in squares]))[:, None],
            "fov": torch.from_numpy(np.stack([square.fov for square in squares])),
        }
        with torch.inference_mode():
            batch = self.data.transform(batch)
            with self.precision.predict_step_context():
                output = self.task(batch["image"])
        scores = probabilities(output.logits.float().numpy())
        maps = output.maps.float().numpy() if "maps" in output._fields else [None] * len(squares)
        for i, square in enumerate(squares):
            yield Prediction(square.file, scores[i], maps[i], batch["fov"][i].numpy())


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
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _is_image(p))
            if not inside:
                raise DataError(f"folder {path} holds no PNG, JPEG or DICOM file")
            found += inside
        elif path.suffix.lower() == ".csv" and path.is_file():
            found += _listed(path)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"there is no file or folder {path}")
    return found


def _is_image(path: Path) -> bool:
    """Whether a file of a folder is meant: by its suffix, or, since archives name DICOM files as they like, its content."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as stream:
        head = stream.read(DICOM_HEAD)
    return path.name.upper() != "DICOMDIR" and head.endswith(b"DICM") and len(head) == DICOM_HEAD


def _listed(path: Path) -> list[Path]:
    table = read_table(path)
    if "image" not in table:
        raise DataError(
            f"{path} has no column 'image' (it has: {', '.join(table.columns)}); rename the column of paths"
        )
    files = []
    for row, value in enumerate(table["image"], start=2):
        if pd.isna(value):
            raise DataError(f"{path}, line {row}: the field 'image' is empty; give a path, or remove the line")
        file = path.parent / str(value)
        if not file.is_file():
            raise DataError(f"{path}, line {row}: there is no file {file}; paths are relative to the CSV file")
        files.append(file)
    return files


def predict_all(
    predictor: Predictor, files: Sequence[Path], left_out: list[ImageError], max_unreadable: int = 0
) -> Iterator[Prediction]:
    """Score every readable file, in order; what was read is kept small, whatever the files' number and size.

    Args:
        left_out: takes the unreadable files, each as the error that names it.
        max_unreadable: how many of them may be left out.

    Raises:
        ImageError: more unreadable files than `max_unreadable`.
    """
    waiting: list[Square] = []
    for file in files:
        try:
            waiting.append(predictor.read(file))
        except ImageError as error:
            left_out.append(error)
            if len(left_out) > max_unreadable:
                raise ImageError(f"{error}; to go on without such files, allow some: --max-unreadable N") from error
        if len(waiting) == BATCH_FILES:
            yield from predictor.score(waiting)
            waiting.clear()
    if waiting:
        yield from predictor.score(waiting)
