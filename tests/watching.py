"""What tests that start, stop and kill commands look at: processes, histories, predictions."""

import json
import time
from pathlib import Path

from cxrvl.evaluation.predictions import read_predictions


def wait_for(condition, process=None, seconds=400.0):
    """Return a condition's value once it is true; meanwhile a command, if one is given, has to run."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert process is None or process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def steps(folder: Path) -> list[int]:
    """The steps whose loss a run has logged."""
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [r["step"] for r in map(json.loads, lines) if "train/loss" in r]


def assert_same_predictions(ours: Path, theirs: Path) -> None:
    """Two run folders hold the same prediction files, bit for bit."""
    names = sorted(p.name for p in (theirs / "predictions").glob("*.parquet"))
    assert names
    for name in names:
        a, b = (read_predictions(folder / "predictions" / name).frame for folder in (ours, theirs))
        assert a.equals(b), f"{name} differs"


def alive(pid: int) -> bool:
    """Whether a process has not ended; one that waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def processes() -> dict[int, tuple[int, list[str]]]:
    """Parent and command line of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            found[int(path.name)] = (parent, (path / "cmdline").read_bytes().decode().split("\0"))
        except (OSError, IndexError):
            continue
    return found


def descendants(of: int) -> set[int]:
    """Every process below one."""
    table = processes()
    found, below = set(), {of}
    while below:
        below = {pid for pid, (parent, _) in table.items() if parent in below} - found
        found |= below
    return found
