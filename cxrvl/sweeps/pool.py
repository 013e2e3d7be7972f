"""How are jobs computed side by side on one machine, each in a process group of its own that never outlives us?"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from cxrvl.runs import stopping
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended, ended_code
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.queue import Queue
from cxrvl.sweeps.slots import Place, Slots

GUARD = Path(__file__).with_name("guard.py")
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""How often to look whether runs that other processes compute are done."""
GUARD_SECONDS = 10.0
"""What a guard may take beyond the grace to kill and reap."""
TAIL_LINES = 12
TAIL_BYTES = 65536
STOP, KILL = b"t", b"k"


class _Started:
    """A job, its guard and what it prints."""

    def __init__(self, job: Job, place: Place, grace: float) -> None:
        self.job, self.place = job, place
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the job, then vanishes
        # A session of its own: Ctrl-C reaches this process alone, which then ends the jobs in order.
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(grace), *job.argv()],
            stdin=subprocess.PIPE, stdout=self.output, stderr=subprocess.STDOUT,
            env=job.environment(place.gpus), start_new_session=True, pass_fds=place.held,
        )  # fmt: skip

    def tell(self, word: bytes) -> None:
        """Let the guard stop the job (t), or kill it (k)."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self.process.stdin.fileno(), word)

    def ended(self) -> Ended | None:
        """Return how the job ended, once it has."""
        code = self.process.poll()
        if code is None:
            return None
        assert self.process.stdin is not None
        self.process.stdin.close()
        tail = self._tail() if code else ()
        self.output.close()
        return Ended(self.job, ended_code(code), tail)

    def _tail(self) -> tuple[str, ...]:
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - TAIL_BYTES))
        lines = self.output.read().decode(errors="replace").splitlines()
        return tuple(line for line in lines if line.strip())[-TAIL_LINES:]


def run_jobs(jobs: Sequence[Job], slots: Slots, grace_seconds: float = 30.0, board: Board | None = None) -> list[Ended]:
    """Run every job that is not done, as many at a time as the slots hold, in order.

    A failed job stops no other but those that start from its weights. A run that another process computes is left
    to it while anything else can be done, and is run here only if that process leaves it unfinished.

    Returns:
        How each job ended, in the order of ending; a job that another process finished ends with 0.

    Raises:
        KeyboardInterrupt: Ctrl-C; every job was asked to stop, had its grace, and is gone. A second one kills at once.
        SystemExit: likewise with code 75, on SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2.
    """
    return _Pool(jobs, slots, grace_seconds, board or Board(jobs, quiet=True)).run()


class _Pool:
    def __init__(self, jobs: Sequence[Job], slots: Slots, grace: float, board: Board) -> None:
        self.queue = Queue(jobs, board)
        self.slots, self.grace, self.board = slots, grace, board
        self.running: list[_Started] = []
        self.signals: list[tuple[int, float]] = []
        self.told: set[Job] = set()
        self.next_look = 0.0

    def run(self) -> list[Ended]:
        with _noting(self.signals), self.board:
            try:
                while (self.queue.waiting or self.running) and not self.signals:
                    self._collect()
                    if time.monotonic() >= self.next_look:
                        self._start()
                    self.board.refresh()
                    if self.running or self.queue.waiting:
                        time.sleep(POLL_SECONDS)
            finally:
                self._stop()
        if self.signals:
            if self.signals[0][0] == signal.SIGINT:
                raise KeyboardInterrupt
            print(stopping.SENTENCE, file=sys.stderr, flush=True)
            raise SystemExit(stopping.STOPPED)
        return self.queue.results

    def _collect(self) -> None:
        for started in list(self.running):
            ended = started.ended()
            if ended is not None:
                self.running.remove(started)
                self.slots.give(started.place)
                self.queue.record(ended)
                self.next_look = 0.0

    def _start(self) -> None:
        """Start what can run now; jobs that wait for others are passed over, never one for a slot."""
        for job in self.queue.ready([started.job for started in self.running]):
            place = None if self.signals else self.slots.take(job)
            if place is None:
                if self.slots.kept and job not in self.told:
                    self.told.add(job)
                    self.board.change(job, "waiting", "other sweeps use the GPUs")
                break
            self.queue.begun(job)
            self.running.append(_Started(job, place, self.grace))
            self.board.change(job, "running", ", ".join(place.gpus))
        self.next_look = time.monotonic() + LOOK_SECONDS

    def _stop(self) -> None:
        """Ask every job to stop, wait for it, and see to it that it ends."""
        for started in self.running:
            started.tell(STOP)
            self.board.change(started.job, "stopping")
        kill_at = time.monotonic() + self.grace + GUARD_SECONDS
        while self.running:
            self.running = [started for started in self.running if started.ended() is None]
            late = time.monotonic() - kill_at
            for started in self.running:
                if late > GUARD_SECONDS:
                    started.process.kill()  # a guard that hangs; its job's main process dies with it
                elif late > 0 or self._asked_again():
                    started.tell(KILL)
            self.board.refresh()
            if self.running:
                time.sleep(POLL_SECONDS)

    def _asked_again(self) -> bool:
        """Whether a second signal came that is no echo of the first."""
        return bool(self.signals) and self.signals[-1][1] - self.signals[0][1] > stopping.AGAIN_SECONDS


@contextmanager
def _noting(signals: list[tuple[int, float]]) -> Iterator[None]:
    """Note what asks this process to stop, in place of stopping wherever it is; restores the handlers after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        signals.append((number, time.monotonic()))

    handled = (*stopping.SIGNALS, signal.SIGHUP)
    before = {n: signal.signal(n, note) for n in handled if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
