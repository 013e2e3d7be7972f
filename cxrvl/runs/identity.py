"""Which run is this? A hash of what its result depends on, and of nothing else."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cxrvl.config.build import build
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.selection import SELECTION_KEYS, select
from cxrvl.data.sources.base import report_table
from cxrvl.data.studies import StudyTable
from cxrvl.runs.chain import Before, Upstream, upstream
from cxrvl.runs.start import file_digest, read_starts, starts_identity
from cxrvl.runs.store import RunStore

SCIENCE_VERSION = 1
"""Raised by hand whenever code changes what a config computes; old runs then no longer count as done."""

ENGINE_KEYS = {
    "trainer": {
        "accelerator", "devices", "num_nodes", "strategy", "accumulate_grad_batches", "log_every_n_steps",
        "enable_progress_bar", "profiler", "detect_anomaly",
    },
    "data": {
        "store_root", "num_workers", "prepare_workers", "root", "evaluation_batch_size", "pin_memory", "split_file",
    },
    "task": {"store_root"},
}  # fmt: skip
"""What says where and on what to compute. Every key not listed here counts as science."""

SOURCE_LOCATION_KEYS = {"root", "shareable"}
"""What a source says about where its files lie and who may see them, neither of which changes a number."""
CONTENT_KEYS = {"weights", "file", "folder", "tokenizer"}
"""Keys of a model or of triplet tasks whose value may be a path: what lies there counts, not where."""
SCIENCE_SECTIONS = ("data", "model", "task", "trainer", "callbacks", "init_from", "seed", "threads")
ID_LENGTH = 16


@dataclass(frozen=True)
class Identity:
    """A run's id and everything it was hashed from."""

    run_id: str
    science: dict[str, Any]
    fingerprint: dict[str, Any]


def science(config: dict) -> dict[str, Any]:
    """Return the part of a resolved config that determines the result."""
    return _science(config, upstream_ids(config))


def _science(config: dict, starts_from: Sequence[str | None]) -> dict[str, Any]:
    parts: dict[str, Any] = {key: config.get(key) for key in SCIENCE_SECTIONS}
    for section, engine in ENGINE_KEYS.items():
        parts[section] = {k: v for k, v in (parts[section] or {}).items() if k not in engine}
    accumulate = config["trainer"]["accumulate_grad_batches"]
    if accumulate != 1:
        # BatchNorm sees one part of the batch at a time: the same batch in parts is not the same computation.
        parts["trainer"]["accumulate_grad_batches"] = accumulate
    if isinstance(parts["data"].get("source"), dict):
        parts["data"]["source"] = _without_location(parts["data"]["source"])
    parts["model"] = _with_content(parts["model"])
    if "tasks" in parts["data"]:
        parts["data"]["tasks"] = _with_content(parts["data"]["tasks"])
    parts["init_from"] = starts_identity(read_starts(config), starts_from)
    return parts


def upstream_ids(config: dict) -> list[str | None]:
    """Return, per source of `init_from`, the id of the run it names, known before that run exists; None = it names none.

    Raises:
        ConfigError: a chain that cannot be, such as one that comes back to itself.
        RunError: the first digits of an id that no run in the store has.
    """
    return known_ids(config, upstream(config), {})


def known_ids(config: dict, before: Before, known: dict[Upstream, str]) -> list[str | None]:
    """Return `upstream_ids` of a config whose upstream runs are composed already.

    Args:
        known: takes up the id of every run on the way, so that each is identified once.
    """
    found: list[str | None] = []
    for start, link in zip(read_starts(config), before, strict=True):
        if link is not None:
            if link not in known:
                known[link] = _identify(link.config, known_ids(link.config, link.before, known)).run_id
            found.append(known[link])
        else:
            found.append(None if start.run_id is None else _whole_id(start.run_id, config))
    return found


def _whole_id(named: str, config: dict) -> str:
    """Return a run's whole id; a whole one needs no such run to be there."""
    return named if re.fullmatch(f"[0-9a-f]{{{ID_LENGTH}}}", named) else _store(config).find(named).run_id


def _store(config: dict) -> RunStore:
    return RunStore(Path(config["paths"]["runs"]))


def _without_location(source: Any) -> Any:
    """Drop where files lie, at any depth: the study fingerprint already holds what they contain."""
    if isinstance(source, dict):
        return {k: _without_location(v) for k, v in source.items() if k not in SOURCE_LOCATION_KEYS}
    if isinstance(source, list):
        return [_without_location(v) for v in source]
    return source


def _with_content(node: Any) -> Any:
    """Replace the path of a local file or folder that a model, or its training texts, come from by a hash of its content."""
    if not isinstance(node, dict):
        return node
    return {key: _content_of(value) if key in CONTENT_KEYS else _with_content(value) for key, value in node.items()}


def _content_of(value: Any) -> Any:
    path = _place(value) if isinstance(value, str) and value else None
    if path is None or not path.exists():
        return value
    if path.is_file():
        return f"sha256:{file_digest(path)}"
    inside = sorted(p for p in path.iterdir() if p.is_file())
    return f"sha256:{digest({p.name: file_digest(p) for p in inside})}"


def _place(value: str) -> Path:
    """The path a value would be, with `~` as the home that its readers read it as."""
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~name of nobody here: then it is no path
        return Path(value)


def digest(content: Any) -> str:
    """Return the SHA-256 hex digest of JSON-able content, independent of key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def study_table(config: dict) -> StudyTable:
    """Build (once per process and data config) the study table a config trains and is scored on.

    Raises:
        DataError: the table fails one of its checks.
    """
    return _study_table(_key(config))


def data_table(config: dict) -> StudyTable | ReportTable:
    """Build (once per process and data config) the rows of a config: of reports alone where data have no image store.

    Raises:
        DataError: the table fails one of its checks.
    """
    return _study_table(_key(config)) if "store" in config["data"] else _report_table(_key(config))


def _key(config: dict) -> str:
    data = config["data"]
    # Not sorted: mappings such as a manifest's labels mean their order.
    return json.dumps([data["source"], {key: data[key] for key in SELECTION_KEYS if key in data}])


@lru_cache(maxsize=8)
def _study_table(key: str) -> StudyTable:
    source, chosen = json.loads(key)
    return select(build(source).table(), **chosen)


@lru_cache(maxsize=8)
def _report_table(key: str) -> ReportTable:
    source, chosen = json.loads(key)
    return select(report_table(build(source)), **chosen)


def fingerprint(config: dict) -> dict[str, Any]:
    """Return what a run's data are: image keys, sizes, labels, split, how pixels come about, and any unusual order."""
    source, table = build(config["data"]["source"]), data_table(config)
    prints: dict[str, Any] = {"study": table.fingerprint()}
    key = "study"
    if isinstance(table, StudyTable):
        prints["pixels"], key = source.pixel_identity(), "image"
    keys = table.frame["dataset"] + "\0" + table.frame[key]
    if not keys.is_monotonic_increasing:
        # Rows are shuffled and augmented by row number, so the same rows in another order train another network.
        prints["order"] = digest(keys.tolist())
    return prints


def identify(config: dict) -> Identity:
    """Return the identity of the run a resolved config describes.

    Raises:
        ConfigError: a chain of `init_from` that cannot be, such as one that comes back to itself.
    """
    return _identify(config, upstream_ids(config))


def _identify(config: dict, starts_from: Sequence[str | None]) -> Identity:
    parts, prints = _science(config, starts_from), fingerprint(config)
    whole = {"science": parts, "fingerprint": prints, "science_version": SCIENCE_VERSION}
    return Identity(digest(whole)[:ID_LENGTH], parts, prints)
