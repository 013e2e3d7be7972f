"""How do ranks that were started from outside learn whether there is anything to compute?

Rank 0 claims the run, and may wait for that, or find it done. The others wait for its word.
"""

import hashlib
import os
from datetime import timedelta
from typing import Any

from cxrvl.errors import ConfigError, RunError
from cxrvl.runs.place import Place

PATIENCE = timedelta(days=30)
"""Rank 0 may wait this long for another process that computes the same run."""
FAREWELL_MINUTES = 10
"""Another rank that has not started by then never will."""


class Meeting:
    """A store that all ranks of a job reach, on the address and port their process group will use.

    Args:
        here: this process's place; Slurm's ranks meet at rank 0, torchrun's at its agent.
    """

    def __init__(self, here: Place) -> None:
        from torch.distributed import PrefixStore, TCPStore

        self.here = here
        address, port = _slurm_address() if here.started_by == "slurm" else _torchrun_address()
        serves = here.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        store = TCPStore(address, port, is_master=serves, wait_for_workers=False, timeout=PATIENCE)
        # The process group joins this store instead of opening one on the same port.
        os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        self.store = PrefixStore(f"cxrvl/{os.environ.setdefault('TORCHELASTIC_RESTART_COUNT', '0')}", store)

    def tell(self, run_id: str, compute: bool) -> None:
        """Say as rank 0 which run this job is about, and whether the others are needed."""
        self.store.set("word", f"{run_id} {'compute' if compute else 'leave'}")
        if not compute:  # the store ends with this process: stay until all have heard
            others = [f"heard/{rank}" for rank in range(1, self.here.world)]
            self.store.wait(others, timedelta(minutes=FAREWELL_MINUTES))

    def told(self, run_id: str) -> bool:
        """Return as another rank whether it is needed.

        Raises:
            RunError: rank 0 is gone, or is about another run.
        """
        try:
            self.store.wait(["word"], PATIENCE)
            named, word = self.store.get("word").decode().split()
            self.store.set(f"heard/{self.here.rank}", "yes")
        except RuntimeError as error:
            raise RunError(f"rank {self.here.rank}: the first process of this job has ended") from error
        if named != run_id:
            raise RunError(
                f"rank {self.here.rank} composed run {run_id}, rank 0 run {named}: one command for all ranks, please"
            )
        return word == "compute"


def check_world(here: Place, config: dict[str, Any]) -> None:
    """Refuse ranks from outside that are not as many as the config says.

    Raises:
        ConfigError: as said.
    """
    from cxrvl.runs.trainer import local_processes

    trainer = config["trainer"]
    asked = local_processes(config) * trainer["num_nodes"]
    if here.world != asked:
        raise ConfigError(
            f"{here.started_by} started {here.world} processes, but trainer.devices={trainer['devices']} on "
            f"trainer.num_nodes={trainer['num_nodes']} asks for {asked}; make the two agree"
        )


def _torchrun_address() -> tuple[str, int]:
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def _slurm_address() -> tuple[str, int]:
    """Return the first node, and a port that two steps of one job do not share, as Lightning's choice would be."""
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    step = f"{os.environ.get('SLURM_JOB_ID')}.{os.environ.get('SLURM_STEP_ID')}"
    port = 20000 + int(hashlib.sha256(step.encode()).hexdigest(), 16) % 20000
    os.environ.setdefault("MASTER_PORT", str(port))
    slurm = SLURMEnvironment(auto_requeue=False)
    return slurm.main_address, slurm.main_port
