"""In which state is a run whose status.json is damaged, as far as its folder can prove?"""

import logging
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_json, read_yaml

log = logging.getLogger(__name__)
_told: set[Path] = set()


def rebuilt(folder: Path, busy: bool) -> dict[str, Any]:
    """Return a status record made from what lies in a run's folder, marked `rebuilt: true`, and say so once.

    It is done only where that is proven: final weights, and metrics with predictions for every evaluation of its
    config. Else it is running if a process holds it, and queued otherwise: the next request continues it, and writes
    the record anew.
    """
    try:
        config = read_yaml(folder / "config.yaml")
    except (FileNotFoundError, RunError):
        config = None
    config = config if isinstance(config, dict) else {}
    if busy:
        found: dict[str, Any] = {"state": "running"}
    elif _proven_done(folder, config):
        found = {"state": "done"}
    else:
        found = {"state": "queued", "interrupted": True}
    if folder not in _told:
        _told.add(folder)
        log.warning(
            "%s is damaged; by what else lies there, the run is %s",
            folder / "status.json", "interrupted" if found.get("interrupted") else found["state"],
        )  # fmt: skip
    return {**{key: config[key] for key in ("name", "seed") if key in config}, **found, "rebuilt": True}


def _proven_done(folder: Path, config: dict[str, Any]) -> bool:
    path = folder / "metrics.json"
    asked = config.get("evaluation")
    if not isinstance(asked, dict) or not (folder / "checkpoints" / "final.ckpt").is_file() or not path.is_file():
        return False
    try:
        metrics = read_json(path)
    except RunError:
        return False
    if not isinstance(metrics, dict):
        return False
    there = {
        entry.get("name")
        for stem, entry in metrics.items()
        if isinstance(entry, dict) and (folder / "predictions" / f"{stem}.parquet").is_file()
    }
    return {name for name, evaluator in asked.items() if evaluator is not None} <= there
