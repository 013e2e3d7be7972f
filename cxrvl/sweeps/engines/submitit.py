"""How does a sweep run on Slurm? submitit queues one task per job, in job arrays, and queues stopped ones again."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from cxrvl.data.preparation import default_workers
from cxrvl.errors import ConfigError, RunError
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.engines.following import follow
from cxrvl.sweeps.engines.task import RequeuedTask, settings, tail_of
from cxrvl.sweeps.jobs import Job

SIGNAL_VARIABLE, SIGNAL = "SUBMITIT_PREEMPT_SIGNAL", "USR1"
"""The signal that tells a job that its time is up; submitit reads the variable when it is imported."""
CONTINUES = ("CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "REVOKED", "INTERRUPTED")
"""States of a job that was ended from outside, and can be continued."""
NO_LIMIT_MINUTES = 60 * 24 * 365
GENERIC = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
"""Settings that submitit names alike for all its executors."""
OWN_LINES = "submitit "
LOOK_SECONDS = 5.0
"""How often to look for a job's end on the shared file system; Slurm itself is asked less and less often."""
LOCAL_RETRIES = 5
"""submitit's local executor starts a job six times at most."""


class SubmittedJob:
    """A job in submitit's hands."""

    def __init__(self, job: Job, handle: Any, local: bool) -> None:
        self.job, self.handle, self.local = job, handle, local
        self.label = f"{'process' if local else 'Slurm job'} {handle.job_id}"
        self.next_look = 0.0

    def ended(self) -> Ended | None:
        """Return how it ended, once it has."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if time.monotonic() < self.next_look:
            return None
        if not self.handle.done():
            self.next_look = time.monotonic() + (0.0 if self.local else LOOK_SECONDS)
            return None
        first = self.handle.task(0)
        tail = tail_of(first.paths.stdout, OWN_LINES)
        try:
            code = int(first.result())
        except FailedJobError as error:
            reason = [
                line for line in str(error).splitlines() if line.strip() and not line.startswith(("-", "You can"))
            ]
            return Ended(self.job, 1, (*tail, *reason[-3:-1]))
        except UncompletedJobError:
            state = str(first.state).upper()
            said = f"{self.label} ended without a word; its state is {state}"
            return Ended(self.job, 75 if state.startswith(CONTINUES) else -9, (*tail, said))
        return Ended(self.job, code, tail if code else ())

    def cancel(self) -> None:
        """Ask for its end; a local one's own cancel would kill it within a second."""
        if self.local and self.handle._process is not None:
            self.handle._process.terminate()
        else:
            self.handle.cancel(check=False)


@dataclass(frozen=True)
class SubmititEngine:
    """Runs jobs through submitit.

    Attributes:
        local: on this machine, as processes, to try out what will run on Slurm.
        parameters: what submitit's executor takes, such as partition or mem_gb; those that are None are left out.
        max_requeues: how often a stopped job is queued again.
        cancels: cancel the jobs when this process is stopped.
        grace_seconds: what a job has to write its resume point.
        folder: of submitit's files; None = beside the runs.
        at_most: jobs queued at the same time; None = all, and Slurm decides.
    """

    local: bool
    parameters: Mapping[str, Any]
    max_requeues: int = 20
    cancels: bool = False
    grace_seconds: float = 30.0
    folder: str | None = None
    at_most: int | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[Ended]:
        """Run the jobs; returns how each ended.

        Raises:
            ConfigError: submitit, or Slurm, is not there, or refuses a setting; nothing has been queued then.
            RunError: Slurm refuses a job.
        """
        self._executor(jobs[0])
        for job in jobs:
            self.resources(job)
        most = self.at_most
        if self.local and most is None:
            most = max(1, default_workers() // max(job.threads * max(1, job.devices) for job in jobs))
        return follow(jobs, replace(self, at_most=most), Board(jobs))

    def submit(self, jobs: Sequence[Job]) -> list[SubmittedJob]:
        """Queue jobs: an array for those that need the same."""
        submitted = []
        for _, group in groupby(sorted(jobs, key=self._key), self._key):
            alike = list(group)
            executor = self._executor(alike[0])
            try:
                with executor.batch():
                    handles = [executor.submit(self.task(job)) for job in alike]
            except Exception as error:  # submitit lets through whatever calling sbatch raises
                raise RunError(f"the job(s) could not be queued: {' '.join(str(error).split())[:500]}") from error
            submitted += [SubmittedJob(job, handle, self.local) for job, handle in zip(alike, handles, strict=True)]
        return submitted

    def task(self, job: Job) -> RequeuedTask:
        """Return what is queued for a job."""
        return RequeuedTask(
            replace(job, config={}), str(Path.cwd()), settings(), self.grace_seconds,
            alone=self._nodes(job) == 1, max_requeues=self.max_requeues,
        )  # fmt: skip

    def resources(self, job: Job) -> dict[str, Any]:
        """Return what a job asks of the queue: what was set, else what follows from its config.

        Raises:
            ConfigError: trainer.devices does not say how many GPUs it needs.
        """
        asked = {key: value for key, value in self.parameters.items() if value is not None}
        nodes, processes = self._nodes(job), max(1, job.devices)
        if self.local:
            if nodes > 1:
                raise ConfigError(f"{job.name}: trainer.num_nodes={nodes} needs hydra/launcher=submitit_slurm")
            return asked
        if not {"gpus_per_node", "gres"} & set(asked) and job.wants_gpu:
            if not job.devices:
                raise ConfigError(
                    f"{job.name}: trainer.devices={job.config['trainer']['devices']} does not tell Slurm how many GPUs to "
                    "give; set a number, or hydra.launcher.gpus_per_node"
                )
            asked["gpus_per_node"] = job.devices
        if asked.get("gpus_per_node") == 0:
            del asked["gpus_per_node"]
        loaders = int(job.config["data"].get("num_workers") or 0)
        asked.setdefault("cpus_per_task", (job.threads + loaders) * (processes if nodes == 1 else 1))
        asked["setup"] = [*asked.get("setup", []), f"export {SIGNAL_VARIABLE}={SIGNAL}"]
        return asked | {
            "name": f"cxrvl-{job.sweep}", "nodes": nodes, "tasks_per_node": 1 if nodes == 1 else processes
        }  # fmt: skip

    def farewell(self, labels: Sequence[str]) -> str:
        """Return what a user who leaves jobs behind should know."""
        ids = " ".join(dict.fromkeys(label.split()[-1] if self.local else _array(label) for label in labels))
        where, how = ("on this machine", "kill") if self.local else ("in Slurm's queue", "scancel")
        return f"{len(labels)} job(s) go on {where}; to stop them: {how} {ids}"

    def _nodes(self, job: Job) -> int:
        return int(job.config["trainer"]["num_nodes"])

    def _key(self, job: Job) -> str:
        return repr(sorted(self.resources(job).items(), key=lambda item: item[0]))

    def _folder(self, job: Job) -> Path:
        root = Path(self.folder) if self.folder else job.run_folder.parent / ".sweeps"
        return root.absolute() / job.sweep / "%j"

    def _executor(self, job: Job) -> Any:
        os.environ[SIGNAL_VARIABLE] = SIGNAL
        try:
            import submitit
        except ImportError as error:
            name = "submitit_local" if self.local else "submitit_slurm"
            raise ConfigError(f"hydra/launcher={name} needs the extra \"slurm\": pip install 'cxrvl[slurm]'") from error
        asked = self.resources(job)
        try:
            if self.local:
                executor: Any = submitit.LocalExecutor(self._folder(job), max_num_timeout=self.max_requeues)
                executor.update_parameters(stderr_to_stdout=True, **asked)
            else:
                executor = submitit.AutoExecutor(
                    self._folder(job), cluster="slurm", slurm_max_num_timeout=self.max_requeues
                )
                named = {key if key in GENERIC else f"slurm_{key}": value for key, value in asked.items()}
                executor.update_parameters(stderr_to_stdout=True, **named)
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
            raise ConfigError(f"hydra.launcher: {_reason(error)}") from error
        return executor


def engine(settings: Mapping[str, Any], local: bool) -> SubmititEngine:
    """Return the engine that a launcher's settings describe.

    Raises:
        ConfigError: settings that contradict each other.
    """
    asked = dict(settings)
    on_interrupt, grace = asked.pop("on_interrupt"), float(asked.pop("grace_seconds"))
    max_requeues = int(asked.pop("max_requeues"))
    if on_interrupt not in ("cancel", "leave"):
        raise ConfigError(f"hydra.launcher.on_interrupt is {on_interrupt!r}; expected cancel or leave")
    if grace >= asked["signal_delay_s"]:
        raise ConfigError(
            f"hydra.launcher.grace_seconds={grace:g} is not less than hydra.launcher.signal_delay_s="
            f"{asked['signal_delay_s']}: a job would be killed before it has written where it was"
        )
    if max_requeues < 0 or (local and max_requeues > LOCAL_RETRIES):
        most = f"between 0 and {LOCAL_RETRIES}" if local else "at least 0"
        raise ConfigError(f"hydra.launcher.max_requeues is {max_requeues}; expected {most}")
    folder = asked.pop("submitit_folder")
    at_most = asked.pop("array_parallelism") if local else None
    if local:
        asked["timeout_min"] = asked["timeout_min"] or NO_LIMIT_MINUTES
    return SubmititEngine(
        local,
        asked,
        max_requeues,
        cancels=on_interrupt == "cancel",
        grace_seconds=grace,
        folder=folder,
        at_most=at_most,
    )


def _array(label: str) -> str:
    return label.split()[-1].partition("_")[0]


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "srun" in text:
        return "there is no Slurm here (no srun in PATH); start the sweep on a login node, or use hydra/launcher=gpus"
    return text
