"""Which run started from which weights, as the run folders record it? Nothing is composed, and torch is not needed."""

from pathlib import Path
from typing import Any

from cxrvl.files import read_json, write_json
from cxrvl.runs.start import Start, file_digest
from cxrvl.runs.store import Run, RunStore

RECORD = "init_from.json"


def write_record(run: Run, start: Start, science: dict[str, Any], weights: Path | None) -> None:
    """Record in a run's folder what it starts from.

    Args:
        start: what the config says, for people.
        science: what that is, for good: the id of a run, or the content of a file or of published weights.
        weights: the file that is loaded; its SHA-256 says later whether it is still the same.
    """
    content = {**science, "named": list(start.source)}
    if weights is not None:
        content["weights"] = f"sha256:{file_digest(weights)}"
    write_json(run.folder / RECORD, content)


def record(run: Run) -> dict[str, Any] | None:
    """Return what a run started from: `run`, `file` or `published`, `parts`, `named` and, of files, `weights`."""
    path = run.folder / RECORD
    return read_json(path) if path.is_file() else None


def records(store: RunStore) -> dict[str, dict[str, Any]]:
    """Return the records of all runs that started from some weights, by run id."""
    return {path.parent.name: read_json(path) for path in sorted(store.root.glob(f"*/{RECORD}"))}


def dependents(store: RunStore, run: Run) -> list[Run]:
    """Return the runs that started from this one."""
    return [store.run(run_id) for run_id, content in records(store).items() if content.get("run") == run.run_id]
