"""How far is a run? A small file in its folder, for whoever looks on; nothing depends on it."""

import json
import os
from pathlib import Path
from typing import Any

PROGRESS = "progress.json"


def write_progress(folder: Path, content: dict[str, Any]) -> None:
    """Replace the file at once, without waiting for the disk: after a crash an old or no file is as good."""
    temporary = folder / f".{PROGRESS}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(content, allow_nan=False))
    temporary.replace(folder / PROGRESS)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return what a run last said of its progress, or None where it has said nothing that can be read.

    Keys: epoch and max_epochs (counted from 0; null without a fixed number), step, total_steps, monitor, value, best,
    seconds_left (of the training; null while unknown), time (UNIX seconds).
    """
    try:
        content = json.loads((folder / PROGRESS).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
