"""What a cluster runs for a job: one process with the job's command line, stopped in order, queued again if need be."""

import os
import pickle
import pickletools
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cxrvl.sweeps.engines.task import RequeuedTask, StoppedError, TrainTask, ray_task, tail_of
from cxrvl.sweeps.jobs import Job


@pytest.fixture
def task(script, tmp_path):
    def make(code: str, kind=TrainTask, **fields):
        log = str(tmp_path / "logs" / "job.log")
        return kind(
            script("job", code, threads=3, sweep="s1"), str(tmp_path), {"CXRVL_DATA": "/d"}, 2.0, log=log, **fields
        )

    return make


def in_a_moment(action, seconds=0.6):
    timer = threading.Timer(seconds, action)
    timer.start()


def signal_here(number):
    return lambda: os.kill(os.getpid(), number)


def test_the_job_runs_where_the_sweep_was_asked_for_with_its_threads_and_the_engines_devices(
    task, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-given-by-slurm")
    monkeypatch.setenv("SLURM_PROCID", "0")
    code = """
        import os
        print(os.getcwd(), os.environ["OMP_NUM_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CXRVL_DATA"],
              os.environ["CXRVL_SWEEP"], "SLURM_PROCID" in os.environ)
    """
    assert task(code)() == 0
    assert tail_of(tmp_path / "logs" / "job.log") == (f"{tmp_path} 3 GPU-given-by-slurm /d s1 False",)
    assert task(code, alone=False)() == 0
    assert tail_of(tmp_path / "logs" / "job.log")[-1].endswith("True"), "where srun starts the ranks, they know theirs"


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(75)", 75), ("1/0", 1)])
def test_it_returns_the_exit_code(task, code, expected):
    assert task(code)() == expected


def test_a_job_that_a_signal_ended(task):
    assert task("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")() == -signal.SIGKILL


def test_the_last_lines_of_the_output_without_the_engines_own(tmp_path):
    path = tmp_path / "out"
    path.write_text("\n".join(["submitit INFO starting", *map(str, range(30)), "", "submitit INFO done"]))
    assert tail_of(path, "submitit ") == tuple(map(str, range(18, 30)))
    assert tail_of(tmp_path / "none") == ()


POLITE = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    time.sleep(30)
"""


def test_a_stopped_engine_stops_the_job_and_waits_for_it(task):
    in_a_moment(signal_here(signal.SIGTERM))
    begin = time.monotonic()
    assert task(POLITE).run() == (75, [signal.SIGTERM])
    assert time.monotonic() - begin < 5


def test_an_interrupted_engine_is_interrupted_once_the_job_has_ended(task):
    in_a_moment(signal_here(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        task(POLITE)()


def test_a_job_that_does_not_stop_is_killed_after_its_grace(task):
    in_a_moment(signal_here(signal.SIGTERM))
    stubborn = replace(
        task("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(30)"), grace_seconds=0.3
    )
    assert stubborn.run()[0] == -signal.SIGKILL


def test_ray_tries_again_what_was_stopped_and_nothing_else(task):
    assert ray_task(task("pass")) == 0
    assert ray_task(task("raise SystemExit(2)")) == 2
    for code in ("raise SystemExit(75)", "import os; os.kill(os.getpid(), 9)"):
        with pytest.raises(StoppedError):
            ray_task(task(code))


USR1, TERM = signal.SIGUSR1, signal.SIGTERM


@pytest.mark.parametrize(
    ("code", "asked", "executor", "again"),
    [
        (75, [USR1], "slurm", True),  # time is up
        (-9, [USR1], "slurm", True),  # its grace was too short: on from the last resume point
        (75, [TERM], "slurm", True),  # nobody killed it after a SIGTERM
        (75, [TERM], "local", False),  # the launcher stops
        (0, [USR1], "slurm", False),  # done just in time
        (2, [USR1], "slurm", False),  # the user has to mend something
        (75, [], "slurm", False),  # somebody stopped the job itself
    ],
)
def test_what_is_queued_again(task, monkeypatch, code, asked, executor, again):
    queued = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    monkeypatch.setattr(RequeuedTask, "run", lambda self: (code, asked))
    monkeypatch.setattr(RequeuedTask, "SCHEDULER_SECONDS", 0.0)
    before = signal.signal(USR1, lambda number, frame: queued.append(number))
    try:
        assert task("pass", RequeuedTask, max_requeues=2)() == code
        assert bool(queued) is again
        queued.clear()
        assert task("pass", RequeuedTask, max_requeues=2, requeues=2)() == code
        assert not queued, "as often as allowed"
    finally:
        signal.signal(USR1, before)


def test_what_is_queued_again_is_the_same_task_counted(task):
    first = task("pass", RequeuedTask, max_requeues=2)
    second = first.checkpoint().function
    assert second == replace(first, requeues=1)


def test_a_written_task_is_a_command_line_and_nothing_else(tmp_path):
    """No config, no model, no function of the process that asked: names of plain classes, strings and numbers."""
    job = Job("seed=1", ("experiment=phantom/acm", "seed=1"), {"a": object}, "0" * 16, Path("runs/0"), sweep="s")
    text = pickle.dumps(RequeuedTask(replace(job, config={}), str(tmp_path), {}))
    strings = [arg for op, arg, _ in pickletools.genops(text) if op.name in ("SHORT_BINUNICODE", "BINUNICODE")]
    modules = {s for s in strings if s.startswith(("cxrvl", "pathlib", "torch", "omegaconf", "hydra", "builtins"))}
    assert modules == {"cxrvl.sweeps.engines.task", "cxrvl.sweeps.jobs", "pathlib"}
    again = pickle.loads(text)
    assert again.job.argv()[1:] == ["-m", "cxrvl.cli", "train", "experiment=phantom/acm", "seed=1"]
