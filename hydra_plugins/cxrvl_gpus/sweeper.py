"""How does `cxrvl train -m a=1,2 b=3,4` become jobs? Every combination, as Hydra's basic sweeper has it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore


@dataclass
class GridSweeperConf:
    """What can be set as hydra.sweeper.<key>."""

    _target_: str = "hydra_plugins.cxrvl_gpus.sweeper.GridSweeper"
    max_batch_size: Optional[int] = None  # noqa: UP045 - OmegaConf reads this form in all its versions
    params: dict[str, str] = field(default_factory=dict)
    """What is swept, or a part of it, as `key: 1,2`; the command line adds to it and replaces."""


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="cxrvl")


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper, without its composing every job once more: cxrvl's launchers compose and check all."""

    def sweep(self, arguments: list[str]) -> Any:
        """Say how many jobs it is, those of `params` among them, and run them.

        Raises:
            ConfigError: a config that is not right; nothing has been started then.
        """
        from cxrvl.config.compose import expand_sweep
        from cxrvl.sweeps.jobs import describe

        jobs = describe(expand_sweep([*self._parse_config(), *arguments]))
        print(f"{len(jobs)} job(s), all checked", flush=True)
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which reports a config that is not right before any job is started."""
