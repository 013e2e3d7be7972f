"""Which images of a new store has an older one decoded already? Those whose files are the very same; they are copied."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cxrvl.data.store_files import IMAGES, INDEX, META, Entry, damaged, read_index, read_meta
from cxrvl.data.store_workers import Decoder, Result, Task
from cxrvl.errors import DataError

IMAGE_SET = "images"
"""The part of a store's identity that says which images it holds, and not how they were made."""

log = logging.getLogger(__name__)


class Copy(NamedTuple):
    """One image that need not be decoded: its line in the new store, and where its square lies."""

    entry: Entry
    squares: np.ndarray
    place: int


def copies(
    folder: Path, identity: dict[str, Any], keys: pd.DataFrame, decoder: Decoder, tasks: Sequence[Task]
) -> dict[int, Copy]:
    """Return, by row of the new store, the tasks that a finished store beside it has done.

    A data set that gained, lost or changed some images has another name for its store; this leaves only those images to
    be decoded. An image counts as the same by the rule a store holds its own images to: its file's key, size and time
    of change. Generated images have no file and are made again.

    Args:
        folder: of the new store. identity: what determines its pixels.
        keys: `dataset` and `image` of all its rows.
        decoder: knows the files. tasks: what is still to be made.
    """
    wanted = {task.row: decoder.state(task.key) for task in tasks}
    wanted = {row: state for row, state in wanted.items() if state[0] >= 0}
    found: dict[int, Copy] = {}
    for other in _newest_first(folder):
        if len(found) == len(wanted):
            break
        try:
            opened = _opened(other, identity)
        except DataError as fault:
            log.warning("no image is taken from an older store: %s", fault)
            continue
        if opened is None:
            continue
        index, squares = opened
        rows = [row for row in wanted if row not in found]
        lines = list(index[list(Entry.__dataclass_fields__)].itertuples(index=False, name=None))
        for row, line in zip(rows, _lookup(index, keys.iloc[rows]).tolist(), strict=True):
            if line < 0:
                continue
            known = Entry(*lines[line])
            if not known.reason and (known.file_size, known.mtime_ns) == wanted[row]:
                found[row] = Copy(replace(known, row=row), squares, known.row)
    return found


def copied(found: dict[int, Copy]) -> Iterator[Result]:
    """Yield what `copies` found, as if it had just been decoded."""
    for copy in found.values():
        yield copy.entry, copy.squares[copy.place]


def _newest_first(folder: Path) -> list[Path]:
    """Finished stores beside this one that its source made in this size."""
    family = folder.name.rpartition("-")[0]
    finished = [path.parent for path in folder.parent.glob(f"{family}-*/{INDEX}")]
    others = [path for path in finished if path != folder and path.name.rpartition("-")[0] == family]
    return sorted(others, key=lambda path: (path / INDEX).stat().st_mtime_ns, reverse=True)


def _opened(other: Path, identity: dict[str, Any]) -> tuple[pd.DataFrame, np.ndarray] | None:
    """Index and squares of a store whose pixels were made in the same way; None of another. DataError if damaged."""
    if not (other / META).is_file():
        return None
    made = read_meta(other)["identity"]
    if _without_images(made) != _without_images(identity):
        return None
    index = read_index(other)
    if index is None:
        return None
    try:
        squares = np.load(other / IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise damaged(other / IMAGES, str(fault)) from fault
    if squares.shape != (len(index), identity["size"], identity["size"]):
        raise damaged(other / IMAGES, f"it holds {squares.shape}, its index says {len(index)} images")
    return index, squares


def _without_images(identity: dict[str, Any]) -> str:
    """How pixels were made, as the text it is written in: JSON has no tuples."""
    return json.dumps({**identity, IMAGE_SET: None}, sort_keys=True)


def _lookup(index: pd.DataFrame, keys: pd.DataFrame) -> np.ndarray:
    """Line of the index of each key, -1 where it has none, (n,) int64."""
    known = pd.MultiIndex.from_frame(index[["dataset", "image"]].astype(str))
    return known.get_indexer(pd.MultiIndex.from_frame(keys)).astype(np.int64)
