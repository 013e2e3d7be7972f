"""Which object does a `_target_` name, and which keywords does it take?"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

PACKAGE = "cxrvl"


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
                raise ConfigError(
                    f"'{path}._target_': {target} needs the package '{error.name}': install it"
                ) from error
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise ConfigError(
                    f"'{path}._target_': no '{part}' in {module_name}{did_you_mean(part, _public(found))}"
                )
            found = getattr(found, part)
        if not callable(found):
            raise ConfigError(f"'{path}._target_': {target} is not a class or function")
        return found
    raise ConfigError(f"'{path}._target_': there is no module for {target}")


def _public(found: Any) -> list[str]:
    return [n for n in dir(found) if not n.startswith("_")]


def signature(found: Callable[..., Any], target: str, path: str) -> inspect.Signature:
    """Return the signature of a target, with its annotations evaluated where that is possible.

    A class of this package that takes `**options` hands them to its base, so it has the base's keywords too.
    """
    try:
        accepted = inspect.signature(found, eval_str=True)
    except NameError:  # an annotation imported for type checkers alone
        accepted = inspect.signature(found)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"'{path}._target_': {target} has no readable signature: {error}") from error
    kinds = [parameter.kind for parameter in accepted.parameters.values()]
    if not (
        inspect.isclass(found) and found.__module__.split(".")[0] == PACKAGE and inspect.Parameter.VAR_KEYWORD in kinds
    ):
        return accepted
    owner = next(kind for kind in found.__mro__ if "__init__" in vars(kind))
    inherited = signature(found.__mro__[found.__mro__.index(owner) + 1], target, path).parameters
    own = {n: p for n, p in accepted.parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    rest = {
        n: p.replace(kind=p.KEYWORD_ONLY) for n, p in inherited.items() if n not in own and p.kind != p.VAR_POSITIONAL
    }
    passed_on = [p for p in rest.values() if p.kind != p.VAR_KEYWORD]
    return accepted.replace(parameters=[*own.values(), *passed_on])


def keywords_of(node: Any) -> set[str]:
    """Return the keywords that a config node's target takes; none where there is no such target."""
    if not isinstance(node, Mapping) or not node.get("_target_"):
        return set()
    target = str(node["_target_"])
    try:
        return set(signature(locate(target, ""), target, "").parameters)
    except ConfigError:
        return set()
