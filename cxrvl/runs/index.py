"""How are 10,000 run folders searched in a moment, when the folders alone are the truth?

The index `.index/runs.parquet` keeps every run's fields beside the signature of the files they were read from. A
row counts only while the signature is that of the files as they are now; every other run is read anew. So the index
can be deleted, damaged, old or missing, and the answer is the same, only later. It is one file that is replaced as a
whole: a data base's locks are not to be trusted on network file systems, and of two processes the later one wins.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.runs.fields import HEADLINE, read_fields, signature
from cxrvl.runs.index_file import DamagedIndexError, IndexFile, write_index
from cxrvl.runs.store import Run, RunStore, shown_state
from cxrvl.runs.where import Condition, field_of

REWRITE_AFTER = 50
"""New or changed runs from which on writing the index takes less time than reading them again the next time."""
RACY_SECONDS = 2.0
"""A file that changed so short a time before it was read may change again without changing its time."""
SHOWN = ("status:state", "status:interrupted", "status:name", "status:seed", "status:split_name", "status:seconds",
         "status:damaged", "folder:asked", HEADLINE)  # fmt: skip

log = logging.getLogger(__name__)

Track = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class Listed:
    """One run as it is listed: the run, its state in one word, and the fields that were asked for."""

    run: Run
    state: str
    fields: dict[str, Any]


def listed(
    store: RunStore, where: Sequence[Condition] = (), also: tuple[str, ...] = (), track: Track = iter
) -> list[Listed]:
    """Return the runs that fulfil all conditions, the one asked for longest ago first.

    Args:
        store: whose runs.
        where: conditions, see `cxrvl.runs.where`.
        also: beginnings of further fields to return, such as `metric:`.
        track: shows how far the reading of new runs is.

    Raises:
        ConfigError: a condition on a field that no run has.
    """
    path = store.root / ".index" / "runs.parquet"
    try:
        return _listed(store, where, also, track, path, IndexFile(path))
    except DamagedIndexError:
        return _listed(store, where, also, track, path, None)


def _listed(
    store: RunStore, where: Sequence[Condition], also: tuple[str, ...], track: Track, path: Path, old: IndexFile | None
) -> list[Listed]:
    signs = {name: signature(f"{store.root}/{name}") for name in store.ids()}
    signs = {name: sign for name, sign in signs.items() if sign[0]}
    rows = {} if old is None else {
        name: row for row, (name, sign) in enumerate(zip(*old.signatures(), strict=True))
        if signs.get(name, (b"",))[0] == sign
    }  # fmt: skip
    unread = [name for name in signs if name not in rows]
    now = _now(path.parent) if len(unread) >= REWRITE_AFTER else None
    read = {name: read_fields(store.root / name) for name in track(unread)}
    known = {"run", "status"}.union(() if old is None else old.names, *(fields for fields, _ in read.values()))
    if now is not None:
        before = now - int(RACY_SECONDS * 1e9)
        sure = {n: (signs[n][0], fields) for n, (fields, whole) in read.items() if whole and signs[n][1] <= before}
        _keep(path, None if old is None else old.whole(list(rows.values())), sure)
    if not signs:
        return []
    keys = [field_of(condition.key, known) for condition in where]
    wanted = list(
        dict.fromkeys([*SHOWN, *(key for key in keys if ":" in key), *(k for k in sorted(known) if k.startswith(also))])
    )
    columns = {} if old is None else old.columns(wanted)
    found = []
    for name in signs:
        if name in rows:
            fields = {key: column[rows[name]] for key, column in columns.items()}
        else:
            fields = {key: read[name][0].get(key) for key in wanted}
        if fields.get("status:state") == "missing":  # removed since its folder was seen
            continue
        run = store.run(name)
        state = _state_now(run, fields)
        meant = {**fields, "run": name, "status": state}
        if all(condition.holds(meant.get(key)) for condition, key in zip(where, keys, strict=True)):
            found.append(Listed(run, state, fields))
    return sorted(found, key=lambda one: (one.fields.get("folder:asked") or 0.0, one.run.run_id))


def _keep(path: Path, kept: Any, new: dict[str, tuple[bytes, dict[str, Any]]]) -> None:
    """Write the index, if there is room for it: without one the same is found, only later."""
    try:
        write_index(path, kept, new)
    except OSError as error:
        log.warning("the index %s could not be written (%s); listing stays slow until it can", path, error.strerror)


def _state_now(run: Run, fields: dict[str, Any]) -> str:
    """Return a run's state: who is recorded as running may have died without a change of any file."""
    status = {"state": fields.get("status:state"), "interrupted": fields.get("status:interrupted")}
    if status["state"] == "running" and not run.busy():
        status = {"state": "queued", "interrupted": True}
    return shown_state(status)


def _now(folder: Path) -> int | None:
    """Return the file server's time in ns; None where an index cannot be written, and is not needed either."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".tmp") as file:
            now = os.fstat(file.fileno()).st_mtime_ns
        for left in folder.glob(".*.tmp"):  # of processes that were killed; a writing one is done within the hour
            if now - left.stat().st_mtime_ns > 3600 * 1e9:
                left.unlink(missing_ok=True)
        return now
    except OSError:
        return None
