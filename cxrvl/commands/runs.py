"""`cxrvl runs`: what is in the run store?"""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import RunError
from cxrvl.files import read_json
from cxrvl.runs.store import Run, RunStore


def run_store(folder: str | None) -> RunStore:
    """Return the store in `folder`, or the one the config names."""
    return RunStore(Path(folder or resolved(compose_config())["paths"]["runs"]))


def runs(options: argparse.Namespace) -> None:
    """List, show or remove runs.

    Raises:
        RunError: an id that names no run, or a run that is being computed.
    """
    store = run_store(options.runs)
    if options.action == "ls":
        list_runs(store)
        return
    found = [store.find(prefix) for prefix in options.run]
    if options.action == "show":
        for run in found:
            show(run)
        return
    for run in found:
        if not options.yes and not _agreed(f"remove {run.folder}? [y/N] "):
            raise RunError(f"run {run.run_id} was not removed; answer y, or say --yes beforehand")
        store.remove(run)
        print(f"removed {run.run_id}")


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() == "y"
    except EOFError:  # nobody there to answer
        return False


def list_runs(store: RunStore) -> None:
    """Print one line per run."""
    table = Table("run", "experiment", "seed", "state", "split", "seconds", "mean AUROC", box=None)
    count = 0
    for run in store:
        count += 1
        try:
            status, headline = run.status(), _headline(run)
        except RunError:  # one broken run must not hide the others; `show` says what is wrong with it
            table.add_row(run.run_id, "", "", "damaged", "", "", "")
            continue
        state = status["state"] + (" (interrupted)" if status.get("interrupted") else "")
        table.add_row(
            run.run_id, str(status.get("name", "")), str(status.get("seed", "")), state,
            str(status.get("split_name", "")), str(status.get("seconds", "")), headline,
        )  # fmt: skip
    console = Console()
    console.print(table if count else f"no runs in {store.root}")


def show(run: Run) -> None:
    """Print a run's status and metrics as JSON."""
    metrics = run.folder / "metrics.json"
    content: dict[str, Any] = {"run": run.run_id, "folder": str(run.folder), "status": run.status()}
    content["metrics"] = read_json(metrics) if metrics.is_file() else None
    print(json.dumps(content, indent=2))


def _headline(run: Run) -> str:
    path = run.folder / "metrics.json"
    if not path.is_file():
        return ""
    findings = [entry for entry in read_json(path).values() if entry.get("name") == "findings"]
    mean = findings[0]["values"].get("mean", {}).get("auroc") if findings else None
    return "" if mean is None else f"{mean:.4f}"
