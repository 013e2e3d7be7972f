"""Which run started from which weights, as the run folders record it? Nothing is composed, and torch is not needed."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_json, write_json
from cxrvl.runs.start import KINDS, Start, file_digest
from cxrvl.runs.store import Run, RunStore

RECORD = "init_from.json"

log = logging.getLogger(__name__)


Source = dict[str, Any]
"""One of the weights a run started from: `run`, `file` or `published`, `parts`, `named` and, of files, `weights`."""


def source(start: Start, what: dict[str, Any], weights: Path | None) -> Source:
    """Return the record of one of the weights a run starts from.

    Args:
        start: what the config says, for people.
        what: what that is, for good: the id of a run, or the content of a file or of published weights.
        weights: the file that is loaded; its SHA-256 says later whether it is still the same.
    """
    content = {**what, "named": list(start.source)}
    if weights is not None:
        content["weights"] = f"sha256:{file_digest(weights)}"
    return content


def write_record(run: Run, sources: Sequence[Source]) -> None:
    """Record in a run's folder what it starts from: a single source as it is, several in an order of their own."""
    several = {"sources": sorted(sources, key=lambda one: json.dumps(one, sort_keys=True))}
    write_json(run.folder / RECORD, sources[0] if len(sources) == 1 else several)


def record(run: Run) -> list[Source]:
    """Return what a run started from; [] = its own initialisation.

    Raises:
        RunError: the record is damaged.
    """
    path = run.folder / RECORD
    if not path.is_file():
        return []
    content = read_json(path)
    sources = content["sources"] if isinstance(content, dict) and content.keys() == {"sources"} else [content]
    if not isinstance(sources, list) or not sources or not all(map(_whole, sources)):
        raise RunError(f"{path} is damaged (it holds no record); remove it, or the run it belongs to")
    return sources


def _whole(content: Any) -> bool:
    return isinstance(content, dict) and {"parts", "named"} <= content.keys() and bool(set(KINDS) & content.keys())


def records(store: RunStore) -> dict[str, list[Source]]:
    """Return the records of all runs that started from some weights, by run id; a damaged one hides no other."""
    found: dict[str, list[Source]] = {}
    for path in sorted(store.root.glob(f"*/{RECORD}")):
        try:
            content = record(Run(path.parent))
        except RunError as error:
            log.warning("%s; until then that run stands in no chain", error)
            continue
        if content:
            found[path.parent.name] = content
    return found


def dependents(store: RunStore, run: Run) -> list[Run]:
    """Return the runs that started from this one, be it from other weights too."""
    return [
        store.run(run_id)
        for run_id, sources in records(store).items()
        if any(one.get("run") == run.run_id for one in sources)
    ]
