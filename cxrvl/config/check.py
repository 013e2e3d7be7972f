"""Can everything a config names be built? Checked without building it."""

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from omegaconf import DictConfig

from cxrvl.config.compose import resolved
from cxrvl.config.devices import check_shares, device_count
from cxrvl.config.nearest import did_you_mean
from cxrvl.config.schema import PICTURES_DOUBLING, Config
from cxrvl.config.targets import locate, signature
from cxrvl.errors import ConfigError

PLAIN = (int, float, str, bool)
BUILT = ("data", "model", "task")
"""Sections that are one target each."""
NAMED = ("callbacks", "logger", "evaluation")
"""Sections of named targets; null switches an evaluation off."""
LEAST = {"threads": 1, "trainer.accumulate_grad_batches": 1, "trainer.check_val_every_n_epoch": 1}
HYDRA_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})


def check(config: DictConfig | dict) -> int:
    """Verify every `_target_` and keyword of a composed config without building anything.

    Returns:
        Number of targets checked.

    Raises:
        ConfigError: a missing mandatory value, a target that cannot be imported, a keyword its signature
            does not have, a required keyword not given; the message names the key and the nearest known one.
    """
    plain = resolved(config) if isinstance(config, DictConfig) else config
    _check_keys(plain, Config, "")
    _check_sections(plain)
    _check_numbers(plain)
    check_shares(plain)
    _check_pictures(plain["tracking"])
    count = 0
    for path, node in _targets(plain, ""):
        _check_target(path, node)
        count += 1
    return count


def check_part(config: dict, path: str) -> int:
    """Verify the targets of one part of a resolved config, such as data.source, and import nothing for the others.

    Returns:
        Number of targets checked.

    Raises:
        ConfigError: as `check`, or the part is nothing that can be built.
    """
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(f"'{path}' is {node!r}; expected a mapping with a _target_")
    found = list(_targets(node, path))
    for where, target in found:
        _check_target(where, target)
    return len(found)


def _check_keys(node: dict, kind: type, path: str) -> None:
    """Hold the typed part of a config against the schema: `+key=` and `~key` get past Hydra's struct mode."""
    known = {field.name: field for field in fields(kind)}
    for key in node:
        if key not in known:
            raise ConfigError(f"unknown key '{path}{key}'{did_you_mean(str(key), known)}")
    for key, field in known.items():
        if key not in node:
            raise ConfigError(f"missing key '{path}{key}'; it was deleted by an override")
        if isinstance(field.type, type) and is_dataclass(field.type):
            _check_keys(node[key], field.type, f"{path}{key}.")


def _check_sections(config: dict) -> None:
    """Refuse a plain value, or nothing, where something is to be built."""
    nodes = {section: config[section] for section in BUILT}
    if isinstance(config["data"], dict):
        nodes |= {f"data.{key}": config["data"][key] for key in ("source", "store") if key in config["data"]}
    nodes |= {f"{section}.{name}": node for section in NAMED for name, node in (config[section] or {}).items()
              if node is not None or section != "evaluation"}  # fmt: skip
    for path, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise ConfigError(f"'{path}' is {node!r}; expected a mapping with a _target_")
    tasks = config["data"].get("tasks")
    for name, node in (tasks if isinstance(tasks, dict) else {}).items():
        if node is not None and (not isinstance(node, dict) or "_target_" not in node):
            hint = did_you_mean(name, [other for other in tasks if other != name])
            raise ConfigError(f"'data.tasks.{name}' is {node!r}; expected a mapping with a _target_, or null{hint}")


def _check_numbers(config: dict) -> None:
    """Refuse numbers that no run can be made with, before torch or Lightning fail on them."""
    trainer = config["trainer"]
    values = {"threads": config["threads"], **{f"trainer.{key}": value for key, value in trainer.items()}}
    for path, least in LEAST.items():
        if values[path] < least:
            raise ConfigError(f"'{path}' is {values[path]}; expected at least {least}")
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    if (epochs < 1 and not (epochs == -1 and steps > 0)) or steps < -1:
        raise ConfigError(
            f"trainer.max_epochs={epochs} with trainer.max_steps={steps} is no length; expected at least one epoch, "
            "trainer.max_epochs=-1 with a number of steps, or trainer.max_steps=0 to evaluate a model as it starts"
        )

    if steps == 0 and (device_count(trainer["devices"]) != 1 or trainer["num_nodes"] != 1):
        raise ConfigError("trainer.max_steps=0 trains nothing, on one device: set trainer.devices=1")


def _check_pictures(tracking: dict) -> None:
    """Refuse a rate or a number of pictures that means nothing."""
    every, count = tracking["pictures_every"], tracking["pictures"]
    rate = isinstance(every, int) and not isinstance(every, bool) and every >= 1
    if not (every is None or every == PICTURES_DOUBLING or rate):
        raise ConfigError(f"'tracking.pictures_every' is {every!r}; expected {PICTURES_DOUBLING}, a number or null")
    if count < 1:
        raise ConfigError(f"'tracking.pictures' is {count}; expected at least 1, or tracking.pictures_every=null")


def _targets(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _targets(value, f"{path}[{i}]")


def _check_target(path: str, node: dict) -> None:
    target = node["_target_"]
    accepted = signature(locate(target, path), target, path)
    parameters = accepted.parameters
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    given = [k for k in node if k not in HYDRA_KEYS]
    for key in given:
        if key not in named and not accepts_any:
            raise ConfigError(f"unknown key '{path}.{key}': {target} has no keyword '{key}'{did_you_mean(key, named)}")
        if key in named and not _fits(node[key], named[key].annotation):
            wanted = inspect.formatannotation(named[key].annotation)
            raise ConfigError(f"'{path}.{key}' is {node[key]!r}; {target} expects {wanted}")
    if node.get("_partial_"):
        return
    positional = len(node.get("_args_", []))
    for key, parameter in list(named.items())[positional:]:
        if parameter.default is parameter.empty and key not in given:
            raise ConfigError(f"missing key '{path}.{key}': {target} needs it")


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value can be what an annotation of plain types asks for; anything richer is let through."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(annotation))
    if annotation is type(None):
        return value is None
    if annotation not in PLAIN or isinstance(value, (dict, list)):
        return annotation not in PLAIN or not isinstance(value, list)
    accepted = (int, float) if annotation is float else annotation
    return isinstance(value, accepted) and (annotation is bool or not isinstance(value, bool))
