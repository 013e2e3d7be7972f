"""What must a data set offer? A study table, grey pixels by key, and what besides the files decides those pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cxrvl.data.read_options import Intensity, ReadOptions, Window
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError


@runtime_checkable
class Source(Protocol):
    """A data set. Instances are picklable, constructors only keep config values; the work is in the methods.

    shareable: whether its images, report text and patient keys may leave the machine, see `cxrvl.tracking.sharing`.
    """

    name: str
    shareable: bool

    def table(self) -> StudyTable:
        """Read and check the study table; DataError where it cannot be used."""
        ...

    def read(self, image_key: str) -> np.ndarray:
        """Decode one image of the table: grey, (H, W) float32 in [0, 1]; ImageError where it cannot be read."""
        ...

    def pixel_identity(self) -> dict[str, Any]:
        """Everything besides the image files that determines pixels, as JSON values; part of the store's identity."""
        ...


@runtime_checkable
class ReportSource(Protocol):
    """A data set with report text. Sources of images with text are made one by `StudyTable.reports`."""

    name: str
    shareable: bool

    def reports(self) -> ReportTable:
        """Read and check the report table, reports without images included; DataError where it cannot be used."""
        ...


def report_table(source: Source | ReportSource) -> ReportTable:
    """The reports of a data set: its own report table, or else the text of its study table, one row per study."""
    return source.reports() if isinstance(source, ReportSource) else source.table().reports()


class FileSource:
    """Base of data sets whose image keys are files below one root: PNG, JPEG or DICOM, told apart by content.

    root: folder of the data set, a tilde is expanded; name: goes into the column `dataset`;
    intensity, window: which integer range becomes [0, 1], and whether DICOM windows count, see `ReadOptions`;
    shareable: see `Source`.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        intensity: Intensity = "auto",
        window: Window = "file",
        shareable: bool = False,
    ) -> None:
        self.root = Path(root).expanduser()
        self.name = name
        self.shareable = shareable
        self.options = ReadOptions(intensity, window)

    def read(self, image_key: str) -> np.ndarray:
        """Decode one file below the root: grey, (H, W) float32 in [0, 1]; ImageError where it cannot be read."""
        # Tables are read where no image is: the decoders cost a noticeable part of a second to import.
        from cxrvl.data.readers import read_image

        return read_image(self.path(image_key), self.options)

    def path(self, image_key: str) -> Path:
        """Return the file of one image."""
        return self.root / image_key

    def pixel_identity(self) -> dict[str, Any]:
        """The readers' version and options: the files themselves are known by key and size."""
        return dict(self.options.identity())

    def _file(self, name: str, option: str) -> Path:
        """A table or list file, relative to the root or absolute; DataError naming the config option if it is absent."""
        path = self.root / name
        if not path.is_file():
            tables = sorted(p.name for p in self.root.glob("*") if p.suffix in (".csv", ".txt", ".gz", ".parquet"))
            raise DataError(
                f"{path}: no such file; {self.name} needs it ({option}). Tables and lists in {self.root}: "
                f"{', '.join(tables) or 'none'}. Set {option} or data.root"
            )
        return path


def known_options(given: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    """Refuse misspelt keys of a mapping given in a config; DataError lists the known ones."""
    unknown = [key for key in given if key not in known]
    if unknown:
        raise DataError(f"{what}: unknown key {', '.join(map(repr, unknown))}; known keys: {', '.join(known)}")
