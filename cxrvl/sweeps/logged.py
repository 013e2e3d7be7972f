"""What did validation say of the weights a run is judged by? Read from the history it logged."""

import json
from pathlib import Path
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import RunError

VALIDATION = "val/"
"""Names that begin so are logged by validation; all others are metrics of an evaluation."""


def logged_value(run_folder: Path, name: str, config: dict[str, Any]) -> float | None:
    """Return a logged validation value, such as val/auroc, of the epoch whose weights are used.

    With checkpoint.use=best that is the epoch where task.monitor was best, else the last one. None where it is undefined.

    Raises:
        RunError: validation never logged that name.
    """
    path = run_folder / "history.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    known = {key for row in rows for key in row if key.startswith(VALIDATION)}
    if name not in known:
        raise RunError(f"metric '{name}' is nothing {path} holds{did_you_mean(name, known)}")
    rows = [row for row in rows if name in row]
    monitor, mode = config["task"].get("monitor"), config["task"].get("monitor_mode")
    judged = [row for row in rows if row.get(monitor) is not None]
    if config["checkpoint"]["use"] == "best" and judged:
        pick = max if mode == "max" else min  # of equals both take the first, as the checkpoints do
        return pick(judged, key=lambda row: row[monitor])[name]
    return rows[-1][name]
