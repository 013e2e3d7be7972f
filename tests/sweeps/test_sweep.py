"""A sweep as users run it: every run once, failed ones reported, two launchers at peace, nothing started twice."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from watching import steps, wait_for

from cxrvl.cli import main

QUICK = (
    "experiment=phantom/none",
    "data.source.images=120",
    "data.store.size=32",
    "data.batch_size=8",
    "trainer.max_epochs=1",
    "evaluation=none",
)


def states(folder: Path) -> list[str]:
    return sorted(json.loads(path.read_text())["state"] for path in folder.glob("*/status.json"))


def started(out: str) -> list[str]:
    return [line.split("running: ")[1] for line in out.splitlines() if "] running: " in line]


@pytest.mark.slow
def test_a_failing_job_is_reported_at_the_end_and_stops_no_other(cli, unchecked, capfd):
    sweep = ("train", "-m", *QUICK, "data.batch_size=1000,8", "hydra.launcher.slots=1")
    out = cli(*sweep, code=2)
    assert "2 job(s), all checked" in out
    assert started(out) == ["data.batch_size=1000", "data.batch_size=8"], "in order"
    assert states(cli.runs) == ["done", "failed"]
    report = out[out.index("failed: data.batch_size=1000 (run ") :]
    assert "DataError" in report or "error: " in report, "with the last lines of its log"
    assert "error: 1 job(s) failed: data.batch_size=1000" in out.splitlines()
    assert [p.name for p in (cli.runs / ".sweeps").iterdir()] == ["multirun.yaml"]
    assert {p.name for p in cli.folder.iterdir()} <= {"runs", "stores"}, "Hydra scatters no folders"

    with pytest.raises(SystemExit, match="2"):
        main(list(sweep))
    again = "".join(capfd.readouterr())
    assert started(again) == [], "a failed run is not run again by itself"
    assert "1 job(s) were done before" in again
    assert "retry_failed=true" in again
    assert started(cli(*sweep, "retry_failed=true", code=2)) == ["data.batch_size=1000"]


@pytest.mark.slow
def test_two_launchers_on_the_same_sweep_train_every_run_once(cli):
    """They start a second apart, as two impatient terminals would; Hydra's basic launcher is one of them."""
    sweep = ("train", "-m", *QUICK, "seed=0,1")
    first = cli.start(*sweep, "hydra.launcher.slots=2")
    second = cli.start(*sweep, "hydra/launcher=basic", "hydra/sweeper=basic")
    outs = [process.communicate(timeout=300) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outs
    assert states(cli.runs) == ["done", "done"]
    logs = [path.read_text() for path in cli.runs.glob("*/train.log")]
    assert [log.count("training run") for log in logs] == [1, 1]
    assert started(cli(*sweep)) == []


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_was(cli):
    # One validation, at the very end: a stop within one leaves no resume point.
    steady = ("trainer.max_epochs=40", "trainer.check_val_every_n_epoch=40", "trainer.log_every_n_steps=1")
    sweep = ("train", "-m", *QUICK, *steady, "seed=0,1", "hydra.launcher.slots=1")
    process = cli.start(*sweep)
    wait_for(lambda: any(len(steps(path.parent)) > 1 for path in cli.runs.glob("*/history.jsonl")), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "the same command continues" in err
    found = [json.loads(path.read_text()) for path in cli.runs.glob("*/status.json")]
    assert [(status["state"], status["interrupted"]) for status in found] == [("queued", True)], (
        "the second was not begun"
    )
    out = cli(*sweep)
    assert states(cli.runs) == ["done"] * 2
    assert len(started(out)) == 2
    resumed = [path.read_text().count("continued from") for path in cli.runs.glob("*/train.log")]
    assert sorted(resumed) == [0, 1]


def test_the_launcher_imports_no_torch(cli):
    """It lives as long as the sweep; the check of the configs imports torch in a process of its own."""
    code = """
import sys
from cxrvl.cli import main
from cxrvl.sweeps import local
local.LocalEngine.__call__ = lambda self, jobs: print("would run", len(jobs)) or []
main(sys.argv[1:])
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "-m", *QUICK, "seed=0,1"],
        cwd=cli.folder, env=cli.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "would run 2" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.usefixtures("unchecked")
def test_a_launcher_setting_that_does_not_exist(capfd):
    for setting, words in (
        ("hydra.launcher.slotz=1", "did you mean 'slots'?"),
        ("hydra/launcher=gpu", "did you mean 'gpus'?"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "-m", *QUICK, "seed=0", setting])
        assert words in capfd.readouterr().err


def test_what_the_sweeper_s_own_settings_sweep_is_counted_and_checked(cli):
    """As in YAML under hydra.sweeper.params; the misspelt seed is found before anything is started."""
    sweep = ("train", "-m", *QUICK, "evaluation=none")
    assert "write a plus sign: +hydra.sweeper.params=" in cli(*sweep, "hydra.sweeper.params={seed: '0,1'}", code=2)
    assert "did you mean 'seed'?" in cli(*sweep, "+hydra.sweeper.params.sead='0,1'", code=2)
    cli.environment["CUDA_VISIBLE_DEVICES"] = "0"
    out = cli(*sweep, "+hydra.sweeper.params.seed='0,1'", "trainer.devices=2", "trainer.accelerator=gpu", code=2)
    assert "2 job(s), all checked" in out


@pytest.mark.usefixtures("unchecked")
def test_a_sweep_without_room_for_its_jobs_starts_none(cli, capfd, monkeypatch):
    """Two GPUs each, where one is visible."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "-m", *QUICK, "seed=0", "trainer.devices=2", "trainer.accelerator=gpu"])
    assert "wants 2 GPUs, but 1 are visible" in capfd.readouterr().err
    assert not list(cli.runs.glob("*/status.json"))
