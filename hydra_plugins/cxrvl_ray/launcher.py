"""How does Hydra run a sweep on Ray? Each job is a Ray task whose only work is to start a process."""

from dataclasses import dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore

from cxrvl.sweeps.hydra_launcher import EngineLauncher

# ruff: noqa: UP045 - OmegaConf reads Optional[...] in all its versions


@dataclass
class RayLauncherConf:
    """What can be set as hydra.launcher.<key>."""

    _target_: str = "hydra_plugins.cxrvl_ray.launcher.RayLauncher"
    address: Optional[str] = None
    """auto | local | <host>:<port> | null: what RAY_ADDRESS names, else a Ray that runs here, else one for this sweep."""
    num_cpus: Optional[int] = None
    """CPUs of a Ray that is started for this sweep; null = all. A running one has its own."""
    num_gpus: Optional[int] = None
    object_store_memory: Optional[int] = None
    """Bytes; jobs use none of it."""
    cpus_per_job: Optional[float] = None
    """CPUs set aside for a job; null = threads of all its processes."""
    gpus_per_job: Optional[float] = None
    """null = trainer.devices where the cluster has GPUs and trainer.accelerator is not cpu."""
    resources: dict[str, Any] = field(default_factory=dict)
    """Ray resources a job needs besides: +hydra.launcher.resources={a100: 1}."""
    max_requeues: int = 20
    """How often a job is tried again whose machine was lost or taken away; it continues where it was."""
    retry_failed: bool = False
    """Run those again that failed before; else they are reported, and count as failed."""
    grace_seconds: float = 30.0
    """Seconds a job has to write its resume point when it is stopped."""


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayLauncherConf, provider="cxrvl")


class RayLauncher(EngineLauncher):
    """Hands jobs to Ray and waits for them."""

    conf = RayLauncherConf

    def engine(self, settings: dict[str, Any]) -> Any:
        """Return the engine."""
        from cxrvl.sweeps.engines.ray import engine

        return engine(settings)
