"""Who may write an image store now? One process; others wait, and then find it done."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold an advisory lock (flock) on a file of its own while the block runs.

    The kernel releases it when its process dies, so a killed process blocks nobody. `on_wait` is called once if another
    process holds it. The file is removed at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, on_wait)
    try:
        yield
    finally:
        # Removed while still held: who waits for it sees that its file is gone and takes a new one.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, on_wait: Callable[[], None]) -> int:
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        mine = False
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    on_wait()
                told = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            mine = _is_same(descriptor, path)
        finally:
            if not mine:
                os.close(descriptor)
        if mine:
            return descriptor


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
