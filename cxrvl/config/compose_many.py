"""How are the many configs of a sweep, a table or a chain of runs composed in little time?"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cxrvl.config.compose import compose_config, config_dir, explain
from cxrvl.errors import ConfigError


def compose_fast(overrides: Sequence[str]) -> DictConfig:
    """Compose one config, as `compose_config` does, a tenth of the time for all jobs with the same group choices.

    Hydra chooses the files first and sets single values on their merged content last; the jobs of a sweep mostly
    differ in the second step alone.

    Raises:
        ConfigError: as `compose_config`.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return compose_config(overrides)  # says what is wrong
    values = [o for o in parsed if not _chooses_files(o)]
    if any(not _sets_value(o) for o in values):
        return compose_config(overrides)
    config = deepcopy(_chosen(tuple(str(o.input_line) for o in parsed if _chooses_files(o)), str(config_dir())))
    try:
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides)) from error
    return config


def forget() -> None:
    """Read the config files anew from now on."""
    _chosen.cache_clear()


@lru_cache(maxsize=64)
def _chosen(overrides: tuple[str, ...], folder: str) -> DictConfig:
    """The folder of the configs is part of what is asked."""
    return compose_config(overrides)


def _chooses_files(override: Override) -> bool:
    """Whether an override may name a config group; a folder of conf or, as a whole, Hydra's own business."""
    group = override.key_or_group
    return override.package is not None or group.startswith("hydra") or (config_dir() / group).is_dir()


def _sets_value(override: Override) -> bool:
    return not (override.is_add() or override.is_delete() or override.is_sweep_override())
