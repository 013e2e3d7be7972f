"""What do our Hydra launchers share? Each of them is its settings and the engine they describe."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    from cxrvl.sweeps.launching import Engine


class EngineLauncher(Launcher):
    """Computes what a sweep's jobs lack, on an engine.

    Args:
        settings: the keys of the launcher's config.

    Attributes:
        conf: the dataclass of what can be set.
    """

    conf: ClassVar[type]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.metric: str | None = None

    @abstractmethod
    def engine(self, settings: dict[str, Any]) -> "Engine":
        """Return the engine that the settings describe, `retry_failed` left out.

        Raises:
            ConfigError: settings that cannot be right.
        """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the name of the metric that a sweeper wants back, if it names one."""
        metric = OmegaConf.select(config, "hydra.sweeper.metric")
        self.metric = metric if isinstance(metric, str) else None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compute what the jobs lack.

        Raises:
            ConfigError: an unknown setting, a negative grace, and all that `engine` and `launch` refuse.
        """
        from cxrvl.sweeps.launching import launch

        refuse_unknown("hydra.launcher", self.settings, self.conf)
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in self.settings.items()
        }
        retry_failed = bool(plain.pop("retry_failed"))
        if plain["grace_seconds"] < 0:
            raise ConfigError(f"hydra.launcher.grace_seconds is {plain['grace_seconds']:g}; expected 0 or more seconds")
        return launch(job_overrides, self.engine(plain), retry_failed=retry_failed, metric=self.metric)


def refuse_unknown(where: str, settings: Iterable[str], conf: type) -> None:
    """Refuse settings that were added with a plus sign and that nobody would look at.

    Args:
        where: what they are keys of.
        settings: the keys.
        conf: the dataclass of what can be set.

    Raises:
        ConfigError: naming the first of them and the nearest key.
    """
    known = {field.name for field in fields(conf)} - {"_target_"}
    for key in settings:
        if key not in known:
            raise ConfigError(f"unknown key '{where}.{key}'{did_you_mean(key, known)}")
