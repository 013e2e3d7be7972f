"""How does a task start from the weights its config names?"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrvl.config.targets import locate
from cxrvl.errors import WeightsError
from cxrvl.interop.layouts import LAYOUTS, layout, read_file
from cxrvl.interop.published import published, read_published
from cxrvl.runs.checkpoints import again
from cxrvl.runs.parts import Weights, prefix_of, read_weights, refuse_overlap, take_all
from cxrvl.runs.start import Start, read_starts, selected, start_file
from cxrvl.runs.store import Run
from cxrvl.runs.upstream import start_runs, weights_of
from cxrvl.tasks.base import Task

log = logging.getLogger(__name__)


def start_from(task: Task, config: dict[str, Any]) -> None:
    """Load the weights a resolved config's `init_from` names into a task; nothing where it names none.

    Raises:
        WeightsError: they are not there, or do not fit to the last key.
        ConfigError: an unknown part.
    """
    starts = read_starts(config)
    if not starts:
        return
    runs = start_runs(config)
    found = [_weights(start, run) for start, run in zip(starts, runs, strict=True)]
    take_all(task, task.parts(), [(weights, selected(start)) for weights, start in zip(found, starts, strict=True)])
    for weights, start in zip(found, starts, strict=True):
        parts = ", ".join(start.parts) if start.parts else "everything it offers"
        log.info("started from %s (%s)", weights.origin, parts)


def parts_of(config: dict[str, Any]) -> dict[str, str]:
    """Return the parts that a config's task declares: name -> prefix in its state dict."""
    found = locate(config["task"]["_target_"], "task")
    return found.parts() if isinstance(found, type) and issubclass(found, Task) else {}


def check_parts(config: dict[str, Any], upstream: Sequence[dict[str, Any] | None]) -> None:
    """Refuse parts that a task, or what it starts from, does not have, and overlapping ones, before hours are spent on them.

    Args:
        upstream: per source of `init_from`, the config of the run it names; None where it is no run, or not known.

    Raises:
        ConfigError: naming the part and the nearest one, or the two that overlap.
    """
    own: list[tuple[str, str, str]] = []
    for start, other in zip(read_starts(config), upstream, strict=True):
        theirs = parts_of(other) if other is not None else None
        if start.kind == "published":
            theirs = dict.fromkeys(published(start.source[0]).parts, "")
        elif start.layout is not None:
            theirs = layout(start.layout).parts
        for mine, its in (selected(start) or {}).items():
            own.append((mine, prefix_of(mine, parts_of(config), "this task", start.key), str(start)))
            if theirs is not None:
                prefix_of(its, theirs, "what it starts from", start.key)
    refuse_overlap(own)


def _weights(start: Start, run: Run | None) -> Weights:
    if start.kind == "published":
        return _published(start.source[0])
    if start.layout is not None:
        return _laid_out(start.layout, start_file(start))
    if run is None:
        return _own(start_file(start))
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
