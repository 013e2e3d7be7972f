"""Which jobs is a sweep, and how is each one started?"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cxrvl.config import compose_many
from cxrvl.config.compose import hydra_session, resolved
from cxrvl.config.devices import device_count
from cxrvl.runs.evaluations import planned
from cxrvl.runs.identity import identify
from cxrvl.runs.records import SWEEP
from cxrvl.runs.store import Run, RunStore
from cxrvl.sweeps.checking import check_all

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
RANK_VARIABLES = (
    "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE",
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "CXRVL_RANK_OF",
)  # fmt: skip
RANK_PREFIXES = ("MASTER_", "TORCHELASTIC_", "SLURM_STEP_", "PMI_", "PMIX_", "OMPI_COMM_WORLD_")


@dataclass(frozen=True)
class Job:
    """One `cxrvl train <overrides>` in a fresh process.

    Attributes:
        name: what varies between the jobs of the sweep.
        config: resolved and checked.
        threads: CPU threads of each of its processes.
        devices: processes, and GPUs where there are any, that trainer.devices asks for; 0 = all it is given.
        after: ids of the runs whose weights it starts from, and of those that these start from, as far as any is missing.
        link: it is no job of the sweep itself; others start from its weights.
    """

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any] = field(repr=False, compare=False)
    run_id: str
    run_folder: Path
    threads: int = 1
    devices: int = 1
    after: tuple[str, ...] = ()
    link: bool = False
    sweep: str = ""

    @property
    def run(self) -> Run:
        """The run it computes."""
        return Run(self.run_folder)

    @property
    def wants_gpu(self) -> bool:
        """Whether it uses GPUs where there are any."""
        return self.config["trainer"]["accelerator"] in ("auto", "gpu", "cuda")

    def argv(self) -> list[str]:
        """Return the process's command line."""
        return [sys.executable, "-m", "cxrvl.cli", "train", *self.overrides]

    def environment(self, gpus: Sequence[str] | None = (), local: bool = True) -> dict[str, str]:
        """Return the whole environment of the process.

        Args:
            gpus: names of its GPUs as CUDA takes them; none hides all; None leaves it to the engine.
            local: drop what an enclosing job says of ranks; False where the engine itself sets ranks.
        """
        env = dict(os.environ)
        if local:
            env = {k: v for k, v in env.items() if k not in RANK_VARIABLES and not k.startswith(RANK_PREFIXES)}
        env |= dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if gpus is not None:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        if self.sweep:
            env[SWEEP] = self.sweep
        return env

    def done(self) -> bool:
        """Return whether nothing is left to compute: trained and evaluated, or for a link, trained."""
        if self.run.state() != "done":
            return False
        return self.link or all(e.done() for e in planned(self.run, self.config))


def describe(job_overrides: Sequence[Sequence[str]]) -> list[Job]:
    """Compose, check and identify a sweep's jobs; runs they start from become jobs in front, each once.

    Two jobs that ask the same of the same run are one.

    Raises:
        ConfigError: a config that does not compose or cannot be built; nothing has been started then.
        DataError: a study table that cannot be built.
    """
    with hydra_session():
        asked = [described(tuple(overrides)) for overrides in job_overrides]
        names = varying([job.overrides for job in asked])
        return with_links([replace(job, name=name or job.name) for job, name in zip(asked, names, strict=True)])


def with_links(asked: Sequence[Job], sweep: str | None = None) -> list[Job]:
    """Put the runs that jobs start from in front of them, drop what is asked for twice, and check what is not done.

    Args:
        sweep: the sweep's name; None = see `sweep_name`.
    """
    own = {job.run_id for job in asked}
    links: dict[str, Job] = {}
    jobs: dict[str, Job] = {}
    for job in asked:
        before = links_of(job)
        links |= {link.run_id: link for link in before if link.run_id not in own}
        jobs.setdefault(request(job), replace(job, after=tuple(link.run_id for link in before)))
    found = [*links.values(), *_after_each_other(list(jobs.values()))]
    check_all([job.config for job in found if not job.done()])
    name = sweep or sweep_name(found)
    return [replace(job, sweep=name) for job in found]


def _after_each_other(jobs: list[Job]) -> list[Job]:
    """Move a job behind those of the same sweep that it starts from; all others keep their order."""
    depth = {job.run_id: 0 for job in jobs}
    for _ in jobs:
        deeper = {job.run_id: max((depth[i] + 1 for i in job.after if i in depth), default=0) for job in jobs}
        if deeper == depth:
            break
        depth = deeper
    return sorted(jobs, key=lambda job: depth[job.run_id])


def forget() -> None:
    """Compose and identify anew whatever is asked for from now on: files may have changed since."""
    described.cache_clear()
    compose_many.forget()


def request(job: Job) -> str:
    """Return what is asked of which run: the same run may be asked for different evaluations."""
    asked = [job.config["evaluation"], job.config["checkpoint"]["use"]]
    return f"{job.run_id} {json.dumps(asked, sort_keys=True)}"


@lru_cache(maxsize=4096)
def described(overrides: tuple[str, ...]) -> Job:
    """Return one job by itself: composed and identified, not yet checked, named by config and seed."""
    config = resolved(compose_many.compose_fast(overrides))
    try:
        return job_of(f"{config['name']} seed={config['seed']}", overrides, config)
    except Exception:
        check_all([config])  # knows better words for what cannot be built
        raise


def job_of(name: str, overrides: Iterable[str], config: dict[str, Any], run_id: str | None = None) -> Job:
    """Return the job of a resolved config."""
    run_id = run_id or identify(config).run_id
    folder = RunStore(Path(config["paths"]["runs"])).run(run_id).folder
    return Job(
        name, tuple(overrides), config, run_id, folder, config["threads"], device_count(config["trainer"]["devices"])
    )


def links_of(job: Job) -> list[Job]:
    """Return the runs that must be made before a job as jobs, each behind all the others that it needs itself."""
    from cxrvl.runs.upstream import missing_links

    found: list[Job] = []
    needs: dict[str, set[str]] = {}
    for link in [] if job.done() else missing_links(job.config):
        name = f"{link.config['name']} seed={link.config['seed']} (others start from it)"
        made = job_of(name, link.overrides, link.config, link.run_id)
        direct = {one.run_id for one in link.before if one is not None and one.run_id in needs}
        needs[link.run_id] = direct.union(*(needs[run_id] for run_id in direct))
        after = tuple(other.run_id for other in found if other.run_id in needs[link.run_id])
        found.append(replace(made, after=after, link=True))
    return found


def varying(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return, per job, the overrides that not all jobs share, as one string."""
    common = set.intersection(*map(set, overrides)) if overrides else set()
    return [" ".join(o for o in job if o not in common) for job in overrides]


def sweep_name(jobs: Sequence[Job]) -> str:
    """Return the sweep's name: what the environment names, such as a table, else one made of its runs."""
    ids = "\n".join(sorted(job.run_id for job in jobs if not job.link))
    return os.environ.get(SWEEP) or f"sweep-{hashlib.sha256(ids.encode()).hexdigest()[:8]}"
