"""Which process of which job is this one: the only one, a rank that our own parent started, or one started outside?"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

RANK_OF = "CXRVL_RANK_OF"
"""Environment variable that makes a process a rank: the id of the run that its parent has claimed and records."""


@dataclass(frozen=True)
class Place:
    """One process among those that compute a run.

    Attributes:
        rank, world: which of how many.
        started_by: nobody (it is alone) | parent (`cxrvl train` started it) | torchrun | slurm (`srun`).
    """

    rank: int = 0
    world: int = 1
    started_by: str = "nobody"

    @property
    def outside(self) -> bool:
        """Whether the ranks were started from outside: then rank 0 claims and records the run."""
        return self.started_by in ("torchrun", "slurm")


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Return the place that the environment gives this process.

    Slurm's variables count inside a step of several tasks alone: a batch script sees SLURM_NTASKS, too, but is one
    process, whose ranks nobody else starts.
    """
    env = os.environ if environment is None else environment
    if RANK_OF in env:
        return Place(int(env["RANK"]), int(env["WORLD_SIZE"]), "parent")
    if "TORCHELASTIC_RUN_ID" in env and int(env.get("WORLD_SIZE", "1")) > 1:
        return Place(int(env["RANK"]), int(env["WORLD_SIZE"]), "torchrun")
    if int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return Place(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), "slurm")
    return Place()
