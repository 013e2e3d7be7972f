"""How does one process hand a sweep's jobs to a cluster and follow them to their ends?"""

import sys
import time
from collections.abc import Sequence
from typing import Protocol

from cxrvl.runs import stopping
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import STOPPED, Ended
from cxrvl.sweeps.jobs import Job

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

    A run that another process computes (an earlier request whose jobs go on, say) is left to it, and is submitted only
    if that process leaves it unfinished.

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
    return following.results


class _Following:
    def __init__(self, jobs: Sequence[Job], engine: Engine, board: Board) -> None:
        self.waiting = list(jobs)
        self.engine, self.board = engine, board
        self.out: list[Submitted] = []
        self.queued: set[Job] = set()
        self.elsewhere: set[str] = set()
        self.results: list[Ended] = []
        self.next_look = 0.0

    def run(self) -> None:
        while (self.waiting or self.out) and not stopping.requested():
            self._collect()
            if time.monotonic() >= self.next_look:
                self._look()
            self.board.refresh()
            if self.waiting or self.out:
                time.sleep(POLL_SECONDS)
        if self.out and stopping.requested():
            self._leave()

    def _collect(self) -> None:
        for submitted in list(self.out):
            ended = submitted.ended()
            if ended is not None:
                self.out.remove(submitted)
                self.queued.discard(submitted.job)
                self._record(ended)
                self.next_look = 0.0

    def _look(self) -> None:
        """Submit what can begin, and note what has begun."""
        ready = [job for job in list(self.waiting) if not self._settled(job) and not self._must_wait(job)]
        ready = [job for n, job in enumerate(ready) if job.run_id not in {other.run_id for other in ready[:n]}]
        if self.engine.at_most is not None:
            ready = ready[: max(0, self.engine.at_most - len(self.out))]
        if ready and not stopping.requested():
            self.out += self.engine.submit(ready)
            for submitted in self.out:
                if submitted.job in ready:
                    self.waiting.remove(submitted.job)
                    self.queued.add(submitted.job)
                    self.board.change(submitted.job, "waiting", submitted.label)
        for submitted in self.out:
            if submitted.job in self.queued and submitted.job.run.state() == "running":
                self.queued.remove(submitted.job)
                self.board.change(submitted.job, "running", submitted.label)
        self.next_look = time.monotonic() + LOOK_SECONDS

    def _settled(self, job: Job) -> bool:
        """Take a job off the list that need not, or must not, be submitted."""
        broken = {ended.job.run_id for ended in self.results if ended.code}
        if broken & set(job.after):
            self._settle(Ended(job, 1, ("not started: a run it starts from is not done",)))
        elif job.done():
            self._settle(Ended(job, 0))
        elif job.run_id in self.elsewhere and job.run.state() == "failed":
            self._settle(Ended(job, 1, ("failed in another process", str(job.run.status().get("error", "")))))
        else:
            return False
        return True

    def _settle(self, ended: Ended) -> None:
        self.waiting.remove(ended.job)
        self._record(ended)

    def _must_wait(self, job: Job) -> bool:
        unfinished = {other.run_id for other in self.waiting} | {s.job.run_id for s in self.out}
        if unfinished & set(job.after) or any(s.job.run_id == job.run_id for s in self.out):
            return True
        if job.run.state() != "running":
            return False
        if job.run_id not in self.elsewhere:
            self.elsewhere.add(job.run_id)
            self.board.change(job, "elsewhere")
        return True

    def _record(self, ended: Ended) -> None:
        self.results.append(ended)
        state = "stopped" if ended.code in STOPPED else "failed" if ended.code else "done"
        self.board.change(ended.job, state, ended.said() if ended.code else "")

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
