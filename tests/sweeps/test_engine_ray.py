"""A sweep on Ray, here one that runs on this machine: jobs whose machine is taken away continue on another worker."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from watching import assert_same_predictions, descendants, processes, steps, wait_for

from cxrvl.errors import ConfigError
from cxrvl.runs.store import Run
from cxrvl.sweeps.engines.ray import engine
from cxrvl.sweeps.engines.task import TrainTask
from cxrvl.sweeps.jobs import Job

SETTINGS = {
    "address": "local", "num_cpus": None, "num_gpus": None, "object_store_memory": None, "cpus_per_job": None,
    "gpus_per_job": None, "resources": {}, "max_requeues": 3, "grace_seconds": 30.0,
}  # fmt: skip
SMALL = (
    "hydra/launcher=ray", "hydra.launcher.address=local", "hydra.launcher.num_cpus=2",
    "hydra.launcher.object_store_memory=80000000",
)  # fmt: skip


def job(**trainer) -> Job:
    settings = {"accelerator": "auto", "devices": 2, "num_nodes": 1} | trainer
    devices = settings["devices"] if isinstance(settings["devices"], int) else 0
    return Job("seed=1", ("seed=1",), {"trainer": settings}, "0" * 16, Path("runs/0"), 3, devices, sweep="s")


def test_what_a_job_asks_of_ray():
    ray = engine(SETTINGS)
    assert ray.cpus(job()) == 6
    assert ray.gpus(job(), cluster=8) == 2
    assert ray.gpus(job(), cluster=0) == 0, "a job that takes what there is"
    assert ray.gpus(job(accelerator="gpu"), cluster=0) == 2, "Ray waits for such a machine"
    assert ray.gpus(job(accelerator="cpu"), cluster=8) == 0
    own = engine(SETTINGS | {"cpus_per_job": 1.0, "gpus_per_job": 0.5})
    assert (own.cpus(job()), own.gpus(job(), 8)) == (1.0, 0.5)
    assert engine(SETTINGS | {"num_cpus": 2}).init == {"include_dashboard": False, "num_cpus": 2}


def test_what_ray_is_given_is_a_command_line_and_nothing_else():
    task = engine(SETTINGS).task(job())
    assert type(task) is TrainTask
    assert task.job.argv()[1:] == ["-m", "cxrvl.cli", "train", "seed=1"]
    assert task.job.config == {}
    assert Path(task.log).is_absolute()


def test_no_ray_and_no_cluster_are_one_line(monkeypatch):
    with pytest.raises(ConfigError, match="how many GPUs"):
        engine(SETTINGS)._refuse_impossible(job(devices="auto"), gpus=8)
    with pytest.raises(ConfigError, match="submitit_slurm"):
        engine(SETTINGS)._refuse_impossible(job(num_nodes=2), gpus=8)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"hydra/launcher=ray needs the extra \"ray\": pip install 'cxrvl\[ray\]'"):
        engine(SETTINGS)([job()])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_refused_at_once(monkeypatch, scheme):
    """Ray would ask there for many minutes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else's, and not listening
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray at {address} .*refused"):
            engine(SETTINGS | {"address": address})([job()])
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=f"no Ray at {address} .*refused"):
            engine(SETTINGS | {"address": None})([job()])


def worker_of(seed: int, folder: Path) -> int | None:
    """The Ray worker whose job this is: the parent of the guard."""
    table = processes()
    for parent, command in table.values():
        if any(word.endswith("guard.py") for word in command[:5]) and f"seed={seed}" in command:
            here = Path("/proc") / str(parent) / "cwd"
            if parent in table and here.exists() and f"paths.runs={folder}" in command:
                return parent
    return None


@pytest.mark.slow
def test_jobs_whose_workers_are_taken_away_continue_and_nothing_is_left_behind(finished, cli, start):
    (cli.folder / "precious.bin").write_bytes(b"patients" * 100_000)
    first = cli.runs / finished.only_run().name
    command = ("train", "-m", *cli.tiny, "seed=0,1", f"paths.runs={cli.runs}", *SMALL)
    frequent = ("trainer.log_every_n_steps=1", "checkpoint.every_seconds=1000")
    launcher = start(*command, *frequent)
    wait_for(lambda: len(steps(first)) >= 3, launcher)
    os.kill(wait_for(lambda: worker_of(0, cli.runs), launcher), signal.SIGTERM)  # a machine about to be taken away
    os.kill(wait_for(lambda: worker_of(1, cli.runs), launcher), signal.SIGKILL)  # one that is gone
    everyone = descendants(launcher.pid)
    session = sorted(Path("/tmp/ray").glob("session_2*"), key=lambda p: p.stat().st_mtime)[-1]
    assert not list(session.glob("runtime_resources/working_dir_files/*")), "nothing was uploaded"
    out, err = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, out + err
    runs = [Run(p.parent) for p in cli.runs.glob("*/status.json")]
    assert [run.state() for run in runs] == ["done", "done"]
    for run in runs:
        logged = steps(run.folder)
        assert logged == sorted(set(logged)), "no step was computed twice"
        assert "continued from last.ckpt" in (run.folder / "train.log").read_text() or run.folder != first
    assert_same_predictions(first, finished.only_run())
    deadline = time.monotonic() + 20
    while left := [pid for pid in everyone if (Path("/proc") / str(pid) / "exe").exists()]:
        assert time.monotonic() < deadline, f"left behind: {[processes().get(pid) for pid in left]}"
        time.sleep(0.1)
    logs = {path.stem for path in cli.runs.glob(".sweeps/*/*.log")}
    assert logs == {run.run_id for run in runs}
