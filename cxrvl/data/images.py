"""Where do decoded images live? In an image store: made once by `prepare`, then only read, through a memory map."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.data.preparation import make_store, store_id
from cxrvl.data.store_files import IMAGES, INDEX, META, QUARANTINE, damaged, read_index, read_meta
from cxrvl.data.store_pixels import StoreSpec, field_of_view, to_pixels
from cxrvl.errors import DataError

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

__all__ = ["ImageStore", "StoreSpec", "field_of_view", "prepare", "store_id", "to_pixels"]


class ImageStore:
    """A finished store: N squares of grey pixels and what is known of each. Open it with `ImageStore.open`.

    folder: where it lies. spec: size, policy and bits. index: N lines in store order with dataset, image, row, width
    and height (native pixels), file_size, mtime_ns, reason ("" = readable). Cheap to pickle: the other process opens
    the same files.
    """

    def __init__(self, folder: Path, spec: StoreSpec, index: pd.DataFrame) -> None:
        self.folder = folder
        self.spec = spec
        self.index = index

    @classmethod
    def open(cls, folder: str | Path) -> "ImageStore":
        """Open a finished store; DataError if it is absent, unfinished or damaged."""
        folder = Path(folder)
        index = read_index(folder)
        if index is None or not (folder / META).exists():
            state = "is not finished" if (folder / IMAGES).exists() else "is no image store"
            raise DataError(f"{folder} {state} (it has no {INDEX}); make it with `cxrvl prepare`")
        meta = read_meta(folder)["identity"]
        store = cls(folder, StoreSpec(meta["size"], meta["policy"], meta["bits"]), index)
        expected = (len(index), store.spec.size, store.spec.size)
        try:
            found = store.pixels
        except (OSError, ValueError) as fault:
            raise damaged(folder / IMAGES, str(fault)) from fault
        if found.shape != expected or found.dtype != store.spec.dtype:
            raise damaged(folder / IMAGES, f"it holds {found.shape} {found.dtype}, its index says {expected}")
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStore.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def pixels(self) -> np.memmap:
        """All squares, (N, size, size) uint8 or uint16, read-only; squares of unreadable images are meaningless."""
        mapped = np.load(self.folder / IMAGES, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.memmap):
            raise ValueError("not one array")
        return mapped

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy the squares of store rows (B,) into one writable array (B, size, size) for a batch."""
        return np.take(self.pixels.view(np.ndarray), rows, axis=0)

    @cached_property
    def readable(self) -> np.ndarray:
        """Which store rows hold an image, (N,) bool."""
        return (self.index["reason"] == "").to_numpy()

    @cached_property
    def fov(self) -> np.ndarray:
        """What each square covers, (N, 4) float32: x0, y0, x1, y1 of the native width and height; NaN if unreadable."""
        sizes = self.index[["width", "height"]].to_numpy()
        out = np.full((len(self), 4), np.nan, dtype=np.float32)
        native, inverse = np.unique(sizes, axis=0, return_inverse=True)
        for i, (width, height) in enumerate(native):
            if width > 0 and height > 0:
                out[inverse.ravel() == i] = field_of_view(width, height, self.spec)
        return out

    def rows(self, table: "StudyTable") -> np.ndarray:
        """Store row of each row of a study table, (len(table),) int64.

        Raises DataError naming the first image that is not in the store, or that could not be read; leave those out
        with `available`.
        """
        rows = self._lookup(table)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            raise DataError(
                f"{missing.size} of {len(rows)} images are not in the store {self.folder}, first "
                f"{table.frame['image'].iloc[missing[0]]} (row {missing[0]}); prepare this table's own store"
            )
        broken = np.flatnonzero(~self.readable[rows])
        if broken.size:
            reason = self.index["reason"].iloc[rows[broken[0]]]
            raise DataError(
                f"{broken.size} of {len(rows)} images could not be read, first {table.frame['image'].iloc[broken[0]]} "
                f"(row {broken[0]}): {reason}. All are listed in {self.folder / QUARANTINE}"
            )
        return rows

    def available(self, table: "StudyTable") -> np.ndarray:
        """Which rows of a study table have a readable image in this store, (len(table),) bool."""
        rows = self._lookup(table)
        return (rows >= 0) & self.readable[rows]

    def _lookup(self, table: "StudyTable") -> np.ndarray:
        known = pd.MultiIndex.from_frame(self.index[["dataset", "image"]].astype(str))
        wanted = pd.MultiIndex.from_frame(table.frame[["dataset", "image"]].astype(str))
        return known.get_indexer(wanted).astype(np.int64)


def prepare(
    source: Any,
    table: "StudyTable",
    spec: StoreSpec,
    root_folder: str | Path,
    workers: int | None = None,
    max_unreadable: int = 0,
    progress: bool = True,
) -> ImageStore:
    """Decode every image of a table once and open the finished store; instant if it is finished already.

    source: a `Source` (picklable); its `read_many` is used if it has one. root_folder: the store becomes the folder
    `store_id(...)` in it. workers: processes, by default one per core this process may use; 0 = none but this one.
    max_unreadable: how many broken images are acceptable. progress: show a bar, if this is a terminal.

    Safe to kill and to start twice: finished images are journalled, a second process waits for the first. Images whose
    files have changed, and unreadable ones, are read again; what a finished store beside it holds is copied. Raises
    DataError if more images than allowed are unreadable (all others are stored and a quarantine list is written),
    RunError if the disk is full or a worker dies.
    """
    return ImageStore.open(make_store(source, table, spec, Path(root_folder), workers, max_unreadable, progress))
