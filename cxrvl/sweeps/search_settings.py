"""How do the settings of `hydra.sweeper` and a command line become a search?"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader

from cxrvl.errors import ConfigError
from cxrvl.sweeps.samplers import SamplerChoice
from cxrvl.sweeps.search import Search
from cxrvl.sweeps.search_space import read_space

SWEEPER = "cxrvl_optuna"


def read_search(
    settings: Mapping[str, Any],
    arguments: Sequence[str],
    loader: ConfigLoader | None = None,
    *,
    retry_failed: bool = False,
) -> Search:
    """Return the search that `hydra.sweeper` and the overrides of a command line describe.

    Raises:
        ConfigError: Optuna is not installed, or a setting cannot be.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(f"hydra/sweeper={SWEEPER} needs Optuna; install it: pip install 'cxrvl[optuna]'")
    sampler = settings["sampler"]
    return Search(
        read_space([*_params(settings["params"]), *arguments], loader),
        metrics=_several(settings["metric"]),
        directions=_several(settings["direction"]),
        trials=settings["n_trials"],
        batch=settings["n_jobs"],
        sampler=SamplerChoice(sampler["name"], sampler["seed"], sampler["options"]),
        storage=settings["storage"],
        name=settings["study_name"],
        max_failure_rate=settings["max_failure_rate"],
        retry_failed=retry_failed,
    )


def _params(params: Mapping[str, Any]) -> list[str]:
    """Return `hydra.sweeper.params` as overrides; a nested mapping is the same as dotted keys."""
    found = []
    for key, value in params.items():
        if isinstance(value, Mapping):
            found += [f"{key}.{rest}" for rest in _params(value)]
        else:
            found.append(
                f"{key}={'null' if value is None else str(value).lower() if value is True or value is False else value}"
            )
    return found


def _several(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (str(value),)
