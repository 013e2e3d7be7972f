"""Which fields of a run can be searched? Its status, its metrics, its config, each with a flat name."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from cxrvl.config.dotted import dotted
from cxrvl.errors import RunError
from cxrvl.files import read_json, read_yaml
from cxrvl.runs.store import Run

FILES = ("status.json", "metrics.json", "config.yaml")
HEADLINE = "metric:findings.mean.auroc"


def signature(folder: str) -> tuple[bytes, int]:
    """Return what changes whenever one of a run's three small files does, and when the last of them did so.

    Times of content and of inode, size and inode number: an atomic replacement changes the number, an edit in place
    the times, and a file whose time was set by hand still has its inode's. Three questions to the file system.

    Returns:
        The signature, empty where there is no run, and the newest of the times in ns.
    """
    parts, newest = [], 0
    for name in FILES:
        try:
            stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 (30,000 of them: a Path each takes longer than the call)
        except (FileNotFoundError, NotADirectoryError):
            if name == "status.json":
                return b"", 0
            parts.append((0, 0, 0, 0))
            continue
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        parts.append((stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    return struct.pack("<12Q", *(number % 2**64 for part in parts for number in part)), newest


def read_fields(folder: Path) -> tuple[dict[str, Any], bool]:
    """Return a run's fields, and whether all its files could be read, so that only these files decide the fields.

    Names are `status:<key>`, `metric:<evaluation>.<key>` (numbers only) and `config:<dotted key>`, and
    `folder:asked` (when the run was last asked for, s).
    """
    run, whole = Run(folder), True
    status = run.recorded()
    if status is None:
        status, whole = run.status(), False
    elif status["state"] == "missing":
        whole = False
    fields: dict[str, Any] = {f"status:{key}": value for key, value in dotted(status)}
    config: dict[str, Any] = {}
    try:
        config = read_yaml(folder / "config.yaml") or {}
        fields["folder:asked"] = (folder / "config.yaml").stat().st_mtime
        fields.update({f"config:{key}": value for key, value in dotted(config)})
        for key in ("name", "seed"):
            fields.setdefault(f"status:{key}", config.get(key))
    except FileNotFoundError:
        fields["folder:asked"] = 0.0
    except (RunError, AttributeError):
        fields, whole = {**fields, "folder:asked": 0.0, "status:damaged": "config.yaml"}, False
    try:
        fields.update({f"metric:{key}": value for key, value in metric_fields(run, config).items()})
    except (RunError, AttributeError):
        fields, whole = {**fields, "status:damaged": "metrics.json"}, False
    return fields, whole


def metric_fields(run: Run, config: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of metrics.json by dotted name, such as findings.mean.auroc; {} where there are none.

    Of several evaluations of one name (a test set evaluated later) the one that the config asks for carries the
    name; the others are found under the names of their prediction files.
    """
    path = run.folder / "metrics.json"
    if not path.is_file():
        return {}
    asked = config.get("evaluation") or {}
    content = read_json(path)
    named: dict[str, str] = {}
    for stem, entry in content.items():
        name = entry["name"]
        if name not in named or entry.get("evaluator") == asked.get(name):
            named[name] = stem
    found: dict[str, float] = {}
    for stem, entry in content.items():
        found.update(_numbers(entry["name"] if named[entry["name"]] == stem else stem, entry))
    return found


def _numbers(prefix: str, entry: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in dotted(entry["values"], f"{prefix}.")
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def as_text(value: Any) -> str | None:
    """Return a field's value as the index keeps it; None where there is none."""
    return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=True)
