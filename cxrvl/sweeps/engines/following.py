"""How does one process hand a sweep's jobs to a cluster and follow them to their ends?"""

import sys
import time
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from cxrvl.runs import stopping
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.queue import Queue

POLL_SECONDS = 0.5
LOOK_SECONDS = 3.0
"""How often to look into the run folders; on a cluster they lie on a file server."""
CANCEL_SECONDS = 15.0
"""What an engine may take, beyond a job's grace, to end it."""


class Submitted(Protocol):
    """A job in an engine's hands, and what the engine calls it."""

    job: Job
    label: str

    def ended(self) -> Ended | None:
        """Return how it ended, once it has."""

    def cancel(self) -> None:
        """Ask the engine to end it."""


class Engine(Protocol):
    """What submits jobs."""

    @property
    def cancels(self) -> bool:
        """Whether jobs end with the process that follows them; else they go on without it."""

    @property
    def grace_seconds(self) -> float:
        """What a job has to write its resume point."""

    @property
    def at_most(self) -> int | None:
        """Jobs to submit at the same time; None = all."""

    def submit(self, jobs: Sequence[Job]) -> Sequence[Submitted]:
        """Hand over jobs none of which waits for another."""

    def farewell(self, labels: Sequence[str]) -> str:
        """Return what a user who leaves jobs behind should know."""


def follow(jobs: Sequence[Job], engine: Engine, board: Board) -> list[Ended]:
    """Submit every job that is not done, each once the runs it starts from are there, and wait for all.

    A run that another process computes may be an earlier request's, whose jobs go on.

    Returns:
        How each job ended.

    Raises:
        Stopped: this process was asked to stop; the jobs were cancelled or left alone, as the engine says.
    """
    following = _Following(jobs, engine, board)
    stopping.defer(True)
    try:
        with board:
            following.run()
    finally:
        stopping.defer(False)
    stopping.stop_if_requested()
    return following.queue.results


class _Following:
    def __init__(self, jobs: Sequence[Job], engine: Engine, board: Board) -> None:
        self.queue = Queue(jobs, board)
        self.engine, self.board = engine, board
        self.out: list[Submitted] = []
        self.not_begun: set[Job] = set()
        self.next_look = 0.0

    def run(self) -> None:
        while (self.queue.waiting or self.out) and not stopping.requested():
            self._collect()
            if time.monotonic() >= self.next_look:
                self._look()
            self.board.refresh()
            if self.queue.waiting or self.out:
                time.sleep(POLL_SECONDS)
        if self.out and stopping.requested():
            self._leave()

    def _collect(self) -> None:
        for submitted in list(self.out):
            ended = submitted.ended()
            if ended is not None:
                self.out.remove(submitted)
                self.not_begun.discard(submitted.job)
                self.queue.record(ended)
                self.next_look = 0.0

    def _look(self) -> None:
        """Submit what can begin, and note what has begun."""
        room = None if self.engine.at_most is None else max(0, self.engine.at_most - len(self.out))
        ready = list(islice(self.queue.ready([submitted.job for submitted in self.out]), room))
        if ready and not stopping.requested():
            for submitted in self.engine.submit(ready):
                self.out.append(submitted)
                self.queue.begun(submitted.job)
                self.not_begun.add(submitted.job)
                self.board.change(submitted.job, "waiting", submitted.label)
        for submitted in self.out:
            if submitted.job in self.not_begun and submitted.job.run.state() == "running":
                self.not_begun.remove(submitted.job)
                self.board.change(submitted.job, "running", submitted.label)
        self.next_look = time.monotonic() + LOOK_SECONDS

    def _leave(self) -> None:
        """Cancel the jobs and see them end, or say how to find them again."""
        if not self.engine.cancels:
            print(self.engine.farewell([submitted.label for submitted in self.out]), file=sys.stderr, flush=True)
            return
        for submitted in self.out:
            submitted.cancel()
            self.board.change(submitted.job, "stopping")
        deadline = time.monotonic() + self.engine.grace_seconds + CANCEL_SECONDS
        while self.out and time.monotonic() < deadline:
            self._collect()
            self.board.refresh()
            time.sleep(POLL_SECONDS)
