"""`hydra/sweeper=cxrvl_optuna` as a user runs it: killed in the middle, asked for again, asked for once it is done."""

import importlib.util
import json
import signal
import time

import pytest

from cxrvl.cli import main
from cxrvl.errors import ConfigError
from cxrvl.files import read_yaml
from cxrvl.sweeps.search_settings import read_search

SEARCH = (
    "trainer.max_epochs=2",
    "checkpoint.every_steps=1",
    "hydra/sweeper=cxrvl_optuna",
    "hydra.sweeper.metric=val/auroc",
    "hydra.sweeper.direction=maximize",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.n_jobs=1",
    "hydra.launcher.grace_seconds=5",
    "task.optimizer.lr=tag(log,interval(1e-4,1e-2))",
)


def states(cli):
    return sorted(json.loads(path.read_text())["state"] for path in cli.runs.glob("*/status.json"))


@pytest.mark.slow
def test_a_killed_search_continues_its_trials_and_a_finished_one_computes_nothing(cli, unchecked, capfd):
    search = cli.start("train", "-m", *cli.tiny, *SEARCH)
    deadline = time.monotonic() + 120
    while not list(cli.runs.glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        assert search.poll() is None, search.communicate()
        time.sleep(0.01)
    search.send_signal(signal.SIGKILL)
    search.communicate()
    begun = {path.parent.name for path in cli.runs.glob("*/status.json")}
    out = cli("train", "-m", *cli.tiny, *SEARCH)
    assert "1 of 2 trial(s) are there" in out
    assert states(cli) == ["done"] * 2, "the trial of the killed search is one of them"
    assert begun < {path.parent.name for path in cli.runs.glob("*/status.json")}
    (found,) = cli.runs.glob(".searches/*.yaml")
    best = read_yaml(found)["best"][0]
    assert f"best: trial {best['trial']}, val/auroc {best['values']['val/auroc']:.6g}: cxrvl train" in out
    history = [json.loads(line) for line in (cli.runs / best["run"] / "history.jsonl").read_text().splitlines()]
    assert best["values"]["val/auroc"] == max(row["val/auroc"] for row in history if "val/auroc" in row)

    finals = {path: path.stat().st_mtime_ns for path in cli.runs.glob("*/checkpoints/final.ckpt")}
    main(["train", "-m", *cli.tiny, *SEARCH])
    out = capfd.readouterr().out
    assert "2 of 2 trial(s) are there" in out
    assert "running" not in out
    assert {path: path.stat().st_mtime_ns for path in cli.runs.glob("*/checkpoints/final.ckpt")} == finals


def test_settings_that_cannot_be_end_in_one_line(cli):
    out = cli("train", "-m", *cli.tiny, "hydra/sweeper=cxrvl_optuna", "seed=1,2", code=2)
    assert out.strip() == "error: the search has no hydra.sweeper.metric; name one, such as findings.mean.auroc"
    metric = ("hydra/sweeper=cxrvl_optuna", "hydra.sweeper.metric=findings.mean.auroc")
    assert "expected maximize or minimize" in cli("train", "-m", *cli.tiny, *metric, "seed=1,2", code=2)
    out = cli("train", "-m", *cli.tiny, *metric, "hydra.sweeper.direction=maximize", "sede=1,2", code=2)
    assert "did you mean 'seed'" in out
    assert not cli.runs.exists()


def test_without_optuna_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else found(name))
    with pytest.raises(ConfigError, match=r"pip install 'cxrvl\[optuna\]'"):
        read_search({}, ["seed=1,2"])
