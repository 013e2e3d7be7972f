"""Which runs are there, in which state, and who may compute one now?"""

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_json, read_yaml, write_json
from cxrvl.runs.claims import claimed, held
from cxrvl.runs.rebuild import rebuilt

STATES = ("queued", "running", "done", "failed")


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

        A record that says running while no living process holds the run is one of a process that was killed: it is
        reported as queued with `interrupted: true`, since the next request continues it. A damaged record is made
        anew from what lies in the folder, marked `rebuilt: true`; nothing is written.
        """
        status = self.recorded()
        if status is None:
            return rebuilt(self.folder, self.busy())
        if status["state"] == "running" and not self.busy():
            return {**status, "state": "queued", "interrupted": True}
        return status

    def recorded(self) -> dict[str, Any] | None:
        """Return the status record as it was written, None where it is damaged."""
        try:
            status = read_json(self.folder / "status.json")
        except (FileNotFoundError, NotADirectoryError):
            return {"state": "missing"}
        except RunError:
            return None
        return status if isinstance(status, dict) and status.get("state") in STATES else None

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
        """Return whether a living process, on this machine or another, holds this run."""
        return held(self.folder)

    @contextmanager
    def claim(self, wait: bool = True) -> Iterator[None]:
        """Hold this run for this process, on whichever machine; the claim ends with the process.

        Args:
            wait: wait for the holder to finish, else leave at once.

        Raises:
            RunError: another process computes this run and `wait` is false, or the folder cannot be written.
        """
        with claimed(self.folder, self.run_id, wait):
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a killed process was writing when it died."""
        for folder in (self.folder, self.checkpoints, self.predictions):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    @contextmanager
    def heartbeat(self, **details: Any) -> Iterator[None]:
        """Mark the run as running; that it lives is shown by the claim, which has to be held."""
        self.set_status("running", **details)
        yield


@dataclass(frozen=True)
class RunStore:
    """The folder that holds all runs."""

    root: Path

    def run(self, run_id: str) -> Run:
        """Return the run of this id, whether or not it exists yet."""
        return Run(self.root / run_id)

    def ids(self) -> list[str]:
        """Return the names of all folders that may be runs; none of them is opened."""
        try:
            with os.scandir(self.root) as entries:
                return [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
        except FileNotFoundError:
            return []

    def __iter__(self) -> Iterator[Run]:
        """Yield every run in the store, the one asked for longest ago first."""
        runs = [self.run(name) for name in self.ids()]
        yield from sorted((r for r in runs if r.exists()), key=lambda r: (asked_at(r.folder), r.run_id))

    def find(self, prefix: str) -> Run:
        """Return the one run whose id begins with `prefix`; a whole id opens no other run.

        Raises:
            RunError: no run, or several, match.
        """
        if not prefix or os.sep in prefix or prefix.startswith("."):
            raise RunError(f"{prefix!r} is no run id; `cxrvl runs ls` lists them")
        whole = self.run(prefix)
        if whole.exists():
            return whole
        matches = [run for run in map(self.run, sorted(self.ids())) if run.run_id.startswith(prefix) and run.exists()]
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
            RunError: a living process computes it, or the folder cannot be written.
        """
        if run.busy():
            raise RunError(f"run {run.run_id} is being computed; stop that process first")
        with claimed(run.folder, run.run_id, wait=False, beat=False):
            shutil.rmtree(run.folder)


def asked_at(folder: Path) -> float:
    """Return when a run was last asked for: its config is written anew then."""
    try:
        return (folder / "config.yaml").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def shown_state(status: Mapping[str, Any]) -> str:
    """Return a status record's state in one word: interrupted for what was begun, stopped and will be continued."""
    return "interrupted" if status.get("interrupted") and status["state"] == "queued" else str(status["state"])
