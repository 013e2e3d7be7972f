"""Can everything a config names be built? Checked without building it."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from cxrvl.config.compose import resolved
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

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
    count = 0
    for path, node in _targets(plain, ""):
        _check_target(path, node)
        count += 1
    return count


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
    signature = _signature(locate(target, path), target, path)
    parameters = signature.parameters
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    given = [k for k in node if k not in HYDRA_KEYS]
    for key in given:
        if key not in named and not accepts_any:
            raise ConfigError(f"unknown key '{path}.{key}': {target} has no keyword '{key}'{did_you_mean(key, named)}")
    if node.get("_partial_"):
        return
    positional = len(node.get("_args_", []))
    for key, parameter in list(named.items())[positional:]:
        if parameter.default is parameter.empty and key not in given:
            raise ConfigError(f"missing key '{path}.{key}': {target} needs it")


def locate(target: str, path: str) -> Callable[..., Any]:
    """Import the object a dotted `_target_` names.

    Raises:
        ConfigError: no such module or name, with the nearest one.
    """
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"'{path}._target_' is {target!r}; expected a dotted name such as cxrvl.models.acm.ACM")
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not (module_name == error.name or module_name.startswith(error.name + ".")):
                raise ConfigError(f"'{path}._target_': {target} needs the package '{error.name}': install it") from error
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise ConfigError(f"'{path}._target_': no '{part}' in {module_name}{did_you_mean(part, _public(found))}")
            found = getattr(found, part)
        if not callable(found):
            raise ConfigError(f"'{path}._target_': {target} is not a class or function")
        return found
    raise ConfigError(f"'{path}._target_': there is no module for {target}")


def _public(found: Any) -> list[str]:
    return [n for n in dir(found) if not n.startswith("_")]


def _signature(found: Callable[..., Any], target: str, path: str) -> inspect.Signature:
    try:
        return inspect.signature(found)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"'{path}._target_': {target} has no readable signature: {error}") from error
