"""Sweeps side by side on one machine do not meet on a GPU, and a killed one keeps none."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cxrvl.errors import RunError
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.local import LocalEngine
from cxrvl.sweeps.pool import run_jobs
from cxrvl.sweeps.shares import Shares
from cxrvl.sweeps.slots import Place, Slots

HOLD = """
import sys, time
from pathlib import Path
from cxrvl.sweeps.shares import Shares
file = Shares(1, Path(sys.argv[1])).take("GPU-1")
print("held" if file is not None else "refused", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds GPU-1."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_sweeps_gpu_is_left_alone_until_it_is_gone(script, tmp_path, other):
    jobs = [script("a"), script("both", trainer={"devices": 2}, devices=2)]
    slots = Slots(jobs, ["GPU-1", "GPU-2"], shares=Shares(1, tmp_path))
    place = slots.take(jobs[0])
    assert place.gpus == ("GPU-2",)
    assert Shares(1, tmp_path).take("GPU-2") is None, "others are kept from it"
    slots.give(place)
    assert slots.take(jobs[1]) is None
    assert slots.kept
    assert Shares(1, tmp_path).take("GPU-2") is not None, "what is not enough is given back"
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert Shares(1, tmp_path).take("GPU-1") is not None


def test_a_sweep_waits_for_the_gpu_that_another_one_uses(script, tmp_path, monkeypatch, capsys):
    """The engine itself, as `hydra/launcher=gpus` makes it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    held = Shares().take("GPU-1")
    let_go = threading.Timer(0.5, lambda: (Path(tmp_path, "free").touch(), os.close(held)))
    let_go.start()
    code = f"from pathlib import Path; assert Path({str(tmp_path / 'free')!r}).exists()"
    job = script("a", code)
    assert LocalEngine()([job]) == [Ended(job, 0)]
    let_go.join()
    assert "waiting: a (other sweeps use the GPUs)" in capsys.readouterr().out


def test_small_jobs_of_two_sweeps_share_a_gpu(script, tmp_path):
    jobs = [script(name) for name in "abc"]
    ours, theirs = (Slots(jobs, ["0"], jobs_per_gpu=2, shares=Shares(2, tmp_path)) for _ in range(2))
    first = ours.take(jobs[0])
    assert first.gpus == theirs.take(jobs[1]).gpus == ("0",)
    assert ours.take(jobs[2]) is None
    theirs.give(Place(("0",)))
    assert ours.take(jobs[2]) is None, "the file is what counts"


def test_a_job_holds_its_gpu_itself(script, tmp_path):
    """A launcher that is killed leaves its jobs the time to write their resume points, on GPUs that are still theirs."""
    code = f"""
        from pathlib import Path
        from cxrvl.sweeps.shares import Shares
        files = Path("/proc/self/fd").iterdir()
        Path({str(tmp_path)!r}, "files").write_text(" ".join(str(file.resolve()) for file in files))
    """
    (tmp_path / "locks").mkdir()
    jobs = [script("a", code)]
    (ended,) = run_jobs(jobs, Slots(jobs, ["GPU/1"], shares=Shares(1, tmp_path / "locks")))
    assert ended == Ended(jobs[0], 0)
    assert str(tmp_path / "locks" / "GPU_1.0") in (tmp_path / "files").read_text().split()
    assert Shares(1, tmp_path / "locks").take("GPU/1") is not None


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RunError, match="not a folder of this user"):
        Shares(1, tmp_path / "link").take("0")
