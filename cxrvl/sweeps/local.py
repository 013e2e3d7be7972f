"""Which engine runs a sweep on this machine?"""

from collections.abc import Sequence

from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.pool import run_jobs
from cxrvl.sweeps.shares import Shares
from cxrvl.sweeps.slots import Slots, check_numbers, visible_gpus


class LocalEngine:
    """Runs jobs in the slots of this machine, with one line per job on the terminal.

    Args:
        per_job, jobs_per_gpu, slots: see `Slots`.
        grace_seconds: what a job has to write its resume point when it is stopped.

    Raises:
        ConfigError: numbers below one.
    """

    def __init__(
        self, per_job: int | None = None, jobs_per_gpu: int = 1, slots: int | None = None, grace_seconds: float = 30.0
    ) -> None:
        check_numbers(per_job, jobs_per_gpu, slots)  # at once: a sweep that is done never asks for slots
        self.per_job, self.jobs_per_gpu, self.slots = per_job, jobs_per_gpu, slots
        self.grace_seconds = grace_seconds

    def __call__(self, jobs: Sequence[Job]) -> list[Ended]:
        """Run the jobs; returns how each ended.

        Raises:
            ConfigError: a job that this machine cannot run; none has been started then.
        """
        gpus = visible_gpus() if any(job.wants_gpu for job in jobs) else []
        slots = Slots(jobs, gpus, self.per_job, self.jobs_per_gpu, self.slots, Shares(self.jobs_per_gpu))
        return run_jobs(jobs, slots, self.grace_seconds, Board(jobs))
