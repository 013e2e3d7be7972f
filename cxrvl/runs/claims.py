"""Which process holds a run, on this machine or on another that shares its file system?

Two things hold a run, since no single one is enough everywhere:

- a lock on `.lock` (flock): the system drops it when its process dies, so that a killed run on this machine is free at
  once. But on some network file systems such a lock is only seen by the machine that took it.
- a file `.holder.*`, named after its process and machine. It is made, taken over by a rename, and counts only where it
  is then the only one, so that of several machines one at most holds the run. Its process touches it, and that is
  its heartbeat. Another machine takes it for dead after watching it stand still, by its own stop-watch: no clock that
  jumps can make a living process look dead.
"""

import errno
import fcntl
import hashlib
import os
import random
import re
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cxrvl.errors import RunError

HEARTBEAT_SECONDS = 15.0
DEAD_AFTER_SECONDS = 60.0
WAIT_POLL_SECONDS = 0.5
SETTLE_SECONDS = 1.0
"""Holders that met while both were claiming withdraw within this time."""


@dataclass(frozen=True)
class Holder:
    """The file of a process that holds a run, or is about to."""

    path: Path
    pid: str
    machine: str
    host: str

    @property
    def here(self) -> bool:
        """Whether its process runs, or ran, on this machine since it was started."""
        return self.machine == machine()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass
class _Watched:
    first: float
    beat: int
    moved: float
    alive: bool = False


@lru_cache(maxsize=1)
def machine() -> str:
    """Return what tells those who surely see one another's locks from all others: this start of this machine.

    Containers count as machines of their own, since each may have mounted the file system for itself.
    """
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    name = boot.read_text().strip() if boot.is_file() else socket.gethostname()
    name += str(space.readlink()) if space.is_symlink() else ""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def holders(folder: Path) -> list[Holder]:
    """Return the holders of a run, dead ones among them."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith(".holder."))  # noqa: PTH208
    except FileNotFoundError:
        return []
    found = [name.split(".", 5) for name in names]
    return [Holder(folder / ".".join(parts), parts[2], parts[3], parts[5]) for parts in found if len(parts) == 6]


def held(folder: Path) -> bool:
    """Return whether a living process holds the run, without waiting and without disturbing it.

    Another machine's holder is judged by the file server's time alone: when it was last touched, against a file
    touched now. Where nothing can be written, it counts as living.
    """
    if _locked(folder / ".lock"):
        return True
    return any(_fresh(holder) is not False for holder in holders(folder) if not holder.here)


@contextmanager
def claimed(folder: Path, name: str, wait: bool, beat: bool = True) -> Iterator[None]:
    """Hold a run for this process until the block ends.

    Args:
        folder: of the run; made if it is missing.
        name: of the run, for messages.
        wait: wait for the holder to finish, else leave.
        beat: show other machines that this process lives; False where the block removes the folder.

    Raises:
        RunError: another process holds the run and `wait` is false, or the folder cannot be written.
    """
    told = False

    def busy(who: str) -> None:
        nonlocal told
        if not wait:
            raise RunError(
                f"run {name} is being computed by {who}; wait for it, or ask again with checkpoint.when_busy=wait"
            )
        if not told:
            print(f"run {name} is being computed by {who}; waiting for it", flush=True)
            told = True

    try:
        descriptor = _take_lock(folder, busy)
        try:
            mine = _take_over(folder, busy)
        except BaseException:
            os.close(descriptor)
            raise
    except PermissionError as error:
        raise _unwritable(folder, name, error) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise _unwritable(folder, name, error) from error
        raise
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(mine, stop, name), daemon=True, name="heartbeat")
    if beat:
        heart.start()
    try:
        yield
    finally:
        stop.set()
        if beat:
            heart.join()
        mine.unlink(missing_ok=True)
        os.close(descriptor)


def _unwritable(folder: Path, name: str, error: OSError) -> RunError:
    return RunError(
        f"run {name} cannot be computed or removed: {folder} cannot be written ({error.strerror}); make it writable, or set "
        "paths.runs to a folder that is (listing and showing runs works without)"
    )


def _take_lock(folder: Path, busy: Callable[[str], None]) -> int:
    """Return a descriptor that holds the lock."""
    path = folder / ".lock"
    attempts = 0
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the run was removed just now
            continue
        try:
            _flock(descriptor, fcntl.LOCK_EX, path)
            if _same_file(descriptor, path):
                return descriptor
            os.close(descriptor)  # the run was removed while this waited
        except BlockingIOError:
            os.close(descriptor)
            attempts += 1
            if attempts > 3:  # who only asks whether it is held does so for microseconds
                busy(_name_of(folder))
            time.sleep(WAIT_POLL_SECONDS if attempts > 3 else 0.02)
        except BaseException:
            os.close(descriptor)
            raise


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _name_of(folder: Path) -> str:
    found = holders(folder)
    return str(found[0]) if found else "another process"


def _take_over(folder: Path, busy: Callable[[str], None]) -> Path:
    """Become the one holder among all machines; the lock keeps this machine's other processes away."""
    host = re.sub(r"[^\w.-]", "_", socket.gethostname()) or "unnamed"
    mine = folder / f".holder.{os.getpid()}.{machine()}.{secrets.token_hex(4)}.{host}"
    watched: dict[Path, _Watched] = {}
    while True:
        others = holders(folder)
        living = [holder for holder in others if not holder.here and not _dead(holder, watched)]
        if living:
            seen = watched.get(living[0].path)
            if seen and seen.alive and time.monotonic() - seen.first >= SETTLE_SECONDS:
                busy(str(living[0]))
            time.sleep(min(WAIT_POLL_SECONDS, HEARTBEAT_SECONDS / 4))
            continue
        try:
            for dead in others:
                dead.path.rename(mine)  # only one of those who try can do this
            if others:
                os.utime(mine)
            else:
                os.close(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileNotFoundError:
            mine.unlink(missing_ok=True)
            if not folder.is_dir():
                raise
            continue
        if [holder.path for holder in holders(folder)] == [mine]:
            return mine
        mine.unlink(missing_ok=True)
        time.sleep(random.uniform(0.02, 0.3))


def _dead(holder: Holder, watched: dict[Path, _Watched]) -> bool:
    """Return whether another machine's holder stood still for so long that its process must be dead."""
    now = time.monotonic()
    beat = _heartbeat(holder.path)
    if beat is None:
        return False  # it has just ended: look again
    seen = watched.get(holder.path)
    if seen is None:
        watched[holder.path] = _Watched(now, beat, time.monotonic(), alive=_fresh(holder) is True)
        return False
    if beat != seen.beat:
        seen.beat, seen.moved, seen.alive = beat, time.monotonic(), True
    return now - seen.moved > DEAD_AFTER_SECONDS


def _fresh(holder: Holder) -> bool | None:
    """Return whether a holder was touched a short time ago by the file server's clock; None where nobody can tell."""
    beat = _heartbeat(holder.path)
    if beat is None:
        return False
    try:
        with tempfile.NamedTemporaryFile(dir=holder.path.parent, prefix=".now.", suffix=".tmp") as file:
            age = (os.fstat(file.fileno()).st_mtime_ns - beat) / 1e9
    except OSError:
        return None
    # A time from the future shows that the server's clock was set back, and nothing about the process.
    return age <= DEAD_AFTER_SECONDS


def _heartbeat(path: Path) -> int | None:
    """Return when a file was last touched; opened, since network file systems remember old answers to a mere stat."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def _beat(mine: Path, stop: threading.Event, name: str) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(mine)
        except FileNotFoundError:
            if stop.is_set():
                return
            # Another machine took this process for dead, or someone removed the folder. Whatever it wrote from here
            # on would mix with another's run, and the main thread may be anywhere.
            print(
                f"error: this process has lost run {name}: another machine took it over after "
                f"{DEAD_AFTER_SECONDS:.0f} s without a heartbeat, or its folder was removed; it ends here",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)
        except OSError:
            continue  # the file server may be back at the next beat


def _locked(path: Path) -> bool:
    """Return whether a process on this machine (on most file systems: on any) holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        _flock(descriptor, fcntl.LOCK_SH, path)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _flock(descriptor: int, kind: int, path: Path) -> None:
    """Lock a file or raise BlockingIOError at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise RunError(
                f"the file system of {path.parent} cannot lock files; set paths.runs to one that can"
            ) from error
        raise
