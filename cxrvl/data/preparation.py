"""How is an image store made, continued and mended? Decode what is missing, journal it, publish it at the end."""

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cxrvl.data.store_files import (
    IMAGES,
    INDEX,
    JOURNAL,
    QUARANTINE,
    Entry,
    Writer,
    allocate,
    header,
    read_index,
    read_journal,
    write_index,
)
from cxrvl.data.store_lock import exclusive
from cxrvl.data.store_pixels import PIXELS_VERSION, StoreSpec
from cxrvl.data.store_reuse import copied, copies
from cxrvl.data.store_workers import Decoder, Result, Task, decode_all
from cxrvl.errors import DataError, RunError

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

FORMAT_VERSION = 1
COMMIT_IMAGES = 512
COMMIT_SECONDS = 5.0

log = logging.getLogger(__name__)


def store_keys(table: "StudyTable") -> pd.DataFrame:
    """Columns `dataset` and `image` in store order: sorted, so that the order of table rows does not matter."""
    keys = table.frame[["dataset", "image"]].astype(str)
    return keys.sort_values(["dataset", "image"], ignore_index=True)


def identity(source: Any, table: "StudyTable", spec: StoreSpec) -> dict[str, Any]:
    """Everything that determines a store's pixels, JSON-able."""
    return {
        "format": FORMAT_VERSION,
        "pixels": PIXELS_VERSION,
        "source": source.name,
        "source_pixels": source.pixel_identity(),
        "images": table.fingerprint()["images"],
        "size": spec.size,
        "policy": spec.policy,
        "bits": spec.bits,
    }


def store_id(source: Any, table: "StudyTable", spec: StoreSpec) -> str:
    """Name of the store's folder: source, size, and 12 hex digits of the SHA-256 of `identity`."""
    text = json.dumps(identity(source, table, spec), sort_keys=True, separators=(",", ":"))
    name = re.sub(r"[^A-Za-z0-9_.]+", "_", source.name)
    return f"{name}-{spec.size}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def make_store(
    source: Any,
    table: "StudyTable",
    spec: StoreSpec,
    root_folder: Path,
    workers: int | None,
    max_unreadable: int,
    progress: bool,
) -> Path:
    """Do the work of `cxrvl.data.images.prepare`; returns the store's folder."""
    if not len(table.frame):
        raise DataError(f"no images to prepare: the study table of {source.name} is empty")
    folder = Path(root_folder) / store_id(source, table, spec)
    keys = store_keys(table)
    decoder = Decoder(source, spec, table.root)

    def tell() -> None:
        log.warning("another process prepares %s; waiting for it", folder)

    entries = _finished(folder, keys, decoder)
    if entries is None:
        with exclusive(folder.with_name(f".{folder.name}.lock"), tell):
            entries = _complete(decoder, keys, folder, identity(source, table, spec), workers, progress)
    _check_unreadable(folder, keys, entries, max_unreadable)
    return folder


def _finished(folder: Path, keys: pd.DataFrame, decoder: Decoder) -> dict[int, Entry] | None:
    """All entries of a store that needs no work, None if it does. Nothing is written: the folder may be read-only."""
    if not (folder / INDEX).exists() or (folder / JOURNAL).exists() or not _fits(folder, len(keys), decoder.spec):
        return None
    entries = _published(folder)
    good = {row: entry for row, entry in entries.items() if not entry.reason}
    mendable = len(good) < len(keys) and os.access(folder, os.W_OK)
    return None if mendable or _changed(good, keys["image"].tolist(), decoder) else entries


def _changed(entries: dict[int, Entry], images: list[str], decoder: Decoder) -> list[int]:
    """Rows whose file is not the one that was read."""
    return [row for row, e in entries.items() if decoder.state(images[row]) != (e.file_size, e.mtime_ns)]


def _complete(
    decoder: Decoder, keys: pd.DataFrame, folder: Path, meta: dict[str, Any], workers: int | None, progress: bool
) -> dict[int, Entry]:
    """Make every square that is missing, was unreadable, or whose file has changed; returns all entries by row."""
    known = _known(folder, len(keys), decoder.spec)
    good = {row: entry for row, entry in known.items() if not entry.reason}
    images = keys["image"].tolist()
    changed = _changed(good, images, decoder)
    for row in changed:
        del good[row]
    if changed:
        log.warning("%d image files have changed since %s was made; reading them again", len(changed), folder)
    tasks = [Task(row, key) for row, key in enumerate(images) if row not in good]
    if tasks:
        allocate(folder, len(keys), decoder.spec)
        found = copies(folder, meta, keys, decoder, tasks)
        if found:
            log.info("%d of %d images are copied from an older store of the same files", len(found), len(keys))
        rest = [task for task in tasks if task.row not in found]
        count = default_workers() if workers is None else workers
        with closing(decode_all(decoder, rest, count)) as decoded:
            results = _shown(chain(copied(found), decoded), len(tasks), len(keys), progress)
            _write(folder, len(keys), decoder, results)
        known = good | read_journal(folder)
    if tasks or not (folder / INDEX).exists():
        write_index(folder, keys, known.values(), {"identity": meta, "images": len(keys)}, decoder.path)
    return known


def _known(folder: Path, count: int, spec: StoreSpec) -> dict[int, Entry]:
    """What earlier calls finished, by row; nothing if the array does not fit (it was deleted or cut)."""
    if not _fits(folder, count, spec):
        for name in (INDEX, JOURNAL):
            (folder / name).unlink(missing_ok=True)
        return {}
    return _published(folder) | read_journal(folder)


def _fits(folder: Path, count: int, spec: StoreSpec) -> bool:
    """Whether the array is there in the size it has to have."""
    path = folder / IMAGES
    wanted = len(header((count, spec.size, spec.size), spec.dtype)) + count * spec.size**2 * spec.dtype.itemsize
    return path.exists() and path.stat().st_size == wanted


def _published(folder: Path) -> dict[int, Entry]:
    """The entries of the index, by row; none where there is no index yet."""
    index = read_index(folder)
    if index is None:
        return {}
    lines = index[list(Entry.__dataclass_fields__)].itertuples(index=False, name=None)
    return {line[0]: Entry(*line) for line in lines}


def _write(folder: Path, count: int, decoder: Decoder, results: Iterable[Result]) -> None:
    with Writer(folder, count, decoder.spec) as writer:
        last = time.monotonic()
        try:
            for entry, pixels in results:
                writer.put(entry, pixels)
                if len(writer.waiting) >= COMMIT_IMAGES or time.monotonic() - last > COMMIT_SECONDS:
                    writer.commit()
                    last = time.monotonic()
        except (KeyboardInterrupt, BrokenProcessPool, RunError):
            writer.commit()
            raise
        writer.commit()


def default_workers() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shown(results: Iterable[Result], todo: int, total: int, progress: bool) -> Iterator[Result]:
    """Pass results through, with a bar on a terminal."""
    if not (progress and sys.stderr.isatty()):
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("preparing images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, completed=total - todo)
        for result in results:
            yield result
            bar.advance(task)


def _check_unreadable(folder: Path, keys: pd.DataFrame, entries: dict[int, Entry], allowed: int) -> None:
    bad = [entry for _, entry in sorted(entries.items()) if entry.reason]
    if not bad:
        return
    first = f"{keys['image'].iloc[bad[0].row]}: {bad[0].reason}"
    if len(bad) > allowed or len(bad) == len(keys):
        raise DataError(
            f"{len(bad)} of {len(keys)} images cannot be read ({allowed} are allowed), first {first}. "
            f"All are listed in {folder / QUARANTINE}; replace or remove them and start again (only they are "
            "read again), or allow them with max_unreadable"
        )
    log.warning("%d of %d images cannot be read (%d are allowed), first %s", len(bad), len(keys), allowed, first)
