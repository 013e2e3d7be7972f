"""Which jobs of a sweep can begin now, and which need not any more? The same for every engine."""

from collections.abc import Iterable, Iterator, Sequence

from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import STOPPED, Ended
from cxrvl.sweeps.jobs import Job


class Queue:
    """Keeps the jobs that have not begun, and how the others ended.

    A failed job takes those with it that start from its weights, and no other. A run that another process computes is
    left to it, and is computed here only if that process leaves it unfinished.

    Attributes:
        waiting: in order.
        results: in the order of ending.
    """

    def __init__(self, jobs: Sequence[Job], board: Board) -> None:
        self.waiting = list(jobs)
        self.results: list[Ended] = []
        self.board = board
        self._elsewhere: set[str] = set()

    def ready(self, running: Iterable[Job]) -> Iterator[Job]:
        """Yield what can begin beside the jobs that run, in order; a run that two jobs ask for is there once.

        Looks into no more run folders than it is asked for jobs.
        """
        busy = {job.run_id for job in running}
        for job in list(self.waiting):
            if not self._settled(job) and not self._must_wait(job, busy):
                busy.add(job.run_id)
                yield job

    def begun(self, job: Job) -> None:
        """Take a job off the list that an engine has in its hands now."""
        self.waiting.remove(job)
        self._elsewhere.discard(job.run_id)

    def record(self, ended: Ended) -> None:
        """Note how a job ended, and show it."""
        self.results.append(ended)
        state = "stopped" if ended.code in STOPPED else "failed" if ended.code else "done"
        self.board.change(ended.job, state, ended.said() if ended.code else "")

    def _settled(self, job: Job) -> bool:
        """Take a job off the list that need not, or must not, begin."""
        if {ended.job.run_id for ended in self.results if ended.code} & set(job.after):
            ended = Ended(job, 1, ("not started: a run it starts from is not done",))
        elif job.done():
            ended = Ended(job, 0)
        elif job.run_id in self._elsewhere and job.run.state() == "failed":
            ended = Ended(job, 1, ("failed in another process", str(job.run.status().get("error", ""))))
        else:
            return False
        self.waiting.remove(job)
        self.record(ended)
        return True

    def _must_wait(self, job: Job, busy: set[str]) -> bool:
        if job.run_id in busy or ({other.run_id for other in self.waiting} | busy) & set(job.after):
            return True
        if job.run.state() != "running":
            return False
        if job.run_id not in self._elsewhere:
            self._elsewhere.add(job.run_id)
            self.board.change(job, "elsewhere")
        return True
