"""What does a sweep cost beyond its jobs, and what does it cost to ask for a finished one?"""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from cxrvl.config.compose import hydra_session
from cxrvl.files import read_json
from cxrvl.runs.evaluations import planned
from cxrvl.sweeps.jobs import described

TINY = (
    "experiment=phantom/acm",
    "data.source.images=160",
    "data.store.size=32",
    "data.batch_size=8",
    "evaluation.findings.bootstrap=20",
    "evaluation.marks.bootstrap=20",
)
JOBS, SLOTS, RATIO = 12, 2, 1.15
EPOCHS = int(os.environ.get("CXRVL_BENCH_EPOCHS", "60"))
"""Of each job: some 25 s on an idle core, where the target is stated for jobs of one minute (180 epochs)."""
FINISHED, AGAIN_SECONDS = 60, 10


def cxrvl(folder, *arguments):
    """Return the seconds a command took and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cxrvl.cli", *arguments],
        check=False, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return time.perf_counter() - start, done.stdout


def timed_jobs(folder, *arguments):
    """Return the seconds a sweep took, and those of each job, from the start of its interpreter to its end."""
    start, begun, taken, said = time.perf_counter(), {}, {}, []
    with subprocess.Popen(
        [sys.executable, "-m", "cxrvl.cli", *arguments],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as launcher:  # fmt: skip
        for line in launcher.stdout:  # as the launcher sees them; it prints each change at once
            said.append(line)
            if change := re.match(r"\[\d+/\d+\] (running|done): (seed=\d+)", line):
                times = begun if change[1] == "running" else taken
                times[change[2]] = time.perf_counter()
    assert launcher.returncode == 0, "".join(said)
    assert begun.keys() == taken.keys(), "".join(said)
    return time.perf_counter() - start, [taken[job] - begun[job] for job in begun]


def load():
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


@pytest.mark.slow
def test_a_sweep_takes_little_more_than_its_jobs(tmp_path):
    seeds = ",".join(map(str, range(JOBS)))
    before = load()
    wall, jobs = timed_jobs(
        tmp_path, "train", "-m", *TINY, f"trainer.max_epochs={EPOCHS}", f"seed={seeds}", f"hydra.launcher.slots={SLOTS}"
    )
    assert len(jobs) == JOBS
    inside = [read_json(path)["seconds"] for path in tmp_path.glob("runs/*/status.json")]
    ratio = wall / (sum(jobs) / SLOTS)
    print(
        f"\n{JOBS} jobs of {sum(jobs) / JOBS:.0f} s on {SLOTS} slots: {wall:.0f} s, {ratio:.3f} x (sum of job times / "
        f"{SLOTS}), at most {RATIO}; {wall / (sum(inside) / SLOTS):.3f} x where a job's time is taken without the start "
        f"of its interpreter ({sum(inside) / JOBS:.0f} s); load {before} before, {load()} after"
    )
    assert ratio <= RATIO


@pytest.mark.slow
def test_a_finished_sweep_asked_again_is_quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = ("train", "-m", *TINY, "trainer.max_epochs=1", f"hydra.launcher.slots={SLOTS}")
    cxrvl(tmp_path, *sweep, "seed=0,1")
    multiply(FINISHED)
    seeds = ",".join(map(str, range(FINISHED)))
    before, files = load(), everything(tmp_path / "runs")
    taken = [cxrvl(tmp_path, *sweep, f"seed={seeds}") for _ in range(3)]
    assert all(f"{FINISHED} job(s) were done before" in said for _, said in taken)
    again = sorted(seconds for seconds, _ in taken)[1]
    print(f"\na finished sweep of {FINISHED} runs, asked again: {again:.1f} s (at most {AGAIN_SECONDS}); load {before}")
    assert everything(tmp_path / "runs") == files, "something was computed"
    assert again <= AGAIN_SECONDS


def multiply(count):
    """Copy a finished run to the runs of other seeds: what asking again looks at, at the cost of no training."""
    with hydra_session():
        jobs = [described((*TINY, "trainer.max_epochs=1", f"seed={seed}")) for seed in range(count)]
        first = {e.name: e.path.name for e in planned(jobs[0].run, jobs[0].config)}
        for job in jobs[2:]:
            shutil.copytree(jobs[0].run_folder, job.run_folder)
            for evaluation in planned(job.run, job.config):
                (job.run.predictions / first[evaluation.name]).rename(evaluation.path)


def everything(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "multirun.yaml"
    }
