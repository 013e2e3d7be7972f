"""A run killed at any moment and asked for again ends where an undisturbed one ends, to the last bit."""

import json
import random
import shutil
import signal
import time

import pytest

from cxrvl.evaluation.predictions import read_predictions
from cxrvl.runs.store import Run
from cxrvl.tracking.history import TIMINGS, read_history

EXTRA = "{_target_: cxrvl.evaluation.localization.MarksEvaluator, max_marks: 2, bootstrap: 20}"


def steps_done(folder):
    path = folder / "history.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def science(folder):
    """The history without how fast it came about."""
    return [{k: v for k, v in row.items() if not k.startswith(TIMINGS)} for row in read_history(folder)]


def predictions(folder):
    return {p.name: read_predictions(p).frame for p in sorted((folder / "predictions").glob("*.parquet"))}


@pytest.mark.slow
def test_killed_three_times_and_continued_is_bit_identical(finished, cli):
    undisturbed = finished.only_run()
    folder = cli.runs / undisturbed.name
    moments = random.Random()
    killed_at = []
    for number in range(3):
        process = cli.start("train", *cli.tiny, "checkpoint.every_steps=1", "trainer.log_every_n_steps=1")
        target = steps_done(folder) + moments.randint(2, 10)
        deadline = time.monotonic() + 120
        while process.poll() is None and steps_done(folder) < target and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, f"ended before kill {number}: {process.communicate()}"
        time.sleep(moments.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed_at.append(steps_done(folder))
        assert Run(folder).status()["state"] == "queued"
        assert Run(folder).status()["interrupted"] is True
    out = cli.train("checkpoint.every_steps=1", "trainer.log_every_n_steps=1")
    assert "is done" in out
    assert [p.name for p in cli.runs.iterdir() if (p / "status.json").is_file()] == [undisturbed.name]
    ours, theirs = predictions(folder), predictions(undisturbed)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].equals(theirs[name]), f"{name} differs after kills at {killed_at}"
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    steps = [
        r["step"] for r in map(json.loads, (folder / "history.jsonl").read_text().splitlines()) if "train/loss" in r
    ]
    assert steps == sorted(set(steps)), "a step was logged twice"


@pytest.mark.slow
def test_a_killed_run_with_a_plateau_schedule_continues_its_schedule(cli, tmp_path):
    """Lightning's own resume skips plateau schedules in the epoch a resumed run finishes; ours must not."""
    plateau = (
        "task=classification_acm_release",
        "task.scheduler.patience=0",
        "+task.scheduler.threshold=10",  # no AUROC is ten times another: the rate drops at epochs 2 and 3
        "trainer.max_epochs=6",
        "checkpoint.every_steps=1",
        "trainer.log_every_n_steps=1",
    )
    cli.train(*plateau)
    (undisturbed,) = cli.runs.iterdir()
    epochs = [json.loads(line).get("val/auroc") is not None for line in (undisturbed / "history.jsonl").open()]
    assert sum(epochs) == 3, "the second drop of the rate ends training"
    process = cli.start("train", *cli.tiny, *plateau, "paths.runs=killed")
    folder = tmp_path / "killed" / undisturbed.name
    while steps_done(folder) < 15 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    cli.train(*plateau, "paths.runs=killed")
    ours, theirs = predictions(folder), predictions(undisturbed)
    assert all(ours[name].equals(theirs[name]) for name in theirs)
    assert science(folder) == science(undisturbed)


def test_asked_again_nothing_is_computed(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.only_run().rglob("*") if p.is_file() and p.name != ".lock"}
    assert "nothing to compute" in finished.train()
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_new_evaluation_predicts_without_training(finished, cli):
    shutil.copytree(finished.folder, cli.folder, dirs_exist_ok=True)
    final = cli.only_run() / "checkpoints" / "final.ckpt"
    before = final.stat().st_mtime_ns
    out = cli.train(f"+evaluation.extra={EXTRA}")
    assert "evaluated now: extra" in out
    assert final.stat().st_mtime_ns == before


def test_ctrl_c_leaves_a_run_that_continues(cli):
    process = cli.start("train", *cli.tiny, "checkpoint.every_steps=1", "trainer.log_every_n_steps=1")
    while process.poll() is None and not list(cli.runs.glob("*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in err
    assert "Traceback" not in err
    assert Run(cli.only_run()).status()["interrupted"] is True
    assert "is done" in cli.train()


def test_two_processes_compute_a_run_once(finished, cli):
    """The test holds the run, as another process would: one request leaves, another waits and then computes."""
    run = Run(cli.runs / finished.only_run().name)
    with run.claim():
        assert "is being computed by process" in cli.train("checkpoint.when_busy=leave", code=2)
        waiting = cli.start("train", *cli.tiny)
        assert "waiting for it" in waiting.stdout.readline()
        assert not (run.folder / "config.yaml").exists()
    out, err = waiting.communicate(timeout=120)
    assert "is done" in out, err
