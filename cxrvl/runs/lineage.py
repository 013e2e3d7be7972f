"""Which run started from which weights, as the run folders record it? Nothing is composed, and torch is not needed."""

import logging
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_json, write_json
from cxrvl.runs.start import KINDS, Start, file_digest
from cxrvl.runs.store import Run, RunStore

RECORD = "init_from.json"

log = logging.getLogger(__name__)


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
    """Return what a run started from: `run`, `file` or `published`, `parts`, `named` and, of files, `weights`.

    Raises:
        RunError: the record is damaged.
    """
    path = run.folder / RECORD
    if not path.is_file():
        return None
    content = read_json(path)
    whole = isinstance(content, dict) and {"parts", "named"} <= content.keys() and set(KINDS) & content.keys()
    if not whole:
        raise RunError(f"{path} is damaged (it holds no record); remove it, or the run it belongs to")
    return content


def records(store: RunStore) -> dict[str, dict[str, Any]]:
    """Return the records of all runs that started from some weights, by run id; a damaged one hides no other."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(store.root.glob(f"*/{RECORD}")):
        try:
            content = record(Run(path.parent))
        except RunError as error:
            log.warning("%s; until then that run stands in no chain", error)
            continue
        if content is not None:
            found[path.parent.name] = content
    return found


def dependents(store: RunStore, run: Run) -> list[Run]:
    """Return the runs that started from this one."""
    return [store.run(run_id) for run_id, content in records(store).items() if content.get("run") == run.run_id]
