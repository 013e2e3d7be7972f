"""Jobs run side by side in processes of their own, fail on their own, and never outlive the launcher."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cxrvl.sweeps.pool import TAIL_LINES, run_jobs
from cxrvl.sweeps.slots import Slots


class Watch:
    """A board that only remembers."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def change(self, job, state, note=""):
        self.changes.append((job.name, state))

    def refresh(self):
        return None


def run(jobs, slots=1, gpus=(), board=None, grace=5.0, **options):
    return run_jobs(jobs, Slots(jobs, gpus, slots=slots, **options), grace, board)


def codes(ended):
    return {e.job.name: e.code for e in ended}


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
    assert codes(run(jobs, slots=2)) == {"a": 0, "b": 0}


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_than_the_slots_run_and_the_order_is_kept(script, slots):
    board = Watch()
    jobs = [script(name, "import time; time.sleep(0.1)") for name in "abcde"]
    assert codes(run(jobs, slots, board=board)) == dict.fromkeys("abcde", 0)
    assert [name for name, state in board.changes if state == "running"] == list("abcde")
    side_by_side, most = 0, 0
    for _, state in board.changes:
        side_by_side += 1 if state == "running" else -1
        most = max(most, side_by_side)
    assert most == slots


def test_a_large_job_is_not_overtaken_by_small_ones(script):
    """Whoever waits for two GPUs would wait for ever if others could take each one that comes free."""
    board = Watch()
    jobs = [
        script("a", "import time; time.sleep(0.2)"),
        script("both", "pass", trainer={"devices": 2}, devices=2),
        script("c"),
    ]
    run(jobs, gpus=["0", "1"], board=board)
    assert [name for name, state in board.changes if state == "running"] == ["a", "both", "c"]
    assert board.changes.index(("a", "done")) < board.changes.index(("both", "running"))


def test_each_job_sees_its_own_gpus_and_threads(script, tmp_path):
    code = f"""
        import os, pathlib, time
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MASTER_PORT", "LOCAL_RANK", "CXRVL_SWEEP")
        said = " ".join(os.environ.get(name, "-") for name in names)
        pathlib.Path({str(tmp_path)!r}, "said").open("a").write(said + chr(10))
        time.sleep(0.3)
    """
    os.environ["MASTER_PORT"] = "1234"
    try:
        jobs = [script(name, code, threads=3, sweep="mine") for name in "abc"]
        run(jobs, gpus=["GPU-1", "GPU-2"])
    finally:
        del os.environ["MASTER_PORT"]
    said = (tmp_path / "said").read_text().splitlines()
    assert {line.split()[0] for line in said[:2]} == {"GPU-1", "GPU-2"}
    assert {line.split(" ", 1)[1] for line in said} == {"3 - - mine"}
    (tmp_path / "said").unlink()
    run([script("cpu", code, trainer={"accelerator": "cpu"})], gpus=["GPU-1"])
    assert (tmp_path / "said").read_text().split(" ")[0] == "", "no GPU is visible to a job on the CPU"


def test_a_failing_job_is_reported_with_its_last_lines_and_stops_no_other(script, tmp_path):
    bad = script("bad", "import sys; [print(i) for i in range(50)]; print(); sys.exit('error: no such file')")
    good = script("good", f"open({str(tmp_path / 'done')!r}, 'w')")
    failed, fine = run([bad, good])
    assert (failed.job, failed.code, fine.code) == (bad, 1, 0)
    assert failed.tail == (*map(str, range(51 - TAIL_LINES, 50)), "error: no such file")
    assert (tmp_path / "done").exists()
    assert str(failed).startswith("bad (run bad): exit code 1\n    39\n")


def test_a_job_that_was_killed_says_by_what(script):
    (ended,) = run([script("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")])
    assert ended.code == -signal.SIGKILL
    assert "SIGKILL" in ended.said()


def test_an_exit_code_that_is_no_signal_stops_no_other_job(script):
    """255 is what a library's exit(-1) leaves; no signal has the number 127."""
    ended = run([script("odd", "import os; os._exit(255)"), script("fine")])
    assert codes(ended) == {"odd": 255, "fine": 0}
    assert {one.job.name: one.said() for one in ended}["odd"] == "exit code 255"


def test_a_job_whose_start_failed_is_not_started(script):
    links = [script("link", "import sys; sys.exit(3)", link=True), script("other", link=True)]
    jobs = [script("head", after=("link",)), script("fine", after=("other",)), script("deep", after=("head",))]
    board = Watch()
    ended = run([*links, *jobs], slots=4, board=board)
    assert codes(ended) == {"link": 3, "other": 0, "head": 1, "fine": 0, "deep": 1}
    assert {name for name, state in board.changes if state == "running"} == {"link", "other", "fine"}
    assert board.changes.index(("other", "done")) < board.changes.index(("fine", "running"))


def test_a_run_that_another_process_computes_is_left_to_it(script, tmp_path):
    """No slot is spent on waiting; what the other process finishes is done, what it leaves is run here."""
    theirs, left = script("theirs", link=True), script("left", link=True)  # done when trained, without evaluations
    mine = script("mine", "import time; time.sleep(1.5)")
    holder = """
        import sys, time
        from pathlib import Path
        from cxrvl.runs.store import Run
        theirs, left = (Run(Path(p)) for p in sys.argv[1:3])
        with theirs.claim(), left.claim():
            theirs.set_status("running")
            left.set_status("running")
            print("held", flush=True)
            time.sleep(1.0)
            theirs.set_status("done")
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(holder), theirs.run_folder, left.run_folder], stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    board = Watch()
    assert codes(run([theirs, left, mine], slots=1, board=board)) == {"theirs": 0, "left": 0, "mine": 0}
    other.communicate()
    assert [name for name, state in board.changes if state == "running"] == ["mine", "left"]
    assert ("theirs", "elsewhere") in board.changes


def gone(pid: int) -> bool:
    """Whether a process has ended, or merely waits for the system to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


# Each job starts a helper in its group and one in a session of its own (as torchrun does with ranks); both would stay.
CHILD = """
    import os, pathlib, signal, subprocess, sys, time
    folder = pathlib.Path({folder!r})
    sleep = [sys.executable, "-c", "import time; time.sleep(200)"]
    helpers = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    def stop(number, frame):
        (folder / f"{{os.getpid()}}.stopped").touch()
        sys.exit({code})
    signal.signal(signal.SIGTERM, {handler})
    (folder / f"{{os.getpid()}}.tmp").write_text(" ".join(str(h.pid) for h in helpers))
    (folder / f"{{os.getpid()}}.tmp").rename(folder / f"{{os.getpid()}}.started")
    time.sleep(200)
"""
PARENT = """
    import signal, sys
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what runs under nohup, or in a script's background,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignores these two, and so do its children
    from pathlib import Path
    from cxrvl.sweeps.jobs import Job
    from cxrvl.sweeps.pool import run_jobs
    from cxrvl.sweeps.slots import Slots
    Job.argv = lambda job: [sys.executable, "-c", job.overrides[0]]
    config = {{"trainer": {{"accelerator": "cpu", "num_nodes": 1, "devices": 1}}}}
    jobs = [Job(name, ({child!r},), config, name, Path({folder!r}, name)) for name in "abc"]
    try:
        run_jobs(jobs, Slots(jobs, (), slots=2), {grace})
    except KeyboardInterrupt:
        sys.exit(130)
"""


class Sweep:
    """Three jobs on two slots in a launcher of its own process, once two of them run."""

    def __init__(self, folder: Path, handler: str = "stop", grace: float = 30.0) -> None:
        self.folder = folder
        child = textwrap.dedent(CHILD).format(folder=str(folder), handler=handler, code=75)
        parent = textwrap.dedent(PARENT).format(child=child, folder=str(folder), grace=grace)
        self.process = subprocess.Popen(
            [sys.executable, "-c", parent], start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: len(list(folder.glob("*.started"))) == 2)
        self.jobs = {int(p.stem): [int(pid) for pid in p.read_text().split()] for p in folder.glob("*.started")}

    def everyone(self) -> list[int]:
        return [*self.jobs, *(pid for helpers in self.jobs.values() for pid in helpers)]

    def stopped(self) -> set[int]:
        return {int(p.stem) for p in self.folder.glob("*.stopped")}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_stopping_the_launcher_ends_the_jobs_in_order(tmp_path, number, code):
    """Each gets SIGTERM and the time to write where it is; whatever it left behind is killed."""
    sweep = Sweep(tmp_path)
    sweep.process.send_signal(number)
    assert sweep.process.wait(60) == code
    assert sweep.stopped() == set(sweep.jobs)
    assert all(gone(pid) for pid in sweep.everyone())
    assert len(list(tmp_path.glob("*.started"))) == 2, "the third never began"


def test_jobs_die_with_a_launcher_that_was_killed(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.process.kill()
    sweep.process.wait()
    wait_for(lambda: all(gone(pid) for pid in sweep.everyone()))
    assert sweep.stopped() == set(sweep.jobs), "they could write where they were"


def test_a_job_that_does_not_stop_is_killed_after_its_grace(tmp_path):
    sweep = Sweep(tmp_path, handler="signal.SIG_IGN", grace=1.0)
    sweep.process.terminate()
    start = time.monotonic()
    assert sweep.process.wait(60) == 75
    assert time.monotonic() - start > 0.9, "it had its grace"
    assert all(gone(pid) for pid in sweep.everyone())


def test_asking_twice_does_not_wait_for_the_grace(tmp_path):
    sweep = Sweep(tmp_path, handler="signal.SIG_IGN", grace=600.0)
    sweep.process.send_signal(signal.SIGINT)
    time.sleep(2.2)  # sooner, it would count as an echo of the first
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(60) == 130
    assert all(gone(pid) for pid in sweep.everyone())


def test_a_job_dies_with_its_guard(tmp_path):
    sweep = Sweep(tmp_path)
    job = next(iter(sweep.jobs))
    guard = int(Path(f"/proc/{job}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(guard, signal.SIGKILL)
    wait_for(lambda: gone(job))
    for helper in sweep.jobs[job]:
        os.kill(helper, signal.SIGKILL)  # without a guard they have no one; loaders and ranks look after themselves
    sweep.process.terminate()
    sweep.process.wait(60)
    wait_for(lambda: all(gone(pid) for pid in sweep.everyone()))


def test_nothing_a_job_left_behind_survives_its_end(script, tmp_path):
    code = f"""
        import pathlib, subprocess, sys
        sleep = [sys.executable, "-c", "import time; time.sleep(200)"]
        kept = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
        pathlib.Path({str(tmp_path)!r}, "pids").write_text(" ".join(str(p.pid) for p in kept))
        sys.exit(4)
    """
    (ended,) = run([script("leaves", code)])
    assert ended.code == 4
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())
