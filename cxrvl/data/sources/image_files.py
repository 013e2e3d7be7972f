"""Which image files lie below a folder? By their suffix, in a fixed order, each name once."""

import os
from collections.abc import Sequence
from pathlib import Path

from cxrvl.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def image_keys(root: Path, folder: str = "") -> tuple[list[str], list[str]]:
    """List the files below `root`/`folder`, at any depth, as sorted keys: (images, files of other kinds).

    Hidden files are no part of a data set and left out; links to folders are not followed.
    Raises DataError if there is no such folder, or one of its folders cannot be listed.
    """
    top = root / folder
    if not top.is_dir():
        raise DataError(f"{top}: no such folder; set data.root to the folder that holds the data set")
    images: list[str] = []
    others: list[str] = []

    def refuse(fault: OSError) -> None:
        raise DataError(f"{fault.filename}: the folder cannot be listed ({fault.strerror})") from fault

    for path, folders, names in os.walk(top, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(path).relative_to(root).as_posix()
        for name in names:
            if name.startswith("."):
                continue
            key = name if below == "." else f"{below}/{name}"
            (images if Path(name).suffix.lower() in SUFFIXES else others).append(key)
    return sorted(images), sorted(others)


def images_by_name(root: Path, folders: Sequence[str] | None = None) -> dict[str, str]:
    """List images by file name without suffix: name -> key. folders: where to look below `root`; None = everywhere.

    Raises DataError if a name lies in two places.
    """
    found: dict[str, str] = {}
    for folder in [""] if folders is None else folders:
        for key in image_keys(root, folder)[0]:
            name = key.rpartition("/")[2].rpartition(".")[0]
            if name in found:
                raise DataError(
                    f"{root}: image {name!r} lies in two places, {found[name]} and {key}; remove one, or name the "
                    "folders that count in data.source.image_dirs"
                )
            found[name] = key
    return found
