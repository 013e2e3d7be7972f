"""How is the history of a run kept in a plain file, and cut where a resumed run takes it up again?"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrvl.files import write_atomic

HISTORY = "history.jsonl"
TIMINGS = ("speed/", "memory/")
"""Beginnings of the names that say how fast, not what: the only values that differ when a run is computed again."""


def append_row(folder: Path, metrics: Mapping[str, float], step: int | None) -> None:
    """Add one JSON line to a run's history; NaN and infinity are written as null."""
    values = {k: (float(v) if math.isfinite(float(v)) else None) for k, v in metrics.items()}
    with (folder / HISTORY).open("a") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return a run's history, one record per line, oldest first; what a kill cut short is left out, and all after it.

    Returns:
        Records {step: index of the optimiser step, name: value or None, ...}; empty where nothing was logged.
    """
    path = folder / HISTORY
    records: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def rewind_history(folder: Path, step: int) -> None:
    """Drop every record at or after a step, which a run resumed there will write again, and what a kill cut short."""
    path = folder / HISTORY
    if not path.is_file():
        return
    kept = [r for r in read_history(folder) if r["step"] is not None and r["step"] < step]
    text = "".join(f"{json.dumps(r)}\n" for r in kept)
    # Nobody writes the records before `step` again: a kill or a full disk within this must not take them.
    write_atomic(path, lambda file: file.write(text.encode()))
