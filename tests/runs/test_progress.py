"""A run says how far it is, cheaply; whoever reads it expects nothing of the file."""

import json
import math
from types import SimpleNamespace

import pytest

from cxrvl.runs import progress_callback
from cxrvl.runs.progress import PROGRESS, read_progress, write_progress
from cxrvl.runs.progress_callback import ProgressWriter


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(
        progress_callback, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 1e9 + clock.now)
    )
    return clock


def trainer(**values):
    defaults = {
        "is_global_zero": True, "current_epoch": 0, "max_epochs": 4, "global_step": 0, "sanity_checking": False,
        "estimated_stepping_batches": 40, "callback_metrics": {},
    }  # fmt: skip
    return SimpleNamespace(**defaults | values)


def test_it_writes_at_most_every_second(tmp_path, clock):
    writer = ProgressWriter(tmp_path, "val/auroc", "max")
    at = trainer(global_step=10)
    writer.on_train_start(at, None)
    assert read_progress(tmp_path) == {
        "epoch": 0, "max_epochs": 4, "step": 10, "total_steps": 40, "monitor": "val/auroc", "value": None, "best": None,
        "seconds_left": None, "time": 1e9 + 100,
    }  # fmt: skip
    at.global_step, clock.now = 12, 100.9
    writer.on_train_batch_end(at, None, None, None, 0)
    assert read_progress(tmp_path)["step"] == 10
    at.global_step, clock.now = 15, 102.0
    writer.on_train_batch_end(at, None, None, None, 0)
    found = read_progress(tmp_path)
    assert (found["step"], found["seconds_left"]) == (15, 10.0), "5 steps took 2 s, 25 are left"
    assert [p.name for p in tmp_path.iterdir()] == [PROGRESS]


def test_a_validation_is_written_with_its_best(tmp_path, clock):
    writer = ProgressWriter(tmp_path, "val/loss", "min")
    at = trainer()
    writer.on_train_start(at, None)
    for value in (0.5, 0.7, math.nan):
        at.callback_metrics = {"val/loss": value}
        writer.on_validation_end(at, None)
    found = read_progress(tmp_path)
    assert (found["value"], found["best"]) == (None, 0.5), "an undefined metric is null, as JSON has no NaN"
    resumed = ProgressWriter(tmp_path, "val/loss", "min")
    resumed.load_state_dict(writer.state_dict())
    at.callback_metrics = {"val/loss": 0.9}
    resumed.on_validation_end(at, None)
    assert read_progress(tmp_path)["best"] == 0.5


def test_endless_training_and_other_ranks(tmp_path, clock):
    writer = ProgressWriter(tmp_path, "val/loss", "min")
    writer.on_train_start(trainer(is_global_zero=False), None)
    assert read_progress(tmp_path) is None
    writer.on_train_start(trainer(max_epochs=-1, estimated_stepping_batches=math.inf), None)
    found = read_progress(tmp_path)
    assert (found["max_epochs"], found["total_steps"]) == (None, None)


@pytest.mark.parametrize("content", ["", '{"epoch": 1', "[1]", "\x00\x00"])
def test_a_damaged_file_is_none(tmp_path, content):
    (tmp_path / PROGRESS).write_text(content)
    assert read_progress(tmp_path) is None
    write_progress(tmp_path, {"epoch": 1})
    assert json.loads((tmp_path / PROGRESS).read_text()) == {"epoch": 1}


def test_a_finished_run_says_so(finished):
    found = read_progress(finished.only_run())
    assert found["step"] == found["total_steps"]
    assert found["seconds_left"] == 0.0
    assert found["monitor"] == "val/auroc"
    assert found["best"] >= found["value"]
