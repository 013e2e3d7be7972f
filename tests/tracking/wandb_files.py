"""Reads an offline W&B file back: LevelDB's log format, records in wandb's own protocol."""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
HEADER = 7


def records(path: Path):
    """Yield the records of a .wandb file."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = HEADER, []
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        if kind == 0:
            place += BLOCK - place % BLOCK
            continue
        parts.append(data[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def contents(folder: Path) -> dict:
    """Return what the only offline folder of a run holds: run, config, history, summary, metrics, exit code."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = {"run": None, "config": {}, "history": [], "summary": {}, "metrics": {}, "exit": None, "preempting": False}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run" and found["run"] is None:
            found["run"] = record.run
            found["config"] = items(record.run.config.update)
        elif kind == "history":
            found["history"].append(items(record.history.item))
        elif kind == "summary":
            found["summary"] |= items(record.summary.update)
        elif kind == "metric":
            found["metrics"][record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
        elif kind == "preempting":
            found["preempting"] = True
    return found


def items(entries) -> dict:
    return {e.key or ".".join(e.nested_key): json.loads(e.value_json) for e in entries}
