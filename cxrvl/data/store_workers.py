"""How are images decoded on all cores? In fresh processes that stop when asked, and never outlive their parent."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxrvl.data.store_files import Entry
from cxrvl.data.store_pixels import StoreSpec, to_pixels
from cxrvl.errors import DataError, RunError

# Small enough that a stop is quick and little work is lost, large enough that sending it costs nothing.
CHUNK = 16
ALONE_SECONDS = 2.0
"""So long one process draws images before it calls for others, each of which takes that long to start. Files go to
others at once: a decoder that crashes over one must not take the command with it."""


class Task(NamedTuple):
    """One image to decode: its row in the store and its key."""

    row: int
    key: str


Result = tuple[Entry, np.ndarray | None]


@dataclass(frozen=True)
class Decoder:
    """Everything a worker needs: the source, what to make of its images, and where its files lie.

    root: folder of the files; None where they are generated, or where the source itself says where each lies (`path`).
    """

    source: Any
    spec: StoreSpec
    root: Path | None

    def __call__(self, tasks: Sequence[Task], stop: Event | None = None) -> list[Result]:
        """Decode tasks in order; unreadable images come back with a reason instead of pixels. Stops early on `stop`."""
        before = [self.state(task.key) for task in tasks]
        many = self._read_many(tasks)
        results: list[Result] = []
        for i, task in enumerate(tasks):
            if stop is not None and stop.is_set():
                break
            try:
                image = self.source.read(task.key) if many is None else many[i]
                pixels = to_pixels(image, self.spec)
            except DataError as fault:
                results.append((Entry(task.row, 0, 0, *before[i], self._reason(fault, task.key)), None))
            else:
                results.append((Entry(task.row, image.shape[1], image.shape[0], *before[i]), pixels))
        return results

    def _read_many(self, tasks: Sequence[Task]) -> Sequence[np.ndarray] | None:
        """All images at once where the source can; None where it cannot, or one of them is unreadable."""
        if not hasattr(self.source, "read_many"):
            return None
        try:
            images = list(self.source.read_many([task.key for task in tasks]))
        except DataError:
            return None
        if len(images) != len(tasks):
            raise RunError(f"source {self.source.name}: read_many gave {len(images)} images for {len(tasks)} keys")
        return images

    def path(self, key: str) -> Path | None:
        """Return the file of an image; None for a generated one."""
        if self.root is not None:
            return self.root / key
        locate = getattr(self.source, "path", None)
        return locate(key) if locate else None

    def state(self, key: str) -> tuple[int, int]:
        """Return size and modification time of an image's file, see `file_state`; (-1, -1) for a generated one."""
        path = self.path(key)
        return (-1, -1) if path is None else file_state(path)

    def _reason(self, fault: DataError, key: str) -> str:
        text, path = " ".join(str(fault).split()), self.path(key)
        return text if path is None else text.removeprefix(f"{path}: ")


def file_state(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns; (-1, -1) where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def decode_all(decoder: Decoder, tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    """Yield the results of all tasks, in any order.

    workers: processes; with 0, or when there is little to do, this process does the work. Closing the generator, or an
    exception in the consumer, stops all workers after the image at hand. Raises RunError if a worker dies.
    """
    chunks = deque(tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK))
    drawn = bool(tasks) and decoder.path(tasks[0].key) is None
    begun = time.monotonic()
    while chunks and (workers == 0 or len(chunks) == 1 or (drawn and time.monotonic() - begun < ALONE_SECONDS)):
        chunk = chunks.popleft()
        for part in [chunk] if drawn else [[task] for task in chunk]:  # a file each, so that a stop loses little
            yield from decoder(part)
    if chunks:
        yield from _decode_together(decoder, chunks, workers)


def _decode_together(decoder: Decoder, chunks: Sequence[Sequence[Task]], workers: int) -> Generator[Result, None, None]:
    """Yield the results of chunks of tasks from a pool of processes, see `decode_all`."""
    # Threads of this process (torch has many) make a fork unsafe.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    count = min(workers, len(chunks))
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(decoder, stop))
    running: deque[tuple[Sequence[Task], Future[list[Result]]]] = deque()
    remaining = iter(chunks)
    try:
        while True:
            # Few chunks at a time, or results would pile up faster than they are written.
            while len(running) < 2 * count and (chunk := next(remaining, None)) is not None:
                running.append((chunk, pool.submit(_decode, chunk)))
            if not running:
                return
            yield from running[0][1].result()
            running.popleft()
    except BrokenProcessPool as fault:
        names = [task.key for chunk, _ in running for task in chunk]
        raise RunError(
            f"a worker process died while decoding images of {decoder.source.name} (killed, or out of memory): one of "
            f"{names[0]} ... {names[-1]} ({len(names)} images). What was finished is kept: start again to continue, "
            "with fewer workers if memory was short"
        ) from fault
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


# A worker's own copy, set once when it starts: sending the source with every chunk would cost more than decoding.
_worker: dict[str, Any] = {}


def _start(decoder: Decoder, stop: Event) -> None:
    # Ctrl-C reaches the whole terminal group; the parent alone decides how to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(decoder=decoder, stop=stop)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _decode(tasks: Sequence[Task]) -> list[Result]:
    decode: Decoder = _worker["decoder"]
    return decode(tasks, _worker["stop"])
