"""How do overrides become one config, or the configs of a sweep?"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cxrvl.config import resolvers, schema
from cxrvl.config.nearest import did_you_mean
from cxrvl.config.targets import keywords_of
from cxrvl.errors import ConfigError


def config_dir() -> Path:
    """Return the folder of the Hydra groups: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"no conf/config.yaml in {package} nor beside it; reinstall cxrvl")


@contextmanager
def hydra_session() -> Iterator[None]:
    """Open Hydra's compose session on cxrvl's configs, once; nested use shares the outer one."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    resolvers.register()
    schema.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir()), job_name="cxrvl"):
        yield


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose one config in struct mode.

    Raises:
        ConfigError: a misspelt key, an unknown option or a value of the wrong type, with the nearest known word.
    """
    with hydra_session():
        try:
            return compose("config", overrides=list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: model=3, a group's option
            raise ConfigError(explain(error, overrides)) from error


def resolved(config: DictConfig) -> dict:
    """Return the config as a plain dict with every interpolation resolved.

    Raises:
        ConfigError: a mandatory value is missing or an interpolation points nowhere.
    """
    try:
        # Not OmegaConf.missing_keys: it stops at the first interpolation that points to a missing value.
        missing = [key for key, value in _values(OmegaConf.to_container(config, resolve=False)) if value == "???"]
        if missing:
            example = " ".join(f"{key}=..." for key in missing)
            raise ConfigError(f"missing mandatory value: {', '.join(missing)}; give it as {example}")
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"cannot resolve the config: {_first_line(error)}") from error
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return the override lists of a sweep's jobs, in Hydra's own order.

    Raises:
        ConfigError: an override cannot be parsed, or the sweep holds no job.
    """
    with hydra_session():
        loader = GlobalHydra.instance().config_loader()
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            jobs = [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error, overrides)) from error
    empty = [o.get_key_element() for o in parsed if o.is_sweep_override() and not list(o.sweep_string_iterator())]
    if empty or not jobs:
        raise ConfigError(f"empty sweep: {', '.join(empty) or 'no job'} has no value to run over; name at least one")
    return jobs


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Turn a Hydra or OmegaConf error into one line that names the nearest key or option."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _explain_option(error.missing_cfg_file)
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read the override '{error.override}': {_first_line(error)}"
    if isinstance(error, ConfigCompositionException) and text.startswith("Error merging override") and error.__cause__:
        return (
            f"cannot set {_first_line(error).removeprefix('Error merging override ')}: {_first_line(error.__cause__)}"
        )
    key = re.search(r"Could not (?:override|append to config with|append) '?\+*([^'\s=]+)", text)
    if isinstance(error, ConfigCompositionException) and key:
        return _explain_key(key.group(1), error, overrides)
    return _first_line(error)


def _explain_option(wanted: str) -> str:
    """Name the options of the group, in all its folders."""
    group, _, option = wanted.removesuffix(".yaml").partition("/")
    folder = config_dir() / group
    options = [str(p.relative_to(folder).with_suffix("")) for p in sorted(folder.glob("**/*.yaml"))]
    if not folder.is_dir():
        return f"there is no config group '{group}'"
    return f"no option '{option}' in group '{group}'{did_you_mean(option, set(options))}"


def _explain_key(key: str, error: Exception, overrides: Sequence[str]) -> str:
    """Name the nearest key when the key is unknown, else say what is wrong with its value."""
    cause = error.__cause__
    reason = str(cause).splitlines()[0] if cause else _first_line(error)
    if "not in struct" not in reason and "not in '" not in reason and "No match" not in str(error):
        return f"cannot set '{key}': {reason}"
    config = _base_config(overrides)
    known = list(_dotted(OmegaConf.to_container(config, resolve=False)))
    leaf = key.rsplit(".", 1)[-1]
    parent = key.rpartition(".")[0]
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    if key in known:
        return f"cannot set '{key}': {reason}; to add keys to it, write a plus sign: +{key}={{...}}"
    if leaf in keywords_of(OmegaConf.select(config, parent) if parent else None):
        return f"'{key}' is left at its default in the YAML file; set it with a plus sign: +{key}=..."
    if siblings:
        where = f" in '{parent}'" if parent else ""
        return f"unknown key '{key}': '{leaf}' is not{where or ' a key of the config'}{did_you_mean(leaf, siblings)}"
    return f"unknown key '{key}'{did_you_mean(key, known)}"


def _base_config(overrides: Sequence[str]) -> DictConfig:
    """Compose the config that the group choices among the overrides lead to, without their single values."""
    groups = {d.name for d in config_dir().iterdir() if d.is_dir()}
    choices = [o for o in overrides if "=" in o and o.split("=", 1)[0].split("/")[0] in groups]
    try:
        return compose("config", overrides=choices)
    except (HydraException, OmegaConfBaseException):
        return compose("config")


def _dotted(node: object) -> Iterator[str]:
    return (key for key, _ in _values(node))


def _values(node: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}", value
            yield from _values(value, f"{prefix}{key}.")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Hydra's "In 'x': ... raised while composing config:" says what happened on its second line.
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
