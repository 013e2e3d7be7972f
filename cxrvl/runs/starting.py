"""How does a task start from the weights its config names?"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrvl.config.targets import locate
from cxrvl.errors import WeightsError
from cxrvl.interop.layouts import LAYOUTS, layout, read_file
from cxrvl.interop.published import published, read_published
from cxrvl.runs.checkpoints import again
from cxrvl.runs.parts import Weights, prefix_of, read_weights, take
from cxrvl.runs.start import Start, read_start, selected, start_file
from cxrvl.runs.upstream import start_run, weights_of
from cxrvl.tasks.base import Task

log = logging.getLogger(__name__)


def start_from(task: Task, config: dict[str, Any]) -> None:
    """Load the weights a resolved config's `init_from` names into a task; nothing where it names none.

    Raises:
        WeightsError: they are not there, or do not fit to the last key.
        ConfigError: an unknown part.
    """
    start = read_start(config)
    if start is None:
        return
    weights = _weights(start, config)
    take(task, task.parts(), weights, selected(start))
    log.info("started from %s (%s)", weights.origin, ", ".join(start.parts) if start.parts else "everything it offers")


def parts_of(config: dict[str, Any]) -> dict[str, str]:
    """Return the parts that a config's task declares: name -> prefix in its state dict."""
    found = locate(config["task"]["_target_"], "task")
    return found.parts() if isinstance(found, type) and issubclass(found, Task) else {}


def check_parts(config: dict[str, Any], upstream: dict[str, Any] | None) -> None:
    """Refuse parts that a task, or what it starts from, does not have, before hours are spent on them.

    Args:
        upstream: config of the run it starts from; None where it starts from none.

    Raises:
        ConfigError: naming the part and the nearest one.
    """
    start = read_start(config)
    chosen = selected(start) if start is not None else None
    if start is None or not chosen:
        return
    theirs = parts_of(upstream) if upstream is not None else None
    if start.kind == "published":
        theirs = dict.fromkeys(published(start.source[0]).parts, "")
    elif start.layout is not None:
        theirs = layout(start.layout).parts
    for mine, other in chosen.items():
        prefix_of(mine, parts_of(config), "this task")
        if theirs is not None:
            prefix_of(other, theirs, "what it starts from")


def _weights(start: Start, config: dict[str, Any]) -> Weights:
    if start.kind == "published":
        return _published(start.source[0])
    if start.layout is not None:
        return _laid_out(start.layout, start_file(start))
    if start.kind == "file":
        return _own(start_file(start))
    run = start_run(config)
    path = weights_of(run, start.use)
    try:
        weights = replace(read_weights(path), origin=f"run {run.run_id}")
    except WeightsError as error:
        raise WeightsError(f"{error}; {again(run)}") from error
    return weights if weights.parts is not None else replace(weights, parts=parts_of(run.config()))


def _own(path: Path) -> Weights:
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(
            f"{error}; if other code wrote it, say whose: init_from.layout={'|'.join(LAYOUTS)}"
        ) from error


def _published(name: str) -> Weights:
    known, states = published(name), read_published(name)
    return Weights(
        name,
        {f"{part}.{key}": value for part, state in states.items() for key, value in state.items()},
        {part: f"{part}." for part in states},
        frozenset(f"{part}.{key}" for part, key in known.stems.items()),
        "choose the network they were made with; under inserted context modules, set model.backbone.weights instead",
    )


def _laid_out(name: str, path: Path) -> Weights:
    known, state = layout(name), read_file(name, path)
    parts = {part: prefix for part, prefix in known.parts.items() if any(key.startswith(prefix) for key in state)}
    return Weights(str(path), state, parts, frozenset(key for key in state if key.endswith(known.stem)))
