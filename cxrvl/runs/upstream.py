"""Which runs must be made before a run, and where are the weights it starts from?"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.config.compose import hydra_session, resolved
from cxrvl.errors import RunError, WeightsError
from cxrvl.files import read_yaml
from cxrvl.runs.chain import Before, Upstream, upstream
from cxrvl.runs.identity import identify, known_ids, upstream_ids
from cxrvl.runs.inherit import composed, upstream_overrides
from cxrvl.runs.lineage import dependents as dependents
from cxrvl.runs.lineage import record, source, write_record
from cxrvl.runs.start import read_starts, start_file, start_identity
from cxrvl.runs.store import Run, RunStore

STARTED = ("final.ckpt", "last.ckpt", "previous.ckpt")
"""Any of these in a run's folder: it has weights of its own, and needs those it started from no more."""


@dataclass(frozen=True)
class Link:
    """A run that another one starts from: `cxrvl train <overrides>` makes it.

    Attributes:
        before: per source of its own `init_from`, the run it starts from in turn; None = no run, or one that a finished
            run named by its id needs no more.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    run_id: str
    before: "tuple[Link | None, ...]" = ()

    @property
    def run(self) -> Run:
        """Its folder in the run store, there or not."""
        return RunStore(Path(self.config["paths"]["runs"])).run(self.run_id)


def direct_links(config: dict[str, Any]) -> tuple[Link | None, ...]:
    """Return, per source of a resolved config's `init_from`, the run it names with those before it; None = no run.

    Raises:
        ConfigError: a link does not compose, or a chain comes back to itself.
        RunError: `init_from.run` is the id of a run that is not in the store.
    """
    with hydra_session():
        before = upstream(config)
        ids: dict[Upstream, str] = {}
        known_ids(config, before, ids)
        return _direct(config, before, ids, {})


def links(config: dict[str, Any]) -> list[Link]:
    """Return the runs a resolved config starts from, each once, behind all it starts from itself; [] without any.

    Raises:
        ConfigError, RunError: as `direct_links`.
    """
    return in_order(direct_links(config))


def missing_links(config: dict[str, Any]) -> list[Link]:
    """Return the runs that must be made before a resolved config can be trained, each behind those it needs itself.

    What a finished link started from is not needed any more, nor is anything once the run has weights of its own.

    Raises:
        ConfigError, RunError: as `direct_links`.
    """
    if not read_starts(config) or has_started(_run_of(config)):
        return []

    def missing(found: Iterable[Link | None]) -> list[Link]:
        return [link for link in found if link is not None and link.run.state() != "done"]

    return in_order(missing(direct_links(config)), lambda link: [] if has_started(link.run) else missing(link.before))


def in_order(
    nearest: Iterable[Link | None], before: Callable[[Link], Iterable[Link | None]] = lambda link: link.before
) -> list[Link]:
    """Return links and those before them, all of them or what `before` says, each once, behind those it needs."""
    found: dict[str, Link] = {}

    def visit(some: Iterable[Link | None]) -> None:
        for link in some:
            if link is not None and link.run_id not in found:
                visit(before(link))
                found[link.run_id] = link

    visit(nearest)
    return list(found.values())


def _direct(
    config: dict[str, Any], before: Before, ids: Mapping[Upstream, str], made: dict[Upstream, Link]
) -> tuple[Link | None, ...]:
    found: list[Link | None] = []
    for start, link in zip(read_starts(config), before, strict=True):
        if link is None:
            found.append(None if start.run_id is None else _named(start.run_id, config))
            continue
        if link not in made:
            made[link] = Link(link.overrides, link.config, ids[link], _direct(link.config, link.before, ids, made))
        found.append(made[link])
    return tuple(found)


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


def start_runs(config: dict[str, Any]) -> list[Run | None]:
    """Return, per source of a resolved config's `init_from`, the run it names, there or not; None = it names none."""
    ids = upstream_ids(config)
    return [None if run_id is None else RunStore(Path(config["paths"]["runs"])).run(run_id) for run_id in ids]


def record_start(run: Run, config: dict[str, Any]) -> None:
    """Record in the run's folder which weights it starts from; nothing where it starts from its own initialisation.

    Raises:
        WeightsError: the run has yet to start, and they are not there.
    """
    starts, started = read_starts(config), has_started(run)
    if not starts or (started and record(run)):
        return
    sources = []
    for start, other in zip(starts, start_runs(config), strict=True):
        weights = None
        if not started and other is not None:
            weights = weights_of(other, start.use)
        elif not started and start.kind == "file":
            weights = start_file(start)
        sources.append(source(start, start_identity(start, other.run_id if other is not None else None), weights))
    write_record(run, sources)


def _run_of(config: dict[str, Any]) -> Run:
    return RunStore(Path(config["paths"]["runs"])).run(identify(config).run_id)


def _named(run_id: str, config: dict[str, Any]) -> Link:
    """Return the run an id, or its first digits, name, with what must come before it unless it is done."""
    run = RunStore(Path(config["paths"]["runs"])).find(run_id)
    path = run.folder / "overrides.yaml"
    words = tuple(read_yaml(path)) if path.is_file() else ()
    if run.state() == "done":
        made = {**run.config(), "paths": config["paths"]}
        return Link(words, made, run.run_id, (None,) * len(read_starts(made)))
    words = upstream_overrides(words, config)
    again = resolved(composed(words))
    if identify(again).run_id != run.run_id:
        raise RunError(
            f"init_from.run: run {run.run_id} is {run.state()}, and a config file or the code has changed since; "
            "name it by its overrides"
        )
    return Link(words, again, run.run_id, direct_links(again))
