"""How does Hydra run a sweep on Ray? Each job is a Ray task whose only work is to start a process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

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


class RayLauncher(Launcher):
    """Hands jobs to Ray and waits for them.

    Args:
        settings: the keys of `RayLauncherConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.metric: str | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the name of the metric that a sweeper wants back, if it names one."""
        metric = OmegaConf.select(config, "hydra.sweeper.metric")
        self.metric = metric if isinstance(metric, str) else None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compute what the jobs lack."""
        from cxrvl.sweeps.engines.ray import engine
        from cxrvl.sweeps.launching import launch

        plain = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in self.settings.items()}
        retry_failed = bool(plain.pop("retry_failed"))
        return launch(job_overrides, engine(plain), retry_failed=retry_failed, metric=self.metric)
