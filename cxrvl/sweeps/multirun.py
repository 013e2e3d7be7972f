"""How does plain Hydra run, with its launchers, sweepers and information flags?"""

import re
import sys
from collections.abc import Sequence

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cxrvl.config import resolvers, schema
from cxrvl.config.compose import config_dir, explain
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

DEFAULTS = {"hydra/launcher": "gpus", "hydra/sweeper": "grid"}
"""What conf/config.yaml chooses."""


def show(argv: Sequence[str]) -> None:
    """Hand a command line that only asks for information to Hydra."""
    resolvers.register()
    schema.register()
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_job)
    before, sys.argv = sys.argv, ["cxrvl train", *argv]
    try:
        main()
    finally:
        sys.argv = before


def multirun(overrides: Sequence[str], retry_failed: bool = False) -> None:
    """Let Hydra's sweeper and launcher, as the config names them, run a sweep.

    Hydra is asked directly: `hydra.main` would print a traceback of every error and leave with exit code 1.

    Raises:
        RunError: some jobs failed; the others ran all the same.
        ConfigError: a config, or a setting of the launcher or sweeper, that is not right.
        KeyboardInterrupt, SystemExit: the sweep was stopped.
    """
    from cxrvl.sweeps.launching import raise_failures, take_failures

    resolvers.register()
    schema.register()
    version.setbase("1.3")
    take_failures()
    app = Hydra.create_main_hydra2("cxrvl", create_config_search_path(str(config_dir())))
    try:
        app.multirun("config", _retrying if retry_failed else _job, [*overrides, "hydra.mode=MULTIRUN"])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_hydra(app, error, overrides) or explain(error, overrides)) from error
    finally:
        GlobalHydra.instance().clear()
    raise_failures()


def explain_hydra(app: Hydra, error: Exception, overrides: Sequence[str]) -> str | None:
    """Say what is wrong with a choice of launcher or sweeper, or a setting of one; None where it is neither."""
    if isinstance(error, MissingConfigException) and str(error.missing_cfg_file).startswith("hydra/"):
        group, _, option = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        options = app.config_loader.get_group_options(group, config_name="config")
        return f"no option '{option}' in group '{group}'{did_you_mean(option, options)}"
    key = re.search(r"Could not override '(hydra\.(?:launcher|sweeper))\.([^'.]+)'", str(error))
    if key is None:
        return None
    name = f"{key.group(1)}.{key.group(2)}"
    group = key.group(1).replace(".", "/")
    option = chosen(overrides, group)
    path = f"{group}/{option}.yaml"
    known = ConfigStore.instance().load(path).node if ConfigStore.instance().get_type(path) == ObjectType.CONFIG else {}
    keys = [str(k) for k in known if k != "_target_"]
    if key.group(2) in keys:  # a free mapping, which takes new keys with a plus sign alone
        return f"cannot set '{name}'; to add keys to it, write a plus sign: +{name}={{...}}"
    return f"unknown key '{name}' of {group}={option}{did_you_mean(key.group(2), keys)}"


def chosen(overrides: Sequence[str], group: str) -> str:
    """Return which launcher or sweeper the overrides choose, else that of conf/config.yaml."""
    return next((o.partition("=")[2] for o in reversed(overrides) if o.startswith(f"{group}=")), DEFAULTS[group])


def _job(config: DictConfig, retry_failed: bool = False) -> float | None:
    """Run one job for a launcher that calls a function per job, such as Hydra's basic one.

    One interpreter never trains twice: threads, seeds and devices would leak. The job is a fresh process here too.
    """
    from cxrvl.sweeps.launching import launch
    from cxrvl.sweeps.local import LocalEngine

    overrides = list(HydraConfig.get().overrides.task)
    (done,) = launch([overrides], LocalEngine(slots=1), retry_failed=retry_failed)
    return done.return_value


def _retrying(config: DictConfig) -> float | None:
    return _job(config, retry_failed=True)
