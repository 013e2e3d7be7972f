"""How are several runs computed side by side, each in a process of its own?"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
TAIL_LINES = 8


@dataclass(frozen=True)
class Job:
    """One `cxrvl <command> <overrides>` in a fresh process."""

    name: str
    overrides: tuple[str, ...]
    command: str = "train"

    def argv(self) -> list[str]:
        """Return the process's command line."""
        return [sys.executable, "-m", "cxrvl.cli", self.command, *self.overrides]


@dataclass
class Failure:
    """A job that ended with an error."""

    job: Job
    code: int
    tail: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.job.name} failed (exit code {self.code}):\n  " + "\n  ".join(self.tail)


class _Started:
    """A job's process and what it prints."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the job, then vanishes
        # A session of its own: Ctrl-C reaches this process alone, which then ends its children in order.
        self.process = subprocess.Popen(
            job.argv(), stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def failure(self) -> Failure | None:
        if self.process.returncode == 0:
            return None
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").splitlines()
        return Failure(self.job, self.process.returncode, [line for line in lines if line.strip()][-TAIL_LINES:])


def run_jobs(
    jobs: Sequence[Job], slots: int, on_change: Callable[[list[str], int], None] = lambda running, done: None
) -> list[Failure]:
    """Run every job, at most `slots` at a time, in order; a failed job does not stop the others.

    Args:
        on_change: called with the names of the running jobs and the number of finished ones.

    Returns:
        The jobs that failed, with the last lines they printed.

    On Ctrl-C or SIGTERM every child is asked to stop (SIGINT, so that it records where it was), then killed.
    """
    waiting = list(jobs)
    running: list[_Started] = []
    failures: list[Failure] = []
    before = signal.signal(signal.SIGTERM, _interrupt) if _in_main_thread() else None
    try:
        while waiting or running:
            while waiting and len(running) < max(1, slots):
                running.append(_Started(waiting.pop(0)))
                on_change([s.job.name for s in running], len(jobs) - len(waiting) - len(running))
            ended = [s for s in running if s.process.poll() is not None]
            for started in ended:
                running.remove(started)
                failure = started.failure()
                failures += [failure] if failure else []
            if ended:
                on_change([s.job.name for s in running], len(jobs) - len(waiting) - len(running))
            else:
                time.sleep(POLL_SECONDS)
    finally:
        _stop(running)
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return failures


def _stop(running: Sequence[_Started]) -> None:
    for started in running:
        _signal(started, signal.SIGINT)
    deadline = time.monotonic() + GRACE_SECONDS
    for started in running:
        try:
            started.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(started, signal.SIGKILL)
            started.process.wait()
        # Whatever the job had started and left behind ends with it.
        _signal(started, signal.SIGKILL)


def _signal(started: _Started, number: int) -> None:
    try:
        os.killpg(started.process.pid, number)
    except ProcessLookupError:
        return


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
