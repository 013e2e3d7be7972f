"""`cxrvl runs`: what is in the run store, and what differs between two runs?"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import RunError
from cxrvl.files import read_json
from cxrvl.runs.store import Run, RunStore

PROGRESS_FROM = 200
COLUMNS = ("run", "experiment", "seed", "state", "split", "seconds", "mean AUROC")


def run_store(folder: str | None) -> RunStore:
    """Return the store in `folder`, or the one the config names."""
    return RunStore(Path(folder or resolved(compose_config())["paths"]["runs"]))


def runs(options: argparse.Namespace) -> None:
    """List, show, compare or remove runs.

    Raises:
        RunError: an id that names no run, or a run that is being computed.
        ConfigError: a condition that cannot be read, or on a field no run has.
    """
    store = run_store(options.runs)
    if options.action == "ls":
        list_runs(store, options.where, options.json)
        return
    found = [store.find(prefix) for prefix in options.run]
    if options.action == "show":
        for run in found:
            show(run)
        return
    if options.action == "diff":
        compare(found[0], found[1], options.json)
        return
    for run in found:
        others = _started_from(store, run, found)
        if options.yes and others:
            print(f"note: {others}")
        if not options.yes and not _agreed(f"remove {run.folder}?{f' {others}' if others else ''} [y/N] "):
            raise RunError(f"run {run.run_id} was not removed; answer y, or say --yes beforehand")
        store.remove(run)
        print(f"removed {run.run_id}")


def _started_from(store: RunStore, run: Run, removed: Sequence[Run]) -> str:
    """Return what is to be known of the runs that started from this one and stay; "" where there are none."""
    from cxrvl.runs.lineage import dependents

    gone = {other.run_id for other in removed}
    stay = [other.run_id for other in dependents(store, run) if other.run_id not in gone]
    if not stay:
        return ""
    shown = ", ".join(stay[:4]) + (f" and {len(stay) - 4} more" if len(stay) > 4 else "")
    return f"{len(stay)} run(s) started from {run.run_id} ({shown}): finished ones stay whole, others make it again."


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() == "y"
    except EOFError:  # nobody there to answer
        return False


def list_runs(store: RunStore, where: Sequence[str] = (), as_json: bool = False) -> None:
    """Print one line per run that fulfils all conditions, or their status and metrics as JSON.

    Args:
        store: whose runs.
        where: conditions such as `experiment=phantom/* status=failed`, see `cxrvl.runs.where`.
        as_json: print a list of {run, folder, state, status, metrics}.
    """
    from cxrvl.runs.fields import HEADLINE
    from cxrvl.runs.index import listed
    from cxrvl.runs.where import conditions

    found = listed(store, conditions(where), ("status:", "metric:") if as_json else (), _track)
    if as_json:
        print(json.dumps([
            {
                "run": one.run.run_id, "folder": str(one.run.folder), "state": one.state,
                "status": _part(one.fields, "status:"), "metrics": _part(one.fields, "metric:"),
            }
            for one in found
        ], indent=2))  # fmt: skip
        return
    if not found:
        print(f"no runs in {store.root}" + (f" with {' '.join(where)}" if where else ""))
        return
    rows = [COLUMNS]
    for one in found:
        damaged, headline = one.fields.get("status:damaged"), one.fields.get(HEADLINE)
        named = [one.fields.get(f"status:{key}") for key in ("name", "seed", "split_name", "seconds")]
        experiment, seed, split, seconds = ("" if value is None else str(value) for value in named)
        state = f"{one.state} ({damaged} is damaged)" if damaged else one.state
        mean = "" if headline is None else f"{headline:.4f}"
        rows.append((one.run.run_id, experiment, seed, state, split, seconds, mean))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _part(fields: dict[str, Any], kind: str) -> dict[str, Any]:
    return {key.removeprefix(kind): v for key, v in fields.items() if key.startswith(kind) and v is not None}


def _track(names: Sequence[str]) -> Iterable[str]:
    """Show a progress bar over many runs that are read for the first time, on a terminal."""
    if len(names) < PROGRESS_FROM or not sys.stderr.isatty():
        return names
    from rich.console import Console
    from rich.progress import track

    return track(names, "reading runs into the index", console=Console(stderr=True), transient=True)


def show(run: Run) -> None:
    """Print a run's status and metrics as JSON."""
    metrics = run.folder / "metrics.json"
    content: dict[str, Any] = {"run": run.run_id, "folder": str(run.folder), "status": run.status()}
    content["metrics"] = read_json(metrics) if metrics.is_file() else None
    print(json.dumps(content, indent=2))


def compare(a: Run, b: Run, as_json: bool = False) -> None:
    """Print what differs between two runs, grouped, or as JSON ({} where nothing does)."""
    from cxrvl.runs.differences import differences, plain, sentences

    found = differences(a, b)
    print(json.dumps(plain(found), indent=2) if as_json else sentences(a, b, found))
