"""How long does `cxrvl runs ls` take over 10,000 run folders? `make bench`, or pytest with -s to see the times."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

FOLDERS = 10_000
LISTED_SECONDS = 2.0
"""Wall time of a listing by the index, with the start of the interpreter."""


def make_store(root: Path, like: Path, folders: int) -> None:
    """Write folders with the small files of a real run, each with its own seed, groups, state and metrics."""
    config = yaml.load((like / "config.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    status, metrics = json.loads((like / "status.json").read_text()), json.loads((like / "metrics.json").read_text())
    text = yaml.safe_dump({**config, "name": "NAME", "seed": "SEED", "model": {**config["model"], "groups": "GROUPS"}})
    for number in range(folders):
        folder = root / f"{number:016x}"
        folder.mkdir(parents=True)
        name, state = f"table{number % 20}/row{number % 7}", ("done", "done", "done", "failed", "queued")[number % 5]
        own = {"NAME": name, "SEED": str(number % 5), "GROUPS": str(2 ** (number % 7))}
        words = text
        for word, value in own.items():
            words = words.replace(word, value)
        (folder / "config.yaml").write_text(words)
        (folder / "overrides.yaml").write_text("[]\n")
        (folder / "status.json").write_text(json.dumps({**status, "name": name, "seed": number % 5, "state": state}))
        for entry in metrics.values():
            if isinstance(entry["values"].get("mean"), dict):
                entry["values"]["mean"]["auroc"] = number / folders
        (folder / "metrics.json").write_text(json.dumps(metrics))


def timed(*arguments: str) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cxrvl.cli", *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return time.perf_counter() - start, done.stdout


@pytest.mark.slow
def test_listing_ten_thousand_runs(finished, tmp_path):
    make_store(tmp_path, finished.only_run(), FOLDERS)
    time.sleep(2.5)  # what has changed just now is not trusted to the index
    ls = ("runs", "ls", "--runs", str(tmp_path))
    where = ("--where", "experiment=table3/* status=failed")
    cold, first = timed(*ls, *where)
    times = [timed(*ls, *where)[0] for _ in range(5)]
    by_config = [timed(*ls, "--where", "model.groups=16 findings.mean.auroc>0.9")[0] for _ in range(3)]
    everything, listing = timed(*ls)
    as_json = timed(*ls, *where, "--json")[0]
    size = (tmp_path / ".index" / "runs.parquet").stat().st_size
    print(
        f"\n{FOLDERS} folders: index built in {cold:.1f} s ({size / 1e6:.1f} MB); --where in {min(times):.2f} to "
        f"{max(times):.2f} s, by config and metric {max(by_config):.2f} s, as JSON {as_json:.2f} s, "
        f"all lines {everything:.2f} s"
    )
    assert first == timed(*ls, *where)[1]
    assert len(first.splitlines()) == 1 + sum(n % 20 == 3 and n % 5 == 3 for n in range(FOLDERS))
    assert len(listing.splitlines()) == 1 + FOLDERS
    assert min(times) < LISTED_SECONDS
