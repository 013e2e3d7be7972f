"""What is a picture of a run, where is it kept, and what must a logger offer to be shown one?"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrvl.files import write_atomic

log = logging.getLogger(__name__)
PAGES = "pages"
LIST = "pictures.json"
KINDS = ("val/worst_errors", "val/attention", "val/cls_attention", "train/inputs", "train/views")
"""Under which names pictures are kept and logged, in the order a page shows them."""


@runtime_checkable
class PictureLogger(Protocol):
    """A logger that can carry pictures away from this machine; see `cxrvl.tracking.sharing` for who may get any.

    Attributes:
        share_data: whether the user lets pictures, report text and image keys leave through this logger.
    """

    share_data: bool

    def log_pictures(self, key: str, pictures: list[np.ndarray], captions: list[str], step: int) -> None:
        """Log uint8 pictures (H, W) or (H, W, 3) with one caption each, at an optimiser step; first rank alone."""
        ...


@dataclass(frozen=True)
class Picture:
    """One picture: uint8 (H, W) or (H, W, 3), what it shows, and of which radiograph.

    Attributes:
        kind: one of `KINDS`.
        caption: what is to be seen, without patient, image key or report text.
        image: the study table's image key.
        report: the radiograph's report text, "" without one.
    """

    pixels: NDArray[np.uint8]
    kind: str
    caption: str
    image: str
    report: str = ""


@dataclass(frozen=True)
class Kept:
    """One picture on disk: `file` lies in the run's folder `pages`; the rest as in `Picture`."""

    file: str
    step: int
    epoch: int
    kind: str
    caption: str
    image: str
    report: str


def keep(folder: Path, pictures: Sequence[Picture], step: int, epoch: int) -> None:
    """Write a run's pictures of one validation; what an attempt that was cut short wrote from here on is dropped."""
    place = folder / PAGES
    place.mkdir(parents=True, exist_ok=True)
    known = kept(folder)
    lines = [line for line in known if line.step < step]
    for number, picture in enumerate(pictures):
        name = f"{step:08d}-{number:02d}-{picture.kind.partition('/')[2]}.png"
        Image.fromarray(picture.pixels).save(place / name)
        lines.append(Kept(name, step, epoch, picture.kind, picture.caption, picture.image, picture.report))
    text = json.dumps([asdict(line) for line in lines], indent=1)
    write_atomic(place / LIST, lambda file: file.write(text.encode()))
    for stale in {line.file for line in known} - {line.file for line in lines}:
        (place / stale).unlink(missing_ok=True)


def kept(folder: Path) -> list[Kept]:
    """Return a run's pictures, oldest first; none, and a warning, where their list is damaged."""
    path = folder / PAGES / LIST
    try:
        entries = json.loads(path.read_text())
        return [Kept(**{field.name: entry[field.name] for field in fields(Kept)}) for entry in entries]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s); the next pictures start a new list", path, error)
        return []


def told(picture: Picture | Kept) -> str:
    """Return what a logger is told of a picture: the image key and what is to be seen, never report text."""
    return f"{picture.image}: {picture.caption}"


def show(loggers: Sequence[PictureLogger], pictures: Sequence[Picture], step: int) -> None:
    """Hand pictures to loggers that may have them (`cxrvl.tracking.sharing.receivers`), one list per kind."""
    for kind in KINDS:
        some = [picture for picture in pictures if picture.kind == kind]
        for logger in loggers if some else ():
            captions = [told(picture) for picture in some]
            logger.log_pictures(kind, [picture.pixels for picture in some], captions, step)
