"""How does Hydra run a sweep on one machine? Each job is a fresh process with its own GPUs, or a CPU slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


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


class GpusLauncher(Launcher):
    """A slot pool over the visible GPUs, or over the cores where there are none.

    Args:
        settings: the keys of `GpusLauncherConf`.
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
        from cxrvl.sweeps.launching import launch
        from cxrvl.sweeps.local import LocalEngine

        settings = dict(self.settings)
        retry_failed = settings.pop("retry_failed")
        return launch(job_overrides, LocalEngine(**settings), retry_failed=retry_failed, metric=self.metric)
