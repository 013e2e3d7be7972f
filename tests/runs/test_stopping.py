"""A run asked to stop at any moment writes where it is, says so in one line, and ends as if never stopped."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from watching import assert_same_predictions, steps, wait_for

from cxrvl.errors import ConfigError
from cxrvl.runs import stopping
from cxrvl.runs.store import Run

FAST = ("trainer.log_every_n_steps=1", "checkpoint.every_seconds=1000")  # no resume point but the one asked for
SENTENCE = "stopped; the same command continues where it was"


def stopped(process, code=stopping.STOPPED) -> str:
    """The one line a user sees, and nothing else."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert [line for line in err.splitlines() if line.strip()] == [SENTENCE], err
    return out


@pytest.mark.parametrize(
    ("number", "after", "code"),
    [(signal.SIGTERM, 3, 75), (signal.SIGINT, 16, 130)],
)
def test_stopped_while_training_it_continues_to_the_same_bits(finished, cli, start, number, after, code):
    folder = cli.runs / finished.only_run().name
    process = start("train", *cli.tiny, *FAST)
    wait_for(lambda: len(steps(folder)) >= after, process)
    process.send_signal(number)
    stopped(process, code)
    status = Run(folder).status()
    assert (status["state"], status["interrupted"]) == ("queued", True)
    assert (folder / "checkpoints" / "last.ckpt").is_file(), "the resume point asked for by the signal"
    trained = steps(folder)
    assert "is done" in cli.train(*FAST)
    assert steps(folder)[: len(trained)] == trained, "no step was computed again"
    assert_same_predictions(folder, finished.only_run())


def test_stopped_while_evaluating_nothing_is_trained_again(finished, cli, start):
    """The evaluation is long here: its bootstrap, after the predictions are written."""
    slow = ("evaluation.findings.bootstrap=2000000", "evaluation.marks=null")
    process = start("train", *cli.tiny, *FAST, *slow)
    wait_for(lambda: list(cli.runs.glob("*/predictions/*.parquet")), process)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    stopped(process)
    folder = cli.only_run()
    final = (folder / "checkpoints" / "final.ckpt").stat().st_mtime_ns
    assert Run(folder).status()["interrupted"] is True
    assert "evaluated now" in cli.train(*FAST) or Run(folder).state() == "done"
    assert (folder / "checkpoints" / "final.ckpt").stat().st_mtime_ns == final
    assert_same_predictions(folder, finished.only_run())


def test_stopped_while_images_are_prepared_what_was_decoded_is_kept(cli, start):
    many = ("experiment=phantom/acm", "data.source.images=4000", "data.store.size=64", "+data.prepare_workers=1")
    process = start("train", *many)
    wait_for(lambda: list(cli.folder.glob("stores/**/*.npy")), process)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGTERM)
    stopped(process)
    assert Run(cli.only_run()).status()["interrupted"] is True
    assert not list(cli.runs.glob("*/checkpoints/*.ckpt"))


@pytest.mark.parametrize("delay", [0.15, 0.6, 2.0])
def test_stopped_in_the_first_seconds(cli, start, delay):
    process = start("train", *cli.tiny, fresh=True)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    if delay < 0.5:  # perhaps before the interpreter ran any of our code: the system ends it, and nothing was begun
        _, err = process.communicate(timeout=60)
        assert process.returncode in (75, -signal.SIGTERM), err
        assert not list(cli.runs.glob("*/checkpoints/*"))
        return
    stopped(process)


def test_a_scheduler_that_signals_loader_workers_too_loses_nothing(finished, cli, start):
    """Slurm may signal every process of a job; a worker that died of it would break the step at hand."""
    folder = cli.runs / finished.only_run().name
    process = start("train", *cli.tiny, *FAST, "+data.num_workers=2", start_new_session=True)
    wait_for(lambda: len(steps(folder)) >= 4, process)
    os.killpg(process.pid, signal.SIGTERM)
    stopped(process)
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert "is done" in cli.train(*FAST)
    assert_same_predictions(folder, finished.only_run())


def test_lightning_requeues_no_slurm_job_behind_our_back(finished, cli, start):
    """Under srun Lightning would call scontrol, and write a checkpoint of its own."""
    fake = cli.folder / "bin"
    fake.mkdir()
    (fake / "scontrol").write_text(f"#!/bin/sh\ntouch {cli.folder}/requeued\n")
    (fake / "scontrol").chmod(0o755)
    slurm = {"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    slurm |= {"SLURM_NODEID": "0", "SLURM_JOB_NAME": "cxrvl", "PATH": f"{fake}:{os.environ['PATH']}"}
    cli.environment |= slurm
    folder = cli.runs / finished.only_run().name
    for number, target in ((signal.SIGUSR1, 3), (signal.SIGTERM, 8)):
        process = start("train", *cli.tiny, *FAST)
        wait_for(lambda target=target: len(steps(folder)) >= target, process)
        process.send_signal(number)
        stopped(process)
    assert "is done" in cli.train(*FAST)
    assert_same_predictions(folder, finished.only_run())
    assert not (cli.folder / "requeued").exists()
    assert not list(folder.rglob("hpc_ckpt*"))


# ---- the handlers by themselves, without torch ----

EARLY = """
import os, signal
from cxrvl import cli

def ask():
    os.kill(os.getpid(), signal.SIGTERM)

def stumble(options):
    try:
        ask()
    except KeyboardInterrupt:
        None.flag
"""


@pytest.mark.parametrize(
    "moment",
    [
        "parser = cli.build_parser\ncli.build_parser = lambda: (ask(), parser())[1]",
        "parse = cli.parse\ncli.parse = lambda *words: (ask(), parse(*words))[1]",
        "cli.COMMANDS['runs'] = lambda options: ask()",
        "cli.COMMANDS['runs'] = stumble",
    ],
)
def test_stopped_at_any_step_of_the_command_line_it_says_one_line(moment):
    code = f"{EARLY}\n{moment}\ncli.main(['runs', 'ls'])"
    stopped(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


CHILD = """
    import os, signal, subprocess, sys, time
    from cxrvl.runs import stopping
    stopping.AGAIN_SECONDS = 0.3
    stopping.install()
    {code}
"""


def child(code: str) -> subprocess.Popen:
    text = textwrap.dedent(CHILD).replace("{code}", textwrap.dedent(code))
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout.readline() == "ready\n"
    return process


DEFERRED = """
stopping.defer(True)
print("ready", flush=True)
time.sleep(1.0)
print("went on", stopping.requested(), flush=True)
time.sleep(20)
"""


def test_a_request_may_be_deferred_and_two_signals_of_one_request_are_one():
    process = child(DEFERRED)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "went on True\n"
    process.kill()
    process.communicate()


def test_a_second_request_ends_at_once():
    process = child(DEFERRED)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    out, err = process.communicate(timeout=10)
    assert process.returncode == 75
    assert err.strip() == SENTENCE
    assert "went on" not in out
    assert time.monotonic() - start < 1


def test_requests_are_forwarded_and_a_second_one_kills():
    process = child("""
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
sent = []
with stopping.forwarded(lambda number: (print("sent", number, flush=True), inner.send_signal(number))):
    print("ready", flush=True)
    inner.wait()
    time.sleep(20)
""")
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == f"sent {signal.SIGUSR1.value}\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == f"sent {signal.SIGKILL.value}\n"
    assert process.wait(10) == 75


def test_a_forked_helper_ends_when_terminated_and_does_not_speak_for_its_parent():
    process = child("""
pid = os.fork()
if pid == 0:
    time.sleep(30)
    os._exit(0)
os.kill(pid, signal.SIGUSR1)
time.sleep(0.2)
assert os.waitpid(pid, os.WNOHANG) == (0, 0), "still there"
os.kill(pid, signal.SIGTERM)
print("ready", flush=True)
print(os.waitpid(pid, 0)[1], stopping.requested(), flush=True)
""")
    assert process.stdout.readline() == f"{signal.SIGTERM.value} False\n"
    process.communicate()


def test_a_library_that_takes_the_signals_can_be_overruled():
    process = child("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stopping.keep()
try:
    print("ready", flush=True)
    time.sleep(20)
except KeyboardInterrupt:
    print(stopping.exit_code(), flush=True)
""")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "75\n"
    process.communicate()


def test_what_counts_as_a_consequence(monkeypatch):
    monkeypatch.setattr(stopping, "_request", stopping._Request())
    assert not stopping.is_consequence(RuntimeError("a worker died"))
    stopping._request.number = signal.SIGTERM
    assert stopping.is_consequence(RuntimeError("a worker died"))
    assert stopping.is_consequence(SystemExit(1))
    assert stopping.is_consequence(ConfigError("cut short"))
    assert not stopping.is_consequence(OSError("disk full"))
    assert not stopping.is_consequence(AttributeError("a bug"))
    stumbled = AttributeError("tidying up after the request")
    stumbled.__context__ = stopping.Stopped()
    stumbled.__suppress_context__ = True
    assert stopping.is_consequence(stumbled)
    full = OSError(errno.ENOSPC, "disk full")
    full.__context__ = stopping.Stopped()
    assert not stopping.is_consequence(full)
    wrapped = ValueError("no images")
    wrapped.__cause__ = RuntimeError("a worker died")
    assert stopping.is_consequence(wrapped)


def test_a_helper_obeys_its_parent_alone():
    code = """
        import os, subprocess, sys, time, signal
        pid = os.fork()
        if pid == 0:
            from cxrvl.data.worker_signals import obey_parent_only
            obey_parent_only()
            print("ready", os.getpid(), flush=True)
            time.sleep(60)
        sys.stdin.readline()
        print("alive" if os.waitpid(pid, os.WNOHANG) == (0, 0) else "dead", flush=True)
        os.kill(pid, signal.SIGTERM)
        print(os.waitpid(pid, 0)[1], flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    helper = int(process.stdout.readline().split()[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(helper, number)
    time.sleep(0.2)
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "alive\n"
    assert process.stdout.readline() == "0\n"
    process.communicate()
