"""Jobs run side by side in processes of their own, fail on their own, and never outlive the parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cxrvl.runs.pool import TAIL_LINES, Failure, Job, run_jobs


@pytest.fixture
def script(monkeypatch):
    """Jobs whose only override is Python code."""
    monkeypatch.setattr(Job, "argv", lambda job: [sys.executable, "-c", *job.overrides])
    return lambda name, code: Job(name, (textwrap.dedent(code),))


def test_a_job_is_a_command_line():
    job = Job("acm seed 1", ("experiment=phantom/acm", "seed=1"))
    assert job.argv() == [sys.executable, "-m", "cxrvl.cli", "train", "experiment=phantom/acm", "seed=1"]


def test_jobs_run_at_the_same_time(script, tmp_path):
    """Each waits for the other's file: one after the other they would wait for ever."""
    code = """
        import pathlib, time
        pathlib.Path({own!r}).touch()
        while not pathlib.Path({other!r}).exists():
            time.sleep(0.01)
    """
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    jobs = [script("a", code.format(own=a, other=b)), script("b", code.format(own=b, other=a))]
    assert run_jobs(jobs, slots=2) == []


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_than_the_slots_run_and_all_are_reported(script, slots):
    seen = []
    jobs = [script(name, "pass") for name in "abcde"]
    assert run_jobs(jobs, slots, lambda running, done: seen.append((tuple(running), done))) == []
    assert max(len(running) for running, _ in seen) == slots
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1] == ((), 5)
    assert seen[0] == (("a",), 0)


def test_nothing_to_do_is_done():
    assert run_jobs([], slots=4) == []


def test_a_failing_job_is_reported_with_its_last_lines_and_stops_no_other(script, tmp_path):
    bad = script("bad", "import sys; [print(i) for i in range(50)]; print(); sys.exit('error: no such file')")
    good = script("good", f"open({str(tmp_path / 'done')!r}, 'w')")
    (failure,) = run_jobs([bad, good], slots=1)
    assert failure.job == bad
    assert failure.code == 1
    assert failure.tail == [*map(str, range(43, 50)), "error: no such file"]
    assert len(failure.tail) == TAIL_LINES
    assert (tmp_path / "done").exists()
    text = str(Failure(bad, 1, ["first", "second"]))
    assert text == "bad failed (exit code 1):\n  first\n  second"


def test_a_job_that_was_killed_is_a_failure(script):
    (failure,) = run_jobs([script("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")], slots=1)
    assert failure.code == -signal.SIGKILL
    assert failure.tail == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_parent_ends_the_children(tmp_path, number):
    """The children get Ctrl-C and time to write where they are; their own children end too."""
    child = f"""
        import os, pathlib, subprocess, sys, time
        folder = pathlib.Path({str(tmp_path)!r})
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder / f"{{os.getpid()}}.started").write_text(str(inner.pid))
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / f"{{os.getpid()}}.stopped").touch()
    """
    parent = f"""
        import sys
        from cxrvl.runs.pool import Job, run_jobs
        Job.argv = lambda job: [sys.executable, "-c", job.overrides[0]]
        try:
            run_jobs([Job(name, ({textwrap.dedent(child)!r},)) for name in "abc"], slots=2)
        except KeyboardInterrupt:
            sys.exit(130)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)], start_new_session=True)
    deadline = time.monotonic() + 30
    while len([p for p in tmp_path.glob("*.started") if p.read_text()]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 130
    started = {p.stem: int(p.read_text()) for p in tmp_path.glob("*.started")}
    assert len(started) == 2, "the third never began"
    assert {p.stem for p in tmp_path.glob("*.stopped")} == set(started)
    everyone = (*map(int, started), *started.values())
    deadline = time.monotonic() + 10
    while (left := [pid for pid in everyone if alive(pid) and not zombie(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def zombie(pid: int) -> bool:
    """Whether an ended process merely waits for the system to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
