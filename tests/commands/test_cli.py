"""What each command prints, which code it leaves with, and what it must not import."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from cxrvl import __version__
from cxrvl.cli import COMMANDS
from cxrvl.config.compose import expand_sweep

# One epoch and no evaluator: a job of a sweep in as little time as a whole path takes.
QUICK = (
    "experiment=phantom/none",
    "data.source.images=120",
    "data.store.size=32",
    "data.batch_size=8",
    "trainer.max_epochs=1",
    "evaluation=none",
)


def states(folder):
    return sorted(json.loads(path.read_text())["state"] for path in folder.glob("*/status.json"))


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("runs", "rm"), ("train", "-m")])
def test_every_command_explains_itself(call, command):
    result = call(*command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"usage: cxrvl {command[0] if command else '[-h]'}")
    assert result.err == ""


def test_version(call):
    assert call("--version").out.strip() == __version__


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments):
    code = "\n".join(
        [
            "import sys, cxrvl.cli",
            "try:",
            f"    cxrvl.cli.main({list(arguments)})",
            "except SystemExit:",
            "    print(sorted({m.split('.')[0] for m in sys.modules}))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.splitlines()[-1]
    assert "'cxrvl'" in imported
    assert not any(f"'{name}'" in imported for name in ("torch", "pandas", "numpy", "hydra", "pytorch_lightning"))


def test_the_command_line_of_a_table_imports_no_torch():
    """A table asked for again must not wait for torch."""
    code = "import sys, cxrvl.commands.table, cxrvl.commands.runs; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trian",), ["invalid choice: 'trian'", "'train'"]),
        ((), ["required: command"]),
        (("runs",), ["required: ls|show|rm"]),
        (("evaluate",), ["required: --run"]),
        (("predict", "--run", "abc"), ["required: inputs"]),
        (("runs", "ls", "more"), ["unrecognized arguments: more"]),
        (("table", "phantom", "--lien", "acm"), ["unrecognized arguments: --lien"]),
    ],
)
def test_a_command_that_cannot_be_parsed_is_explained(call, arguments, words):
    result = call(*arguments)
    assert result.code == 2
    assert all(word in result.err for word in words), result.err


def test_overrides_may_stand_behind_options(call, tmp_path):
    result = call("table", "phantom", "--line", "acm", f"paths.runs={tmp_path}", "seeed=1")
    assert result.code == 2
    assert "unknown key 'seeed'" in result.err


def test_check(call, refused):
    result = call("check", "experiment=phantom/acm")
    assert result.code == 0
    assert "the config of phantom/acm is sound" in result.out
    for override, words in (
        ("seeed=1", "did you mean 'seed'?"),
        ("+trainer.max_epoch=3", "did you mean 'max_epochs'?"),
        ("model=resnet81", "no option 'resnet81' in group 'model'"),
        ("data=manifest", "missing mandatory value: data.root, data.source.name"),
        ("experiment=phantom/amc", "did you mean 'phantom/acm'?"),
    ):
        assert words in refused("check", override)


def test_train_checks_first(refused, tmp_path):
    assert "did you mean 'batch_size'?" in refused("train", "+data.batchsize=3")
    assert "unknown option --multi-run; did you mean '--multirun'?" in refused("train", "--multi-run")
    assert list(tmp_path.iterdir()) == []


def test_train_prints_its_config(call, refused):
    result = call("train", "--cfg", "job", "experiment=phantom/acm", "seed=5")
    assert result.code == 0
    assert "seed: 5" in result.out
    assert "name: phantom/acm" in result.out
    assert "did you mean 'seed'?" in refused("train", "--cfg", "job", "seeed=5")
    assert "leave -m out" in refused("train", "-m", "--cfg", "job", "seed=0,1")


def test_prepare_twice_reads_once(call, tmp_path):
    command = ("prepare", "experiment=phantom/acm", "data.source.images=40", "data.store.size=32")
    first = call(*command)
    assert first.code == 0
    assert "40 images of" in first.out
    assert "note: synthetic images" in first.out
    (store,) = (p for p in (tmp_path / "stores").iterdir() if p.is_dir())
    assert f"store: stores/{store.name}" in first.out
    times = {p: p.stat().st_mtime_ns for p in store.iterdir()}
    assert call(*command).out == first.out
    assert {p: p.stat().st_mtime_ns for p in store.iterdir()} == times


def test_a_sweep_with_a_bad_job_starts_none(refused, tmp_path):
    assert "no option 'resnet81'" in refused("train", "-m", *QUICK, "model=resnet18,resnet81")
    assert "empty sweep: seed" in refused("train", "-m", *QUICK, "seed=range(0,0)")
    assert "did you mean 'base_width'" in refused("train", "-m", *QUICK, "+model.backbone.width=3", "seed=0,1")
    assert "retry_failed is 'maybe'" in refused("train", "-m", *QUICK, "retry_failed=maybe")
    assert "is for sweeps: add -m" in refused("train", *QUICK, "retry_failed=true")
    assert list(tmp_path.iterdir()) == []


def sweep_of(call, monkeypatch, *arguments):
    """The overrides that Hydra would be handed, without training."""
    given = []
    monkeypatch.setattr("cxrvl.sweeps.multirun.multirun", lambda overrides, retry_failed: given.append(overrides))
    monkeypatch.setenv("CXRVL_SWEEP", "")  # restored after the test
    result = call("train", "-m", *arguments)
    assert result.code == 0, result
    return given[0]


def test_a_table_is_a_sweep_over_its_rows_and_seeds(call, monkeypatch):
    given = sweep_of(call, monkeypatch, "table=phantom/acm", "trainer.max_epochs=1")
    assert len(expand_sweep(given)) == 12
    rows = ("none", "se", "nl", "acm")
    assert f"experiment={','.join(f'phantom/{row}' for row in rows)}" in given
    assert "seed=0,1,2" in given
    assert "trainer.max_epochs=1" in given
    assert os.environ["CXRVL_SWEEP"] == "phantom"
    assert not any(argument.startswith("table=") for argument in given)
    assert len(expand_sweep(sweep_of(call, monkeypatch, "table=phantom/acm", "seed=7"))) == 4
    given = sweep_of(call, monkeypatch, *QUICK, "retry_failed=true", "seed=0,1")
    assert given == [*QUICK, "seed=0,1", "hydra.launcher.retry_failed=true"]


def test_an_unknown_table_is_named(refused):
    assert "did you mean 'phantom'?" in refused("train", "-m", "table=phantm")
    assert "'abc'" in refused("train", "-m", "table=phantom/abc")


def test_runs_are_listed_shown_and_removed(call, refused, finished, tmp_path, monkeypatch):
    store = tmp_path / "runs"
    assert "no runs in runs" in call("runs", "ls").out
    shutil.copytree(finished.runs, store)
    name = finished.only_run().name
    listed = call("runs", "ls").out
    assert name in listed
    assert "phantom/acm" in listed
    assert "done" in listed
    shown = json.loads(call("runs", "show", name[:5]).out)
    assert shown["status"]["state"] == "done"
    assert {entry["name"] for entry in shown["metrics"].values()} == {"findings", "marks"}
    assert "no run 'zz'" in refused("runs", "show", "zz")
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert "was not removed" in refused("runs", "rm", name)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = call("runs", "rm", name)
    assert result.code == 2
    assert "say --yes" in result.err
    assert (store / name).is_dir()
    assert call("runs", "rm", name, "--yes").out == f"removed {name}\n"
    assert not (store / name).exists()


def test_evaluate_adds_predictions_to_a_finished_run(call, refused, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    name = finished.only_run().name
    folder = tmp_path / "runs" / name
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "predictions").iterdir()}
    extra = "+evaluation.more={_target_: cxrvl.evaluation.localization.MarksEvaluator, max_marks: 2, bootstrap: 20}"
    result = call("evaluate", "--run", name[:6], "evaluation.findings.bootstrap=30", extra)
    assert result.code == 0, result.err
    metrics = json.loads(result.out)
    assert {entry["name"] for entry in metrics.values()} == {"findings", "marks", "more"}
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "predictions").iterdir()}
    assert len(after) == len(before) + 1
    assert all(after[file] == time for file, time in before.items()), "another bootstrap predicts nothing again"
    assert "no run 'nope'" in refused("evaluate", "--run", "nope")
    assert "fix the threshold on other patients" in refused(
        "evaluate", "--run", name, "evaluation.findings.score_split=val"
    )
    assert "split 'vall' of 'phantom' is empty" in refused("evaluate", "--run", name, "evaluation.marks.splits=[vall]")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model/head=max", "'model.head._target_' is"),  # the same weights fit: other numbers under this run's name
        ("model/context=none", "was trained with"),
        ("trainer.precision=bf16-mixed", "'trainer.precision' is 'bf16-mixed'"),
        ("seed=1", "'task.seed' is 1"),
        ("experiment=phantom/none", "was trained with"),
    ],
)
def test_evaluate_refuses_another_model(refused, finished, override, words):
    before = {p.name for p in (finished.only_run() / "predictions").iterdir()}
    run = ("--runs", finished.runs, "--run", finished.only_run().name)
    assert words in refused("evaluate", *run, override, "evaluation.marks.max_marks=1")
    assert {p.name for p in (finished.only_run() / "predictions").iterdir()} == before
