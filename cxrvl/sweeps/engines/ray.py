"""How does a sweep run on a Ray cluster? One Ray task per job, which starts a process and waits for it."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxrvl.errors import ConfigError
from cxrvl.runs import stopping
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.engines.following import follow
from cxrvl.sweeps.engines.task import StoppedError, TrainTask, ray_task, settings, tail_of
from cxrvl.sweeps.jobs import Job

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without GPUs is to see none
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report to its makers from machines that hold patients' images
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would upload the working folder
}
"""Ray's settings by environment variable; the user's own ones win."""
CONNECT_SECONDS = 10.0
"""What a machine may take to answer; Ray itself would go on asking for many minutes."""


class RayJob:
    """A job in Ray's hands."""

    def __init__(self, job: Job, reference: Any, log: Path) -> None:
        self.job, self.reference, self.log = job, reference, log
        self.label = f"Ray task {reference.hex()[:8]}"

    def ended(self) -> Ended | None:
        """Return how it ended, once it has."""
        import ray
        from ray.exceptions import RayError

        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            code = int(ray.get(self.reference))
        except (ray.exceptions.TaskCancelledError, StoppedError):
            return Ended(self.job, stopping.STOPPED, tail_of(self.log))
        except RayError as error:
            said = [line for line in str(error).splitlines() if line.strip()][-1:]
            return Ended(self.job, 1, (*tail_of(self.log), *said))
        return Ended(self.job, code, tail_of(self.log) if code else ())

    def cancel(self) -> None:
        """Ask for its end: the task is interrupted, and its guard gives the job its grace."""
        import ray

        ray.cancel(self.reference, force=False)


@dataclass(frozen=True)
class RayEngine:
    """Runs jobs on a Ray cluster, or on a Ray of this machine that ends with the sweep.

    Attributes:
        address: of the cluster: auto, local, ray://..., or None = what RAY_ADDRESS names, else one that runs here.
        init: further arguments of ray.init, such as num_cpus for a Ray of this machine.
        cpus_per_job, gpus_per_job: None = what the job's config asks for.
        resources: further Ray resources of each job.
        max_requeues: how often a job is tried again whose machine was lost or taken away.
    """

    address: str | None = None
    init: Mapping[str, Any] = field(default_factory=dict)
    cpus_per_job: float | None = None
    gpus_per_job: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    max_requeues: int = 20
    grace_seconds: float = 30.0
    at_most: int | None = None
    cancels: bool = True  # a Ray cluster ends the tasks of a driver that has left

    def __call__(self, jobs: Sequence[Job]) -> list[Ended]:
        """Run the jobs; returns how each ended.

        Raises:
            ConfigError: Ray is not there, cannot be reached, or has no machine for a job; nothing has been started then.
        """
        with self._connected() as ray:
            gpus = _gpus(ray)
            for job in jobs:
                self._refuse_impossible(job, gpus)
            most = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
            if max(self.cpus(job) for job in jobs) > most:
                print(
                    f"no machine of this Ray cluster has the CPUs of a job now (the largest has {most:g}); waiting for one"
                )
            return follow(jobs, self, Board(jobs))

    def submit(self, jobs: Sequence[Job]) -> list[RayJob]:
        """Hand over jobs; Ray starts each where there is room."""
        import ray

        gpus = _gpus(ray)
        submitted = []
        for job in jobs:
            task = self.task(job)
            remote = ray.remote(ray_task).options(
                name=job.name, num_cpus=self.cpus(job), num_gpus=self.gpus(job, gpus), resources=dict(self.resources),
                max_retries=self.max_requeues, retry_exceptions=[StoppedError],
            )  # fmt: skip
            assert task.log is not None
            submitted.append(RayJob(job, remote.remote(task), Path(task.log)))
        return submitted

    def task(self, job: Job) -> TrainTask:
        """Return what a worker runs for a job."""
        log = (job.run_folder.parent / ".sweeps" / job.sweep / f"{job.run_id}.log").absolute()
        return TrainTask(
            replace(job, config={}), str(Path.cwd()), settings(), self.grace_seconds, log=str(log)
        )  # fmt: skip

    def cpus(self, job: Job) -> float:
        """Return the CPUs that Ray sets aside: threads of all ranks; loader workers mostly wait."""
        return self.cpus_per_job if self.cpus_per_job is not None else job.threads * max(1, job.devices)

    def gpus(self, job: Job, cluster: float) -> float:
        """Return the GPUs that Ray gives; a job that takes what there is gets none where the cluster has none."""
        if self.gpus_per_job is not None:
            return self.gpus_per_job
        takes_any = job.config["trainer"]["accelerator"] == "auto"
        return float(job.devices) if job.wants_gpu and (cluster > 0 or not takes_any) else 0.0

    def farewell(self, labels: Sequence[str]) -> str:
        """Return what a user who leaves jobs behind should know: Ray leaves none."""
        return f"{len(labels)} job(s) end with this process"

    def _refuse_impossible(self, job: Job, gpus: float) -> None:
        trainer = job.config["trainer"]
        if int(trainer["num_nodes"]) > 1:
            raise ConfigError(
                f"{job.name}: trainer.num_nodes={trainer['num_nodes']} needs hydra/launcher=submitit_slurm; a Ray task is "
                "one machine's"
            )
        if (
            self.gpus_per_job is None
            and job.wants_gpu
            and not job.devices
            and (gpus or trainer["accelerator"] != "auto")
        ):
            raise ConfigError(
                f"{job.name}: trainer.devices={trainer['devices']} does not tell Ray how many GPUs to give; set a number, or "
                "hydra.launcher.gpus_per_job"
            )

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise ConfigError("hydra/launcher=ray needs the extra \"ray\": pip install 'cxrvl[ray]'") from error
        _refuse_unreachable(self.address or os.environ.get("RAY_ADDRESS"))
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, **dict(self.init))
        except (ConnectionError, ValueError, TypeError, RuntimeError) as error:
            where = self.address or os.environ.get("RAY_ADDRESS") or "this machine"
            raise ConfigError(f"hydra.launcher: no Ray at {where}: {' '.join(str(error).split())[:500]}") from error
        stopping.keep()  # Ray takes SIGTERM
        try:
            yield ray
        finally:
            ray.shutdown()


def _refuse_unreachable(address: str | None) -> None:
    """Refuse an address, <host>:<port> or ray://<host>:<port>, where nobody listens.

    Raises:
        ConfigError: as said.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return  # auto, local, or a word that Ray has an opinion on
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"hydra.launcher: no Ray at {address} ({error}); start one there (ray start --head), or name another "
            "hydra.launcher.address: auto, local or <host>:<port>"
        ) from error


def _gpus(ray: Any) -> float:
    return float(ray.cluster_resources().get("GPU", 0.0))


def engine(asked: Mapping[str, Any]) -> RayEngine:
    """Return the engine that a launcher's settings describe."""
    own = ("num_cpus", "num_gpus", "object_store_memory")
    init = {key: asked[key] for key in own if asked[key] is not None}
    return RayEngine(init={"include_dashboard": False} | init, **{k: v for k, v in asked.items() if k not in own})
