"""On what does each job of a sweep run, on one machine? GPUs where they are visible and wanted, else CPU slots."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrvl.data.preparation import default_workers
from cxrvl.errors import ConfigError
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.shares import Shares

NVIDIA_CONTROL = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Place:
    """What a job was given: names of GPUs as CUDA takes them, or, without any, a CPU slot.

    Attributes:
        gpus: their names.
        held: open files that keep other sweeps from these GPUs.
    """

    gpus: tuple[str, ...] = ()
    held: tuple[int, ...] = ()


def check_numbers(per_job: int | None, jobs_per_gpu: int, slots: int | None) -> None:
    """Refuse settings of `Slots` below one with a ConfigError."""
    for name, value in (("per_job", per_job), ("jobs_per_gpu", jobs_per_gpu), ("slots", slots)):
        if value is not None and value < 1:
            raise ConfigError(f"hydra.launcher.{name} is {value}; expected at least 1")


class Slots:
    """Counts what is free.

    Args:
        jobs: all that will be placed.
        gpus: names of the GPUs.
        per_job: GPUs per job; None = what each job's trainer.devices asks for.
        jobs_per_gpu: small jobs that share one GPU.
        slots: jobs side by side that use no GPU; None = cores / threads of the largest of them.
        shares: keeps other sweeps from the GPUs in use; None = there are no others.

    Attributes:
        kept: the last job that found no place would have found one, were it not for other sweeps.

    Raises:
        ConfigError: a job that can never be placed, or numbers below one.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        gpus: Sequence[str],
        per_job: int | None = None,
        jobs_per_gpu: int = 1,
        slots: int | None = None,
        shares: Shares | None = None,
    ) -> None:
        check_numbers(per_job, jobs_per_gpu, slots)
        self.per_job, self.shares = per_job, shares
        self.kept = False
        self.free = dict.fromkeys(gpus, jobs_per_gpu)
        self.free_slots = slots or self._default_slots([job for job in jobs if not self.gpus_of(job)])
        for job in jobs:
            self._refuse_impossible(job)

    def gpus_of(self, job: Job) -> int:
        """Return how many GPUs a job gets; 0 = it takes a CPU slot."""
        if not self.free or not job.wants_gpu:
            return 0
        return self.per_job or job.devices or len(self.free)

    def take(self, job: Job) -> Place | None:
        """Return a place for a job, the least loaded GPUs first, or None while there is none."""
        self.kept = False
        count = self.gpus_of(job)
        if count:
            return self._take_gpus(count)
        if not self.free_slots:
            return None
        self.free_slots -= 1
        return Place()

    def _take_gpus(self, count: int) -> Place | None:
        free = sorted((gpu for gpu in self.free if self.free[gpu]), key=lambda gpu: -self.free[gpu])
        if len(free) < count:
            return None
        held: dict[str, int | None] = {}
        for gpu in free:
            file = self.shares.take(gpu) if self.shares is not None else None
            if file is not None or self.shares is None:
                held[gpu] = file
            if len(held) == count:
                break
        files = tuple(file for file in held.values() if file is not None)
        if len(held) < count:
            self.kept = True
            _close(files)
            return None
        for gpu in held:
            self.free[gpu] -= 1
        return Place(tuple(gpu for gpu in self.free if gpu in held), files)

    def give(self, place: Place) -> None:
        """Take back the place of a job that has ended."""
        _close(place.held)
        if not place.gpus:
            self.free_slots += 1
        for gpu in place.gpus:
            self.free[gpu] += 1

    def _default_slots(self, jobs: Sequence[Job]) -> int:
        return max(1, default_workers() // max((job.threads * max(1, job.devices) for job in jobs), default=1))

    def _refuse_impossible(self, job: Job) -> None:
        trainer = job.config["trainer"]
        if int(trainer["num_nodes"]) > 1:
            raise ConfigError(
                f"{job.name}: trainer.num_nodes={trainer['num_nodes']} cannot run on this machine alone; "
                "use hydra/launcher=submitit_slurm"
            )
        if trainer["accelerator"] in ("gpu", "cuda") and not self.free:
            raise ConfigError(
                f"{job.name}: trainer.accelerator={trainer['accelerator']}, but no GPU is visible here "
                "(nvidia-smi -L and CUDA_VISIBLE_DEVICES say which are); free one, or set trainer.accelerator=cpu"
            )
        count = self.gpus_of(job)
        if count and job.devices and count != job.devices:
            raise ConfigError(
                f"{job.name}: hydra.launcher.per_job={count}, but trainer.devices={trainer['devices']}; "
                f"set trainer.devices={count} (and trainer=ddp for several), or leave per_job out"
            )
        if count > len(self.free):
            raise ConfigError(f"{job.name} wants {count} GPUs, but {len(self.free)} are visible; ask for fewer")


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs jobs may use, as CUDA_VISIBLE_DEVICES takes them, without importing torch.

    What CUDA_VISIBLE_DEVICES names is taken as it stands: numbers, UUIDs, MIG devices. Without it nvidia-smi is
    asked, and the names are UUIDs, which do not depend on the order in which CUDA numbers unequal GPUs.

    Raises:
        ConfigError: the driver is there, but nvidia-smi cannot be asked.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        names: list[str] = []
        for name in environment["CUDA_VISIBLE_DEVICES"].split(","):
            if not name.strip() or name.strip() == "-1" or name.strip().lower() in ("none", "nodevfiles", "void"):
                break  # CUDA ignores whatever follows an invalid name
            names.append(name.strip())
        return list(dict.fromkeys(names))
    if not NVIDIA_CONTROL.exists():
        return []
    program = shutil.which("nvidia-smi")
    asked = subprocess.run([program, "-L"], capture_output=True, text=True, check=False) if program else None
    if asked is None or asked.returncode:
        said = asked.stdout.strip() or asked.stderr.strip() if asked else "it is not on the PATH"
        raise ConfigError(
            f"there is an NVIDIA driver, but nvidia-smi -L fails ({said}); name the GPUs: CUDA_VISIBLE_DEVICES=0,1"
        )
    return listed_gpus(asked.stdout)


def listed_gpus(text: str) -> list[str]:
    """Return the UUIDs that `nvidia-smi -L` prints; of a GPU cut into MIG devices, those of its parts."""
    found: list[str] = []
    whole = ""
    for line in text.splitlines():
        uuid = line.rpartition("UUID: ")[2].rstrip(") \r")
        if line.startswith("GPU "):
            whole = uuid
            found.append(uuid)
        elif line.strip().startswith("MIG "):
            found = [name for name in found if name != whole]
            found.append(uuid)
    return found
