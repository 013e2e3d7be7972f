"""What do all engines share? Describe the jobs, leave out what is done, run the rest, report, answer Hydra."""

import sys
from collections.abc import Callable, Sequence

from hydra.core.utils import JobReturn, JobStatus

from cxrvl.errors import RunError
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import Job, describe, described, request
from cxrvl.sweeps.objective import objective

Engine = Callable[[Sequence[Job]], list[Ended]]
"""Runs the jobs given, in order but each after the runs in its `after`; returns one Ended for each it started."""


class SweepReturn(JobReturn):
    """Hydra's record of a job, whose value may be looked at though it failed: None then, and status FAILED."""

    @property
    def return_value(self) -> float | None:
        """The objective; None for a failed job, or where no metric was asked for."""
        return self._return_value

    @return_value.setter
    def return_value(self, value: float | None) -> None:
        self._return_value = value


_failures: list[str] = []


def take_failures() -> list[str]:
    """Return what failed in this process's launches since last asked."""
    taken = list(_failures)
    _failures.clear()
    return taken


def launch(
    job_overrides: Sequence[Sequence[str]],
    run: Engine,
    *,
    retry_failed: bool = False,
    metric: str | None = None,
) -> list[JobReturn]:
    """Compute what a sweep's jobs lack.

    Args:
        job_overrides: as Hydra's sweepers hand them over.
        run: the engine.
        retry_failed: run the jobs again whose run failed before; else they are reported, and count as failed.
        metric: dotted name of the number to return for each job.

    Returns:
        One record per element of `job_overrides`, in order: `working_dir` is the run's folder, `status` tells
        whether the job is done, `return_value` is the metric.

    Raises:
        ConfigError, DataError: before anything is started.
        KeyboardInterrupt, SystemExit: the user or the system stopped the sweep.
    """
    jobs = describe(job_overrides)
    return finish(job_overrides, jobs, compute(jobs, run, retry_failed=retry_failed), metric)


def compute(jobs: Sequence[Job], run: Engine, *, retry_failed: bool = False) -> list[Ended]:
    """Run the jobs that are not done; returns the ones that failed, now or (without retry_failed) before."""
    missing = [job for job in jobs if not job.done()]
    failed = [] if retry_failed else [past for job in missing if (past := failed_before(job))]
    broken = {ended.job.run_id for ended in failed}
    todo = []
    for job in missing:
        if job.run_id in broken:
            continue
        if broken & set(job.after):
            broken.add(job.run_id)
            failed.append(Ended(job, 1, ("not started: a run it starts from failed",)))
        else:
            todo.append(job)
    done = len([job for job in jobs if not job.link]) - len([job for job in missing if not job.link])
    if done:
        print(f"{done} job(s) were done before", flush=True)
    ended = run(todo) if todo else []
    return [*failed, *(e for e in ended if e.code != 0)]


def failed_before(job: Job) -> Ended | None:
    """Return how a job's run failed when it was last computed, if it did."""
    status = job.run.status()
    if status["state"] != "failed":
        return None
    error = str(status.get("error", "")).splitlines()
    return Ended(job, 1, (*error[:2], "this was before; run it again with retry_failed=true"))


def finish(
    job_overrides: Sequence[Sequence[str]], jobs: Sequence[Job], failed: Sequence[Ended], metric: str | None
) -> list[JobReturn]:
    """Report the failed jobs, and return Hydra's records."""
    order = {request(job): place for place, job in enumerate(jobs)}
    failed = sorted(failed, key=lambda ended: order[request(ended.job)])
    for ended in failed:
        print(f"failed: {ended}", file=sys.stderr, flush=True)
    _failures.extend(ended.job.name for ended in failed)
    by_request = {request(job): job for job in jobs if not job.link}
    broken = {request(ended.job) for ended in failed}
    returns: list[JobReturn] = []
    for overrides in job_overrides:
        job = by_request[request(described(tuple(overrides)))]
        ok = request(job) not in broken
        record = SweepReturn(overrides=list(overrides), working_dir=str(job.run_folder), task_name=job.name)
        record.status = JobStatus.COMPLETED if ok else JobStatus.FAILED
        record.return_value = objective(job.run_folder, metric) if ok and metric else None
        returns.append(record)
    return returns


def raise_failures() -> None:
    """Raise RunError if a launch of this process had failed jobs."""
    failed = take_failures()
    if failed:
        raise RunError(f"{len(failed)} job(s) failed: {'; '.join(failed)}")
