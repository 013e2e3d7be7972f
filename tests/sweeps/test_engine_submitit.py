"""A sweep on Slurm, as far as a machine without Slurm can show it: submitit's local executor, and sbatch's script."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from watching import assert_same_predictions, processes, steps, wait_for

from cxrvl.errors import ConfigError, RunError
from cxrvl.runs.store import Run
from cxrvl.sweeps.engines.submitit import SubmittedJob, engine
from cxrvl.sweeps.engines.task import RequeuedTask
from cxrvl.sweeps.jobs import Job

FAST = ("trainer.log_every_n_steps=1", "checkpoint.every_seconds=1000")
COMMON = {
    "max_requeues": 5, "on_interrupt": "leave", "grace_seconds": 30.0, "submitit_folder": None, "timeout_min": 60,
    "signal_delay_s": 90, "setup": None, "array_parallelism": 3,
}  # fmt: skip


def job(name: str, tmp_path: Path, **trainer) -> Job:
    settings = {"accelerator": "gpu", "devices": 1, "num_nodes": 1} | trainer
    config = {"trainer": settings, "data": {"num_workers": 2}, "evaluation": {}}
    devices = settings["devices"] if isinstance(settings["devices"], int) else 0
    return Job(name, (f"seed={name}",), config, f"id-{name}", tmp_path / "runs" / f"id-{name}", 4, devices, sweep="s1")


# ---- what Slurm would be asked ----


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster that takes every job and runs none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    count = tmp_path / "count"
    count.write_text("100")
    scripts = {
        "srun": "exit 0",
        "sacct": "exit 1",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
        "sbatch": f'n=$(($(cat {count}) + 1)); echo $n > {count}; cp "$1" {tmp_path}/$n.sh; echo Submitted batch job $n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submitted(jobs, folder, **settings):
    """Submit in a process of its own: submitit reads its signal when it is first imported."""
    code = "import pickle, sys; e, jobs = pickle.load(sys.stdin.buffer); print(*[s.label for s in e.submit(jobs)], sep=chr(10))"
    slurm = engine(COMMON | settings, local=False)
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((slurm, jobs)), capture_output=True, cwd=folder, check=True
    )
    return done.stdout.decode().splitlines()


def test_jobs_that_need_the_same_are_one_array(slurm):
    jobs = [job(name, slurm) for name in "012"]
    asked = {"partition": "gpu", "account": "chest", "qos": "low", "mem_gb": 64.0, "setup": ["module load cuda"]}
    labels = submitted(jobs, slurm, additional_parameters={"reservation": "mine"}, **asked)
    assert labels == ["Slurm job 101_0", "Slurm job 101_1", "Slurm job 101_2"]
    lines = (slurm / "101.sh").read_text().splitlines()
    for line in (
        "--array=0-2%3", "--partition=gpu", "--account=chest", "--qos=low", "--mem=64GB", "--gpus-per-node=1",
        "--cpus-per-task=6", "--nodes=1", "--ntasks-per-node=1", "--time=60", "--signal=USR1@90", "--reservation=mine",
        "--job-name=cxrvl-s1",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines, f"{line} is not in\n" + "\n".join(lines)
    assert lines.index("module load cuda") < lines.index("export SUBMITIT_PREEMPT_SIGNAL=USR1")


def test_jobs_that_need_other_things_are_arrays_of_their_own(slurm):
    two_gpus, cpu = job("1", slurm, devices=2), job("2", slurm, accelerator="cpu")
    two_nodes = job("3", slurm, num_nodes=2, devices=4)
    labels = submitted([job("0", slurm), two_gpus, cpu, two_nodes], slurm)
    texts = {label.split()[-1]: (slurm / f"{label.split()[-1]}.sh").read_text() for label in labels}
    assert len(texts) == 4
    by_gpus = {t.split("gpus-per-node=")[1].split()[0] if "gpus-per-node" in t else "0": t for t in texts.values()}
    assert set(by_gpus) == {"0", "1", "2", "4"}
    assert "--cpus-per-task=12" in by_gpus["2"], "two ranks of four threads and two workers, in one process of srun's"
    assert "--ntasks-per-node=1" in by_gpus["2"]
    assert "--ntasks-per-node=4" in by_gpus["4"], "over several machines srun starts the ranks"
    assert "--cpus-per-task=6" in by_gpus["4"]


def test_what_is_queued_is_a_command_line_and_nothing_else(slurm):
    """The test reads the submitted task."""
    submitted([job("7", slurm)], slurm)
    (path,) = slurm.glob("runs/.sweeps/s1/101/*_submitted.pkl")
    delayed = pickle.loads(path.read_bytes())
    assert (delayed.args, delayed.kwargs) == ((), {})
    assert type(delayed.function) is RequeuedTask
    assert delayed.function.job.argv()[1:] == ["-m", "cxrvl.cli", "train", "seed=7"]
    assert delayed.function.job.config == {}
    assert delayed.function.folder == str(slurm)
    assert b"torch" not in path.read_bytes()


def test_a_user_who_leaves_jobs_behind_is_told_how_to_cancel_them(slurm):
    said = engine(COMMON, local=False).farewell(["Slurm job 101_0", "Slurm job 101_1", "Slurm job 102"])
    assert said == "3 job(s) go on in Slurm's queue; to stop them: scancel 101 102"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"on_interrupt": "ask"}, "cancel or leave"),
        ({"grace_seconds": 90.0}, "not less than"),
        ({"max_requeues": -1}, "at least 0"),
    ],
)
def test_settings_that_cannot_be_right(change, word):
    with pytest.raises(ConfigError, match=word):
        engine(COMMON | change, local=False)


def test_no_slurm_no_submitit_and_a_refusal_are_one_line(slurm, monkeypatch, tmp_path):
    slow = engine(COMMON, local=False)
    with pytest.raises(ConfigError, match="how many GPUs"):
        slow([job("0", tmp_path, devices="auto")])
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2; exit 1\n")
    with pytest.raises(RunError, match="invalid partition"):
        slow.submit([job("0", tmp_path)])
    (slurm / "bin" / "srun").unlink()
    with pytest.raises(ConfigError, match="no Slurm here"):
        slow([job("0", tmp_path)])
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        ConfigError, match=r"hydra/launcher=submitit_slurm needs the extra \"slurm\": pip install 'cxrvl\["
    ):
        slow([job("0", tmp_path)])


class Handle:
    """A Slurm job that never wrote a result."""

    job_id = "12_3"

    def __init__(self, state, folder):
        from submitit.core.utils import JobPaths

        self.state, self.paths = state, JobPaths(folder, "12_3", 0)
        self.paths.stdout.write_text("epoch 3\nsubmitit INFO x\nslurmstepd: error: *** JOB 12 ***\n")

    def done(self):
        return True

    def task(self, number):
        return self

    def result(self):
        from submitit.core.utils import UncompletedJobError

        raise UncompletedJobError


@pytest.mark.parametrize(
    ("state", "code"), [("CANCELLED by 1000", 75), ("TIMEOUT", 75), ("NODE_FAIL", 75), ("OUT_OF_MEMORY", -9)]
)
def test_a_job_that_slurm_ended_is_reported_with_its_state_and_output(tmp_path, state, code):
    ended = SubmittedJob(job("0", tmp_path), Handle(state, tmp_path), local=False).ended()
    assert ended.code == code
    assert ended.tail[:2] == ("epoch 3", "slurmstepd: error: *** JOB 12 ***")
    assert state.upper() in ended.tail[2]


# ---- real processes ----

LOCAL = ("hydra/launcher=submitit_local",)


def trainings(folder: Path) -> set[int]:
    """Processes whose command is `cxrvl train` without -m, and whose working folder is `folder`.

    A child that has its parent's command line is a fork on its way to another program, not a training.
    """
    pids, table = set(), processes()
    for pid, (parent, command) in table.items():
        if parent in table and table[parent][1] == command:
            continue
        if command[1:4] == ["-m", "cxrvl.cli", "train"] and "-m" not in command[4:]:
            try:
                pids |= {pid} if (Path("/proc") / str(pid) / "cwd").resolve() == folder.resolve() else set()
            except OSError:
                continue
    return pids


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_queued_again_and_continues_to_the_same_bits(finished, cli, start):
    """What Slurm does before its time limit: SIGUSR1 to the task. One process trains at any time, two in all."""
    folder = cli.runs / finished.only_run().name
    launcher = start("train", "-m", *cli.tiny, *FAST, "seed=0", *LOCAL)
    wait_for(lambda: len(steps(folder)) >= 4, launcher)
    seen = trainings(cli.folder)
    (training,) = seen
    table = processes()
    guard = table[training][0]
    task = table[guard][0]
    assert "submitit.core._submit" in table[task][1]
    maps = (Path("/proc") / str(task) / "maps").read_text()
    assert "libtorch" not in maps, "the task's own process knows nothing of the training"
    os.kill(task, signal.SIGUSR1)
    while launcher.poll() is None:
        seen |= trainings(cli.folder)
        time.sleep(0.1)
    out, err = launcher.communicate()
    assert launcher.returncode == 0, out + err
    assert len(seen) == 2
    (log,) = cli.runs.glob(".sweeps/*/*/*_log.out")
    assert "Requeued job" in log.read_text()
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    logged = steps(folder)
    assert logged == sorted(set(logged)), "no step was computed twice"
    assert_same_predictions(folder, finished.only_run())


@pytest.mark.slow
def test_jobs_that_were_left_go_on_and_a_new_request_waits_for_them(finished, cli, start):
    folder = cli.runs / finished.only_run().name
    command = ("train", "-m", *cli.tiny, *FAST, "seed=0", *LOCAL)
    launcher = start(*command, "hydra.launcher.on_interrupt=leave", start_new_session=True)
    wait_for(lambda: len(steps(folder)) >= 2, launcher)
    (training,) = trainings(cli.folder)
    os.kill(training, signal.SIGSTOP)  # or it might be done before we look
    try:
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(200) == 130
        while "1 job(s) go on on this machine" not in (line := launcher.stderr.readline()):  # jobs keep the pipe open
            assert line
        assert Run(folder).state() == "running"
        again = start(*command)
        while "running elsewhere" not in (line := again.stdout.readline()):
            assert line, again.communicate()
    finally:
        os.kill(training, signal.SIGCONT)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, out + err
    assert len(list(cli.runs.glob(".sweeps/*/*/*_submitted.pkl"))) == 1, "nothing was submitted a second time"
    assert Run(folder).state() == "done"


@pytest.mark.slow
def test_ctrl_c_ends_the_jobs_and_a_failed_one_is_reported_with_its_last_lines(cli, start):
    bad = "checkpoint.use=worst"  # refused once the training process looks at it
    steady = (
        "trainer.max_epochs=1000",
        "trainer.check_val_every_n_epoch=1000",
    )  # no resume point is written within one
    launcher = start("train", "-m", *cli.tiny, *FAST, *steady, "seed=0", *LOCAL)
    wait_for(lambda: any(len(steps(status.parent)) >= 2 for status in cli.runs.glob("*/status.json")), launcher)
    folder = cli.only_run()
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=200)
    assert launcher.returncode == 130
    assert not trainings(cli.folder)
    assert Run(folder).status()["interrupted"] is True
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    out = cli("train", "-m", *cli.tiny, "seed=1", bad, *LOCAL, code=2)
    assert "checkpoint.use is 'worst'; expected best or final" in out
    assert "failed" in out


def test_a_missing_working_folder_is_reported(tmp_path):
    """A node without the shared file system."""
    local = engine(COMMON | {"submitit_folder": str(tmp_path / "submitit")}, local=True)
    task = replace(local.task(job("0", tmp_path, accelerator="cpu")), folder=str(tmp_path / "not here"))
    import submitit

    executor = submitit.LocalExecutor(tmp_path / "submitit" / "%j")
    executor.update_parameters(stderr_to_stdout=True)
    submitted = SubmittedJob(job("0", tmp_path), executor.submit(task), local=True)
    deadline = time.monotonic() + 60
    while (ended := submitted.ended()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ended.code == 1
    assert "not here" in "\n".join(ended.tail)
