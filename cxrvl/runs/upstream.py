"""Which runs must be made before a run, and where are the weights it starts from?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.config.compose import hydra_session, resolved
from cxrvl.errors import RunError, WeightsError
from cxrvl.files import read_yaml
from cxrvl.runs.chain import chain
from cxrvl.runs.identity import identify
from cxrvl.runs.inherit import composed, upstream_overrides
from cxrvl.runs.lineage import dependents as dependents
from cxrvl.runs.lineage import record, write_record
from cxrvl.runs.start import Start, read_start, start_file
from cxrvl.runs.store import Run, RunStore

STARTED = ("final.ckpt", "last.ckpt", "previous.ckpt")
"""Any of these in a run's folder: it has weights of its own, and needs those it started from no more."""


@dataclass(frozen=True)
class Link:
    """One run of a chain: `cxrvl train <overrides>` makes it."""

    overrides: tuple[str, ...]
    config: dict[str, Any]
    run_id: str

    @property
    def run(self) -> Run:
        """Its folder in the run store, there or not."""
        return RunStore(Path(self.config["paths"]["runs"])).run(self.run_id)


def links(config: dict[str, Any]) -> list[Link]:
    """Return the runs a resolved config starts from, the deepest first; [] without a chain.

    Raises:
        ConfigError: a link does not compose, or the chain comes back to itself.
        RunError: `init_from.run` is the id of a run that is not in the store.
    """
    with hydra_session():
        upstream = chain(config)
        deepest = upstream[-1].config if upstream else config
        first = read_start(deepest)
        found = _named(first, deepest) if first is not None and first.run_id is not None else []
        return found + [Link(link.overrides, link.config, identify(link.config).run_id) for link in reversed(upstream)]


def missing_links(config: dict[str, Any]) -> list[Link]:
    """Return the runs that must be made before a resolved config can be trained, the deepest first.

    What a finished link started from is not needed any more, nor is anything once the run has weights of its own.

    Raises:
        ConfigError, RunError: as `links`.
    """
    if read_start(config) is None or has_started(_run_of(config)):
        return []
    missing: list[Link] = []
    for link in reversed(links(config)):
        if link.run.state() == "done":
            break
        missing.append(link)
        if has_started(link.run):
            break
    return missing[::-1]


def has_started(run: Run) -> bool:
    """Return whether a run has weights of its own, to go on from or to use."""
    return any((run.checkpoints / name).is_file() for name in STARTED)


def weights_of(run: Run, use: str) -> Path:
    """Return the file with a finished run's weights; a run that never validated has no best ones, only final ones.

    Raises:
        WeightsError: the run is not done, or its files are gone or damaged.
    """
    if run.state() != "done":
        raise WeightsError(f"init_from.run: run {run.run_id} is {run.state()}, it has no weights yet; train it first")
    usable = ("best.ckpt", "final.ckpt") if use == "best" else ("final.ckpt",)
    if not any((run.checkpoints / name).is_file() for name in usable):
        raise WeightsError(
            f"init_from.run: the checkpoints of run {run.run_id} are gone; remove it, and it is made again"
        )
    from cxrvl.runs.checkpoints import used_weights

    return used_weights(run, use)


def start_run(config: dict[str, Any]) -> Run:
    """Return the run a resolved config with `init_from.run` starts from, there or not."""
    return RunStore(Path(config["paths"]["runs"])).run(identify(config).science["init_from"]["run"])


def record_start(run: Run, config: dict[str, Any], science: dict[str, Any]) -> None:
    """Record in the run's folder which weights it starts from; nothing where it starts from its own initialisation.

    Args:
        science: of the run's identity, whose `init_from` says what the weights are.

    Raises:
        WeightsError: the run has yet to start, and they are not there.
    """
    start, started = read_start(config), has_started(run)
    if start is None or (started and record(run) is not None):
        return
    weights = None
    if not started and start.kind == "run":
        weights = weights_of(start_run(config), start.use)
    elif not started and start.kind == "file":
        weights = start_file(start)
    write_record(run, start, science["init_from"], weights)


def _run_of(config: dict[str, Any]) -> Run:
    return RunStore(Path(config["paths"]["runs"])).run(identify(config).run_id)


def _named(start: Start, config: dict[str, Any]) -> list[Link]:
    """Return the run an id names, and what must come before it unless it is done."""
    run = RunStore(Path(config["paths"]["runs"])).find(str(start.run_id))
    path = run.folder / "overrides.yaml"
    words = tuple(read_yaml(path)) if path.is_file() else ()
    if run.state() == "done":
        return [Link(words, {**run.config(), "paths": config["paths"]}, run.run_id)]
    words = upstream_overrides(words, config)
    again = resolved(composed(words))
    if identify(again).run_id != run.run_id:
        raise RunError(
            f"init_from.run: run {run.run_id} is {run.state()}, and a config file or the code has changed since; "
            "name it by its overrides"
        )
    return [*links(again), Link(words, again, run.run_id)]
