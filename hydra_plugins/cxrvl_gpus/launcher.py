"""How does Hydra run a sweep on one machine? Each job is a fresh process with its own GPUs, or a CPU slot."""

from dataclasses import dataclass
from typing import Any, Optional

from hydra.core.config_store import ConfigStore

from cxrvl.sweeps.hydra_launcher import EngineLauncher


@dataclass
class GpusLauncherConf:
    """What can be set as hydra.launcher.<key>."""

    _target_: str = "hydra_plugins.cxrvl_gpus.launcher.GpusLauncher"
    per_job: Optional[int] = None  # noqa: UP045 - OmegaConf reads this form in all its versions
    """GPUs per job; null = as many as its trainer.devices."""
    jobs_per_gpu: int = 1
    """Small jobs that share one GPU."""
    slots: Optional[int] = None  # noqa: UP045
    """Jobs side by side where no GPU is used; null = cores / threads of a job."""
    retry_failed: bool = False
    """Run those again that failed before; else they are reported, and count as failed."""
    grace_seconds: float = 30.0
    """Seconds a job has to write its resume point when it is stopped, before it is killed."""


ConfigStore.instance().store(group="hydra/launcher", name="gpus", node=GpusLauncherConf, provider="cxrvl")


class GpusLauncher(EngineLauncher):
    """A slot pool over the visible GPUs, or over the cores where there are none."""

    conf = GpusLauncherConf

    def engine(self, settings: dict[str, Any]) -> Any:
        """Return the pool."""
        from cxrvl.sweeps.local import LocalEngine

        return LocalEngine(**settings)
