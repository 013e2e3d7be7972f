"""How does a sweep go? One line per job on a terminal; elsewhere one line per change."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cxrvl.runs.progress import read_progress
from cxrvl.sweeps.jobs import Job

REFRESH_SECONDS = 0.5
STYLES = {"running": "bold", "done": "green", "failed": "red", "stopped": "yellow", "waiting": "dim"}
ENDED = ("done", "failed", "stopped")
SHOWN_FIRST = ("running", "stopping", "failed", "stopped", "elsewhere", "waiting", "done")
"""Whose lines are kept where the terminal has fewer lines than the sweep has jobs."""


class Board:
    """The lines of a sweep.

    Args:
        jobs: all of them, in order.
        console: where to write; standard output by default.
        quiet: write nothing.
    """

    def __init__(self, jobs: Sequence[Job], console: Console | None = None, quiet: bool = False) -> None:
        self.jobs = list(jobs)
        self.console = console or Console()
        self.quiet = quiet
        self.states = dict.fromkeys(self.jobs, "waiting")
        self.notes: dict[Job, str] = {}
        self.begun: dict[Job, float] = {}
        self.live: Live | None = None
        self.next_refresh = 0.0

    def __enter__(self) -> "Board":
        if self.console.is_terminal and not self.quiet:
            self.live = Live(self.table(), console=self.console, auto_refresh=False)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self.table(), refresh=True)
            self.live.stop()
            self.live = None

    def change(self, job: Job, state: str, note: str = "") -> None:
        """Take note of a job's new state."""
        if state == "running":
            self.begun[job] = time.monotonic()
        self.states[job], self.notes[job] = state, note
        self.next_refresh = 0.0
        if self.live is None and not self.quiet:
            ended = sum(s in ENDED for s in self.states.values())
            seconds = (
                f" after {duration(time.monotonic() - self.begun[job])}" if state in ENDED and job in self.begun else ""
            )
            details = f" ({note})" if note else ""
            print(f"[{ended}/{len(self.jobs)}] {words(state)}: {job.name}{seconds}{details}", flush=True)

    def refresh(self) -> None:
        """Draw the lines anew, if that is due."""
        if self.live is None or time.monotonic() < self.next_refresh:
            return
        self.next_refresh = time.monotonic() + REFRESH_SECONDS
        self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Return the lines: of all jobs, or of those that matter most where there is no room for all."""
        table = Table.grid(padding=(0, 2))
        for _ in range(5):
            table.add_column(no_wrap=True, overflow="ellipsis")
        room = max(3, self.console.height - 3)
        shown = set(sorted(self.jobs, key=lambda job: SHOWN_FIRST.index(self.states[job]))[:room])
        for job in (job for job in self.jobs if job in shown):
            table.add_row(*self.line(job), style=STYLES.get(self.states[job], ""))
        counts = Counter(self.states.values())
        table.add_row(
            ", ".join(f"{counts[state]} {words(state)}" for state in SHOWN_FIRST if counts[state]), style="dim"
        )
        return table

    def line(self, job: Job) -> tuple[str, str, str, str, str]:
        """Return a job's state, name, epoch, metric and time left."""
        state = self.states[job]
        if state not in ("running", "stopping", "elsewhere"):
            return words(state), job.name, "", "", self.notes.get(job, "")
        progress = read_progress(job.run_folder) or {}
        return words(state), job.name, epoch(progress), metric(progress), time_left(progress) or self.notes.get(job, "")


def words(state: str) -> str:
    """Return how a state is called."""
    return "running elsewhere" if state == "elsewhere" else state


def epoch(progress: dict[str, Any]) -> str:
    """Return the epoch, counted from one, as in `epoch 2/10`."""
    if progress.get("epoch") is None:
        return "starting"
    total = f"/{progress['max_epochs']}" if progress.get("max_epochs") else ""
    return f"epoch {progress['epoch'] + 1}{total}"


def metric(progress: dict[str, Any]) -> str:
    """Return the monitored metric, now and at its best."""
    if progress.get("value") is None:
        return ""
    best = f" (best {progress['best']:.4g})" if progress.get("best") is not None else ""
    return f"{progress['monitor']} {progress['value']:.4g}{best}"


def time_left(progress: dict[str, Any]) -> str:
    """Return the time left, as in `3 min left`."""
    left = progress.get("seconds_left")
    return "" if left is None else f"{duration(left)} left"


def duration(seconds: float) -> str:
    """Return a time in its largest fitting units: 42 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
