"""Are the image files of a table there, below the root, and how large are they? Asked per folder, not per file."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cxrvl.errors import DataError

MISSING = -1
OUTSIDE = -2
FOLDER = -3


def unsafe_key(key: str) -> str | None:
    """Say why an image key is not a plain relative path below the root, or None where it is.

    Refused: empty keys, absolute paths, drive letters, backslashes, NUL bytes, and `.` or `..` as a part.
    """
    if not key:
        return "is empty"
    if key.startswith("/") or (len(key) > 1 and key[1] == ":"):
        return "is an absolute path"
    if "\\" in key:
        return "contains a backslash; keys use forward slashes"
    if "\0" in key:
        return "contains a NUL byte"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "has an empty, '.' or '..' part and may leave the root"
    return None


def file_sizes(root: Path, keys: Sequence[str]) -> np.ndarray:
    """Measure all image files of a table in bulk.

    root: the data root, itself allowed to be a symbolic link; keys: N posix paths relative to it (see `unsafe_key`).
    Returns (N,) int64 bytes; `MISSING` where there is no regular file, `FOLDER` where the key names a folder, `OUTSIDE`
    where a symbolic link leads out of the root. Raises DataError if the root is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"data root {root}: no such folder; set data.root to the folder that holds the images")
    real_root = os.path.realpath(root)
    folders: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        folders.setdefault(key.rpartition("/")[0], []).append(i)
    sizes = np.full(len(keys), MISSING, dtype=np.int64)
    real = {"": real_root}
    for folder, positions in folders.items():
        path = _real_folder(folder, real)
        names = [keys[i].rpartition("/")[2] for i in positions]
        if not _below(path, real_root):
            sizes[positions] = OUTSIDE
            continue
        found = _sizes_in(path, names, real_root)
        sizes[positions] = [found.get(name, MISSING) for name in names]
    return sizes


def _real_folder(folder: str, real: dict[str, str]) -> str:
    """Follow the links in a folder's path below the root; `real` remembers where the folders above it lie.

    MIMIC-CXR has a folder per study: asking only for the last part of each path saves most of the time.
    """
    known = folder
    while known not in real:
        known = known.rpartition("/")[0]
    path = real[known]
    for name in folder[len(known) :].strip("/").split("/") if folder != known else ():
        known = f"{known}/{name}" if known else name
        path = f"{path}/{name}"
        link = os.path.islink(path)  # noqa: PTH114 - a Path for every folder of a set costs a second
        path = real[known] = os.path.realpath(path) if link else path
    return path


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _sizes_in(folder: str, names: Iterable[str], real_root: str) -> dict[str, int]:
    wanted = set(names)
    sizes: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name not in wanted:
                    continue
                if entry.is_symlink() and not _below(os.path.realpath(entry.path), real_root):
                    sizes[entry.name] = OUTSIDE
                elif entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
                elif entry.is_dir():
                    sizes[entry.name] = FOLDER
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be listed ({error.strerror}); mend it, or its rows") from error
    return sizes
