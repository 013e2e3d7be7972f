"""What does Weights & Biases already have of a run? A note in the run's folder says so."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrvl.files import read_json, write_json
from cxrvl.tracking.history import TIMINGS, read_history
from cxrvl.tracking.wandb_run import by_step, plain_json, summary_of

OFFLINE = "offline"


def destination(project: str, entity: str | None) -> str:
    """Return what names a W&B project: server, entity and project."""
    return f"{os.environ.get('WANDB_BASE_URL', '')}/{entity or ''}/{project}"


def content_of(folder: Path, state: str) -> dict[str, Any]:
    """Return what there is to send of a run: how many steps, and a digest of them and of all the rest.

    Args:
        state: of the run: done, failed or queued.
    """
    steps = [(step, _science(values)) for step, values in by_step(read_history(folder))]
    config = (folder / "config.yaml").read_text()
    return {"steps": len(steps), "digest": _digest([steps, summary_of(folder), config, state])}


def _science(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the timings: computed again they differ, and nothing else does."""
    return {k: v for k, v in values.items() if not k.startswith(TIMINGS)}


def _digest(content: Any) -> str:
    return hashlib.sha256(plain_json(content).encode()).hexdigest()


def read_note(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what was sent where; nothing where nothing was."""
    path = note_path(folder)
    return read_json(path) if path.is_file() else {}


def write_note(folder: Path, where: str, content: dict[str, Any], url: str) -> None:
    """Note that a destination has this content, and on which page."""
    write_json(note_path(folder), {**read_note(folder), where: {"content": content, "url": url}})


def note_path(folder: Path) -> Path:
    """Return where the note lies."""
    return folder / "wandb" / "synced.json"
