"""Which runs are there, in which state, and who may compute one now?"""

import errno
import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_json, read_yaml, write_json

STATES = ("queued", "running", "done", "failed")
HEARTBEAT_SECONDS = 15.0
WAIT_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Run:
    """One run's folder. Deleting the folder deletes the run; there is no other state."""

    folder: Path

    @property
    def run_id(self) -> str:
        """The run's id, which is its folder's name."""
        return self.folder.name

    @property
    def predictions(self) -> Path:
        """Folder of the prediction tables."""
        return self.folder / "predictions"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints: last.ckpt to resume from, best.ckpt and final.ckpt to use."""
        return self.folder / "checkpoints"

    def exists(self) -> bool:
        """Return whether anything of this run was ever written."""
        return (self.folder / "status.json").is_file()

    def status(self) -> dict[str, Any]:
        """Return the status record; a run never asked for is reported as missing.

        A record that says running while nobody holds the lock was killed: it is reported as queued with
        `interrupted: true`, since the next request continues it.
        """
        if not self.exists():
            return {"state": "missing"}
        status = read_json(self.folder / "status.json")
        if not isinstance(status, dict) or status.get("state") not in STATES:
            raise RunError(f"{self.folder / 'status.json'} is damaged (it names no state); remove it")
        if status["state"] == "running" and not self.busy():
            return {**status, "state": "queued", "interrupted": True}
        return status

    def state(self) -> str:
        """Return queued, running, done, failed or missing."""
        return str(self.status()["state"])

    def config(self) -> dict[str, Any]:
        """Return the resolved config this run was computed from."""
        path = self.folder / "config.yaml"
        if not path.is_file():
            raise RunError(
                f"run {self.run_id} has no config.yaml in {self.folder}; remove it: cxrvl runs rm {self.run_id}"
            )
        return read_yaml(path)

    def set_status(self, state: str, **details: Any) -> None:
        """Replace the status record."""
        if state not in STATES:
            raise RunError(f"unknown run state {state!r}; expected one of {', '.join(STATES)}")
        beat = {"heartbeat": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
        write_json(self.folder / "status.json", {"state": state, **beat, **details})

    def busy(self) -> bool:
        """Return whether a living process holds this run."""
        path = self.folder / ".lock"
        if not path.exists():
            return False
        with path.open("ab") as file:
            try:
                _lock(file.fileno(), path)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def claim(self, wait: bool = True) -> Iterator[None]:
        """Hold this run for this process; the system drops the claim when the process dies.

        Args:
            wait: wait for the holder to finish, else leave at once.

        Raises:
            RunError: another process computes this run and `wait` is false.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".lock"
        with path.open("ab") as file:
            told = False
            while True:
                try:
                    _lock(file.fileno(), path)
                    break
                except BlockingIOError:
                    who = path.read_text() or "another process"
                    if not wait:
                        raise RunError(
                            f"run {self.run_id} is being computed by {who}; wait for it, or ask again with "
                            "checkpoint.when_busy=wait"
                        ) from None
                    if not told:
                        print(f"run {self.run_id} is being computed by {who}; waiting for it", flush=True)
                        told = True
                    time.sleep(WAIT_POLL_SECONDS)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            file.flush()
            yield

    @contextmanager
    def heartbeat(self, **details: Any) -> Iterator[None]:
        """Mark the run as running and renew the record's time stamp until the block ends."""
        stop = threading.Event()
        self.set_status("running", **details)

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                self.set_status("running", **details)

        thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@dataclass(frozen=True)
class RunStore:
    """The folder that holds all runs."""

    root: Path

    def run(self, run_id: str) -> Run:
        """Return the run of this id, whether or not it exists yet."""
        return Run(self.root / run_id)

    def __iter__(self) -> Iterator[Run]:
        """Yield every run in the store, oldest first."""
        if not self.root.is_dir():
            return
        runs = [Run(p) for p in self.root.iterdir() if p.is_dir() and (p / "status.json").is_file()]
        yield from sorted(runs, key=lambda r: (r.folder / "overrides.yaml").stat().st_mtime if
                          (r.folder / "overrides.yaml").exists() else 0.0)  # fmt: skip

    def find(self, prefix: str) -> Run:
        """Return the one run whose id begins with `prefix`.

        Raises:
            RunError: no run, or several, match.
        """
        if not prefix or os.sep in prefix or prefix.startswith("."):
            raise RunError(f"{prefix!r} is no run id; `cxrvl runs ls` lists them")
        matches = [run for run in self if run.run_id.startswith(prefix)]
        if not matches:
            raise RunError(f"no run '{prefix}' in {self.root}; `cxrvl runs ls` lists what is there")
        if len(matches) > 1:
            raise RunError(
                f"'{prefix}' fits {len(matches)} runs: {', '.join(r.run_id for r in matches)}; give more digits"
            )
        return matches[0]

    def remove(self, run: Run) -> None:
        """Delete a run's folder.

        Raises:
            RunError: a living process computes it.
        """
        if run.busy():
            raise RunError(f"run {run.run_id} is being computed; stop that process first")
        shutil.rmtree(run.folder)


def _lock(descriptor: int, path: Path) -> None:
    """Take an exclusive lock or raise BlockingIOError at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP):
            raise RunError(
                f"the file system of {path.parent} cannot lock files; set paths.runs to one that can"
            ) from error
        raise
