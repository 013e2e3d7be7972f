"""Are a million reports embedded in the memory that ten thousand take, and continued after a kill?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

REPORTS = int(os.environ.get("CXRVL_BENCH_REPORTS", "1000000"))
FEW = 10_000
GROWTH_MB = 300
SIDES, SIZES, FINDINGS = ("left", "right"), ("Small", "Moderate", "Large"), ("effusion", "nodule", "opacity", "mass")
RUN = (
    "data=phantom_triplets", "task=contrastive_text", "model=text_llama_tiny", "data.source.images=160",
    "model.base.sizes.hidden_size=32", "model.base.sizes.intermediate_size=32", "model.base.sizes.num_hidden_layers=1",
    "trainer.max_steps=0", "evaluation=none", "logger=none",
)  # fmt: skip


def write_reports(path: Path, count: int) -> None:
    """Short reports, no two alike, written one by one."""
    with path.open("w", encoding="utf-8") as file:
        file.write("id,report\n")
        for n in range(count):
            what = FINDINGS[n // 6 % 4]
            file.write(f"study{n},{SIZES[n % 3]} {SIDES[n % 2]} {what} of {n // 24} mm. The heart is not enlarged.\n")


def begin(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "cxrvl.cli", *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )


def peak(process: subprocess.Popen, code: int = 0) -> float:
    """Wait for a process, and return the most memory it held, in MB."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == code
    return used.ru_maxrss / 1024


def test_a_million_reports_in_bounded_memory(tmp_path):
    peak(begin(tmp_path, "train", *RUN))
    (run,) = (tmp_path / "runs").iterdir()
    for name, count in (("few", FEW), ("all", REPORTS)):
        write_reports(tmp_path / f"{name}.csv", count)

    def encode(name: str) -> subprocess.Popen:
        return begin(tmp_path, "encode", f"{name}.csv", "--run", run.name, "--out", f"{name}.parquet")

    few = peak(encode("few"))
    start = time.perf_counter()
    killed, parts = encode("all"), tmp_path / "all.parquet.parts"
    while len(list(parts.glob("*.parquet"))) < REPORTS // 4096 // 2:
        time.sleep(0.2)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    first = peak(killed, -signal.SIGKILL)
    written = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert len(written) >= REPORTS // 4096 // 2
    again = encode("all")
    while len(there := list(parts.glob("*.parquet"))) <= len(written):
        time.sleep(0.2)
        assert again.poll() is None
    kept = {path.name: path.stat().st_mtime_ns for path in there if path.name in written}
    second = peak(again)
    taken = time.perf_counter() - start

    assert kept == written  # what was done before the kill is not done again
    rows = 0
    with pq.ParquetFile(tmp_path / "all.parquet") as file:
        for batch in file.iter_batches(columns=["row", "id"]):
            np.testing.assert_array_equal(batch["row"].to_numpy(), np.arange(rows, rows + len(batch)))
            assert batch["id"][0].as_py() == f"study{rows}"
            rows += len(batch)
    growth = max(first, second) - few
    line = (
        f"{REPORTS:,} reports with a kill half-way: {REPORTS / taken:,.0f} reports/s; at most {few:.0f} MB for {FEW:,} "
        f"reports, {first:.0f} MB before the kill, {second:.0f} MB after; growth {growth:.0f} MB (at most {GROWTH_MB})"
    )
    print(f"\ncxrvl encode, one layer of width 32: {line}")
    assert rows == REPORTS
    assert growth <= GROWTH_MB, line
