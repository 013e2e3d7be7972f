"""What can be set for a search under `hydra.sweeper`? Names and search space are those of Hydra's own Optuna sweeper."""

from dataclasses import dataclass, field
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class SamplerConf:
    """Who chooses the next trial."""

    name: str = "tpe"
    """tpe | random | grid | nsgaii."""
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of Optuna's sampler, such as n_startup_trials."""


@dataclass
class CxrvlOptunaSweeperConf:
    """A search: the settings of `hydra.sweeper`."""

    _target_: str = "hydra_plugins.cxrvl_optuna.sweeper.CxrvlOptunaSweeper"
    metric: Any = None
    """Dotted name, such as findings.mean.auroc, or a list of them."""
    direction: Any = None
    """maximize | minimize, or a list, one for each metric."""
    n_trials: int = 20
    """Trials in all; a finished search asked for more goes on."""
    n_jobs: int = 2
    """Trials side by side; the next are chosen when all of them have ended."""
    params: dict[str, Any] = field(default_factory=dict)
    """The search space, or a part of it, as `key: "interval(0, 1)"`; the command line adds to it and replaces."""
    sampler: SamplerConf = field(default_factory=SamplerConf)
    storage: str | None = None
    """The study's file; null = <paths.runs>/.searches/<study_name>.journal."""
    study_name: str | None = None
    """null = made of what is searched."""
    max_failure_rate: float = 1.0
    """The search stops where more than this share of a batch failed; 1 = it goes on."""


class CxrvlOptunaSweeper(Sweeper):
    """Hands Hydra's launcher one batch of trials after another."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and have it build the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search that the settings and the command line's overrides describe."""
        from cxrvl.sweeps.hydra_launcher import refuse_unknown
        from cxrvl.sweeps.search import run_search
        from cxrvl.sweeps.search_settings import read_search

        assert self.config is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        assert launcher is not None
        settings = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(self.settings), resolve=True))
        refuse_unknown("hydra.sweeper", settings, CxrvlOptunaSweeperConf)
        refuse_unknown("hydra.sweeper.sampler", settings["sampler"], SamplerConf)
        search = read_search(
            settings,
            arguments,
            self.hydra_context.config_loader,
            retry_failed=bool(self.config.hydra.launcher.get("retry_failed", False)),
        )
        run_search(search, lambda jobs, first: launcher.launch(jobs, initial_job_idx=first))


ConfigStore.instance().store(
    group="hydra/sweeper", name="cxrvl_optuna", node=CxrvlOptunaSweeperConf, provider="cxrvl_optuna"
)
