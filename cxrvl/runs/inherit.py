"""What does an upstream run take over from the run that asks for it? Where to compute, and nothing scientific."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from cxrvl.config.compose import config_dir, resolved
from cxrvl.config.compose_many import compose_fast
from cxrvl.errors import ConfigError

TRAINER_KEYS = ("accelerator", "devices", "num_nodes", "strategy", "log_every_n_steps", "enable_progress_bar")
CHECKPOINT_KEYS = ("every_seconds", "every_steps", "when_busy")
DATA_KEYS = ("num_workers", "prepare_workers", "evaluation_batch_size", "pin_memory")

DEBUG = {"fdr": "fdr"}
"""Debug group -> that of an upstream run; whichever else was asked, the shortest whole path."""


def upstream_overrides(words: Sequence[str], downstream: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an upstream run's own words, followed by what it takes over; its own words are never changed.

    Taken over: paths, devices, loader settings, how often to save, loggers, and that it is a debug run. Not taken over:
    seed, data, length.

    Raises:
        ConfigError: the words do not compose.
    """
    inherited = [*words]
    if downstream.get("debug") is not None and not _said(words, "debug"):
        inherited.append(f"debug={DEBUG.get(downstream['debug'], 'limit')}")
    base = resolved(composed(inherited))
    for section, keys in (("paths", None), ("checkpoint", CHECKPOINT_KEYS), ("trainer", TRAINER_KEYS)):
        for key in keys or downstream[section]:
            _take(inherited, words, f"{section}.{key}", downstream[section].get(key), base[section].get(key))
    base = resolved(composed(inherited))
    for key in _data_keys(base["data"], downstream["data"]):
        _take(inherited, words, f"data.{key}", downstream["data"][key], base["data"].get(key))
    inherited += _logger(inherited, words, base["logger"], downstream["logger"])
    return tuple(inherited)


def composed(words: Sequence[str]) -> DictConfig:
    """Compose an upstream run's config, once per process.

    Raises:
        ConfigError: the words do not compose.
    """
    try:
        return _composed(tuple(words), str(config_dir()))
    except ConfigError as error:
        raise ConfigError(f"init_from.run: {error}") from error


@lru_cache(maxsize=256)
def _composed(words: tuple[str, ...], folder: str) -> DictConfig:
    config = compose_fast(words)
    OmegaConf.set_readonly(config, True)
    return config


def override(key: str, value: Any) -> str:
    """Return a Hydra override that sets a key, existing or not, to a plain value."""
    return f"++{key}={_written(value)}"


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return str(QuotedString(text=value.replace("${", "\\${"), quote=Quote.single).with_quotes())
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_written(inner)}" for name, inner in value.items()) + "}"
    return repr(value)


def _take(inherited: list[str], words: Sequence[str], key: str, mine: Any, theirs: Any) -> None:
    """Add an override where the two differ and the words say nothing about it."""
    if mine != theirs and not _said(words, key):
        inherited.append(override(key, mine))


def _said(words: Sequence[str], key: str) -> bool:
    named = [word.partition("=")[0].lstrip("+~").split("@")[0] for word in words]
    return any(key == name or key.startswith(f"{name}.") for name in named)


def _data_keys(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[str]:
    """Yield the loader settings both understand, and where the files lie if both read the same data set."""
    same_module = theirs.get("_target_") == mine.get("_target_")
    for key in DATA_KEYS:
        if key in mine and (same_module or key in theirs):
            yield key
    if "store_root" in mine and "store_root" in theirs:
        yield "store_root"
    if "root" in mine and "root" in theirs and _data_set(theirs) == _data_set(mine):
        yield "root"


def _data_set(data: Mapping[str, Any]) -> Any:
    source = data.get("source")
    return {k: v for k, v in source.items() if k != "root"} if isinstance(source, Mapping) else source


def _logger(inherited: list[str], words: Sequence[str], theirs: Any, mine: Any) -> list[str]:
    """Return the overrides that choose the same loggers with the same settings, names and groups being its own."""
    chosen = sorted(mine or {})
    files = config_dir() / "logger"
    if _said(words, "logger") or not chosen or any(not (files / f"{name}.yaml").is_file() for name in chosen):
        return []
    choice = (
        [] if set(theirs or {}) == set(chosen) else [f"logger={chosen[0] if len(chosen) == 1 else _written(chosen)}"]
    )
    raw = OmegaConf.to_container(composed([*inherited, *choice]).logger, resolve=False)
    assert isinstance(raw, dict)
    settings = []
    for name in chosen:
        for key, value in mine[name].items():
            own = raw[name].get(key)
            if own != value and not (isinstance(own, str) and "${" in own):
                settings.append(override(f"logger.{name}.{key}", value))
    return choice + settings
