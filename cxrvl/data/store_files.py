"""Which files make an image store, and how are they written so that a kill or a full disk leaves nothing half done?

images.npy       all squares, (N, size, size); a NumPy file, so anything can read it
index.parquet    one line per image, written last: a store without it is not finished
meta.json        what the store was made from
quarantine.csv   the images that could not be read, each with its reason
journal.jsonl    while it is being made: one line per finished image, written after its pixels are on disk
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.store_pixels import StoreSpec
from cxrvl.errors import ConfigError, DataError, RunError

IMAGES, INDEX, META, QUARANTINE, JOURNAL = (
    "images.npy",
    "index.parquet",
    "meta.json",
    "quarantine.csv",
    "journal.jsonl",
)
FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
BLOCK = bytes(1 << 20)


@dataclass(frozen=True)
class Entry:
    """What is known of one stored image.

    row: its place in images.npy. width, height: native pixels, 0 if it was not readable. file_size (bytes), mtime_ns:
    of its file when it was read, -1 for generated images. reason: why it was not readable, "" if it was.
    """

    row: int
    width: int
    height: int
    file_size: int
    mtime_ns: int
    reason: str = ""


@contextmanager
def full_disk_as_error(folder: Path, needed: int = 0) -> Iterator[None]:
    """Turn a full disk, quota or file size limit into a RunError that says how much room there is."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in FULL_DISK:
            raise
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        wanted = f"{needed / 1e9:.3f} GB are needed, " if needed else ""
        raise RunError(
            f"image store {folder}: no room to write ({fault.strerror}): {wanted}{free / 1e9:.3f} GB are free. "
            "Make room, choose another paths.stores, or a smaller data.store.size, and start again"
        ) from fault


def header(shape: tuple[int, int, int], dtype: np.dtype) -> bytes:
    """The first bytes of a NumPy file (format 1.0) of this shape."""
    stream = BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def allocate(folder: Path, count: int, spec: StoreSpec) -> None:
    """Reserve room for all squares before any work, or leave the disk as it was and raise RunError."""
    path = folder / IMAGES
    head = header((count, spec.size, spec.size), spec.dtype)
    total = len(head) + count * spec.size * spec.size * spec.dtype.itemsize
    if path.exists() and path.stat().st_size == total:
        return
    new = not folder.exists()
    partial = folder / (IMAGES + ".partial")
    try:
        with full_disk_as_error(folder, total):
            folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb", buffering=0) as stream:
                _reserve(stream.fileno(), total)
                write_at(stream.fileno(), head, 0)
                os.fsync(stream.fileno())
            partial.replace(path)
    except RunError:
        partial.unlink(missing_ok=True)
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _reserve(descriptor: int, total: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, total)
        return
    # macOS has no posix_fallocate; zeros written out reserve as well.
    for start in range(0, total, len(BLOCK)):
        write_at(descriptor, BLOCK[: total - start], start)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all bytes at an offset; the system may take them in parts (it does just before a limit)."""
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


class Writer:
    """Puts squares and their journal lines on disk, in that order. Use as a context manager."""

    def __init__(self, folder: Path, count: int, spec: StoreSpec) -> None:
        self.folder = folder
        self.start = len(header((count, spec.size, spec.size), spec.dtype))
        self.square = spec.size * spec.size * spec.dtype.itemsize
        self.waiting: list[Entry] = []

    def __enter__(self) -> "Writer":
        self.images = os.open(self.folder / IMAGES, os.O_RDWR)
        self.journal = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.images)
        os.close(self.journal)

    def put(self, entry: Entry, pixels: np.ndarray | None) -> None:
        """Write one square now; its journal line waits for `commit`."""
        if pixels is not None:
            with full_disk_as_error(self.folder):
                write_at(self.images, np.ascontiguousarray(pixels).data.cast("B"), self.start + entry.row * self.square)
        self.waiting.append(entry)

    def commit(self) -> None:
        """Make sure the squares written are on disk, then note them as finished."""
        if not self.waiting:
            return
        with full_disk_as_error(self.folder):
            os.fdatasync(self.images) if hasattr(os, "fdatasync") else os.fsync(self.images)
            lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in self.waiting).encode()
            end = os.fstat(self.journal).st_size
            view = memoryview(lines)
            try:
                while view:
                    view = view[os.write(self.journal, view) :]
                os.fsync(self.journal)
            except OSError:
                os.ftruncate(self.journal, end)
                raise
        self.waiting.clear()


def read_journal(folder: Path) -> dict[int, Entry]:
    """Finished images by row; a line cut off by a kill is removed from the file, so that new lines start afresh."""
    path = folder / JOURNAL
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    entries = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError) as fault:
            raise damaged(path, f"line {number}: {fault}") from fault
        entries[entry.row] = entry
    return entries


def write_index(
    folder: Path,
    keys: pd.DataFrame,
    entries: Iterable[Entry],
    meta: dict[str, Any],
    path: Callable[[str], Path | None],
) -> None:
    """Publish a finished store: meta.json, quarantine.csv, then index.parquet at once, then the journal goes.

    keys: `dataset` and `image` of all N rows in store order. path: file of an image, None for a generated one.
    """
    index = pd.DataFrame([asdict(entry) for entry in entries]).sort_values("row", ignore_index=True)
    index = pd.concat([keys.reset_index(drop=True), index], axis=1)
    bad = index.loc[index["reason"] != "", ["dataset", "image", "reason"]]
    bad.insert(2, "file", [str(path(key) or "") for key in bad["image"]])
    with full_disk_as_error(folder):
        _replace(folder / META, (json.dumps(meta, indent=2, sort_keys=True) + "\n").encode())
        _replace(folder / QUARANTINE, bad.to_csv(index=False).encode())
        stream = BytesIO()
        index.to_parquet(stream, index=False)
        _replace(folder / INDEX, stream.getvalue())
        (folder / JOURNAL).unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_index(folder: Path) -> pd.DataFrame | None:
    """The index of a finished store, None where there is none yet; DataError if it is damaged."""
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        index = pd.read_parquet(path)
    except ValueError as fault:  # pyarrow's errors for what is no Parquet file, or half of one
        raise damaged(path, str(fault).splitlines()[0]) from fault
    missing = {"dataset", "image", *Entry.__dataclass_fields__} - set(index.columns)
    if missing:
        raise damaged(path, f"it has no column {', '.join(sorted(missing))}")
    return index


def read_meta(folder: Path) -> dict[str, Any]:
    """What a finished store was made from (`identity`) and its number of images; DataError if it is damaged."""
    path = folder / META
    try:
        meta = json.loads(path.read_bytes())
        StoreSpec(*(meta["identity"][key] for key in ("size", "policy", "bits")))
    except (ValueError, KeyError, TypeError, ConfigError) as fault:
        raise damaged(path, f"{type(fault).__name__}: {fault}") from fault
    return meta


def damaged(path: Path, reason: str) -> DataError:
    """Return the error for a file of a store that a disk fault, or somebody, has changed."""
    return DataError(
        f"{path} is damaged ({reason}); delete the folder {path.parent} and prepare again: it is made anew from the images"
    )
