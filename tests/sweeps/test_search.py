"""The search's loop over made-up runs: what is chosen, told, repeated and refused, without training anything."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from cxrvl.config.compose import hydra_session
from cxrvl.errors import ConfigError, RunError
from cxrvl.files import read_yaml, write_json
from cxrvl.runs.evaluations import planned
from cxrvl.sweeps.jobs import described
from cxrvl.sweeps.samplers import SamplerChoice
from cxrvl.sweeps.search import Search, run_search
from cxrvl.sweeps.search_space import read_space

LR = "task.optimizer.lr=tag(log,interval(1e-4,1e-1))"
ORTHOGONALITY = "task.orthogonality=range(0,0.5,0.1)"


class Runs:
    """A launcher whose jobs end at once: a run's value is a function of its learning rate."""

    def __init__(self, folder, broken=lambda job: False, killed_after=None):
        self.folder, self.broken, self.killed_after = folder, broken, killed_after
        self.computed = []

    def __call__(self, jobs, first):
        for overrides in jobs:
            job = described(tuple(overrides))
            if job.run.state() == "missing":
                if self.killed_after is not None and len(self.computed) >= self.killed_after:
                    raise KeyboardInterrupt
                self.computed.append(job.run_id)
                self.compute(job)

    def compute(self, job):
        if self.broken(job):
            job.run.set_status("failed", error="ValueError: loss is NaN\nsecond line")
            return
        optimizer = job.config["task"]["optimizer"]["lr"]
        value = -abs(math.log10(optimizer) + 2.5) - job.config["task"]["orthogonality"]
        entries = {}
        for evaluation in planned(job.run, job.config):
            evaluation.path.parent.mkdir(parents=True, exist_ok=True)
            evaluation.path.touch()
            values = {"mean": {"auroc": value, "auprc": -value, "auroc_low": None, "kind": "text"}}
            entries[evaluation.path.stem] = {
                "name": evaluation.name,
                "evaluator": evaluation.evaluator,
                "values": values,
            }
        write_json(job.run_folder / "metrics.json", entries)
        job.run.set_status("done")


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CXRVL_SWEEP", raising=False)
    monkeypatch.setattr("cxrvl.sweeps.jobs.check_all", lambda configs: None)  # torch, in a process of its own
    with hydra_session():
        yield
    os.environ.pop("CXRVL_SWEEP", None)


@pytest.fixture
def search(tmp_path):
    overrides = ["experiment=phantom/acm", "data.source.images=160", f"paths.runs={tmp_path}/runs", LR, ORTHOGONALITY]
    return Search(read_space(overrides), ("findings.mean.auroc",), ("maximize",), trials=8, batch=2)


def journal(tmp_path):
    (path,) = (tmp_path / "runs" / ".searches").glob("*.journal")
    return path


def result(tmp_path):
    return read_yaml(journal(tmp_path).with_suffix(".yaml"))


def test_asked_again_a_search_computes_nothing_and_asked_for_more_goes_on(search, tmp_path, capsys):
    runs = Runs(tmp_path)
    run_search(search, runs)
    assert len(runs.computed) == 8
    found = result(tmp_path)
    assert found["best"][0]["values"]["findings.mean.auroc"] > -1.0
    said = capsys.readouterr().out
    assert f"best: trial {found['best'][0]['trial']}" in said
    assert "warning: 'findings' is scored on the test split" in said
    run_search(search, runs)
    assert len(runs.computed) == 8
    run_search(replace(search, trials=10), runs)
    assert len(runs.computed) == 10
    assert result(tmp_path)["trials"] == 10


def trials(path):
    """What was tried, in order, and what came of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(path))))
    return [(trial.params, trial.values) for trial in study.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii", "grid"])
def test_a_search_killed_anywhere_makes_the_choices_of_an_undisturbed_one(search, tmp_path, sampler):
    options = {"tpe": {"n_startup_trials": 3}, "nsgaii": {"population_size": 3}}.get(sampler, {})
    space = read_space([*search.space.fixed, ORTHOGONALITY, "task.optimizer.lr=1e-4,1e-3"])
    search = replace(search, space=space, batch=3, sampler=SamplerChoice(sampler, 4, options))
    run_search(search, Runs(tmp_path))
    lines = journal(tmp_path).read_text().splitlines(keepends=True)
    undisturbed = trials(journal(tmp_path))
    assert len(undisturbed) == 8
    for length in range(len(lines)):
        # The file as a kill or a full disk may leave it: whole lines, and a half one.
        journal(tmp_path).write_text("".join(lines[:length]) + lines[length][: len(lines[length]) // 2])
        run_search(search, Runs(tmp_path))
        assert trials(journal(tmp_path)) == undisturbed, f"other trials after a kill at line {length}"


def test_stopped_trials_are_found_again(search, tmp_path):
    stopped = Runs(tmp_path, killed_after=5)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, stopped)
    again = Runs(tmp_path)
    run_search(search, again)
    undisturbed = Runs(tmp_path)
    other = replace(search, space=read_space([*search.space.fixed, f"paths.runs={tmp_path}/other", LR, ORTHOGONALITY]))
    run_search(other, undisturbed)
    assert stopped.computed + again.computed == undisturbed.computed


def test_a_failed_trial_is_told_and_the_search_goes_on(search, tmp_path):
    broken = Runs(tmp_path, broken=lambda job: job.config["task"]["orthogonality"] >= 0.3)
    with pytest.raises(RunError, match=r"of 8 trial\(s\) failed"):
        run_search(search, broken)
    failed = result(tmp_path)["failed"]
    assert 0 < len(failed) < 8
    assert all("ValueError: loss is NaN" in line for line in failed)
    assert result(tmp_path)["trials"] == 8 - len(failed)
    with pytest.raises(RunError, match=rf"{len(failed)} of 8 trial\(s\) failed"):
        run_search(search, broken)
    assert len(broken.computed) == 8
    mended = Runs(tmp_path)
    for run_id in broken.computed:
        status = tmp_path / "runs" / run_id / "status.json"
        if json.loads(status.read_text())["state"] == "failed":
            status.unlink()
    run_search(replace(search, retry_failed=True), mended)
    assert len(mended.computed) == len(failed)
    assert result(tmp_path) == {**result(tmp_path), "trials": 8, "failed": []}


def test_a_config_that_cannot_be_is_a_failed_trial(search, tmp_path):
    space = read_space([*search.space.fixed, "threads=1,x"])
    with pytest.raises(RunError, match="1 of 2 trial"):
        run_search(replace(search, space=space, sampler=SamplerChoice("grid")), Runs(tmp_path))
    assert "cannot set threads" in result(tmp_path)["failed"][0]
    assert result(tmp_path)["trials"] == 1


def test_too_many_failures_stop_a_search_that_says_so(search, tmp_path):
    broken = Runs(tmp_path, broken=lambda job: True)
    with pytest.raises(RunError, match="2 of 2 trials of a batch failed"):
        run_search(replace(search, max_failure_rate=0.5), broken)
    assert len(broken.computed) == 2


def test_a_job_killed_each_time_is_tried_twice_then_failed(search, tmp_path):
    calls = []

    def launch(jobs, first):
        calls.append(len(jobs))

    with pytest.raises(RunError, match="2 of 2 trial"):
        run_search(replace(search, trials=2), launch)
    assert "its process ended twice before the run was done" in result(tmp_path)["failed"][0]
    assert calls == [2, 2]


def test_equal_trials_of_a_batch_are_one_job(search, tmp_path):
    space = read_space([*search.space.fixed, "seed=1", "task.orthogonality=0.1,0.2"])
    runs = Runs(tmp_path)
    run_search(replace(search, space=space, trials=12, batch=6), runs)
    assert len(runs.computed) == 2
    assert result(tmp_path)["trials"] == 12


def test_a_grid_ends_when_every_point_was_tried(search, tmp_path):
    space = read_space([*search.space.fixed, "seed=0,1,2", "task.orthogonality=0.1,0.2"])
    runs = Runs(tmp_path)
    run_search(replace(search, space=space, trials=50, batch=4, sampler=SamplerChoice("grid")), runs)
    assert len(set(runs.computed)) == 6


def test_another_search_in_the_same_file_is_refused_with_what_differs(search, tmp_path):
    named = replace(search, storage=str(tmp_path / "my.journal"), trials=2)
    runs = Runs(tmp_path)
    run_search(named, runs)
    other = read_space([*named.space.fixed, "trainer.max_epochs=2", LR.replace("1e-1", "1"), ORTHOGONALITY])
    with pytest.raises(ConfigError, match=r"holds another search \(space.task.optimizer.lr.high: 0.1 there, 1.0 asked"):
        run_search(replace(named, space=other), runs)
    with pytest.raises(ConfigError, match=r"metric.findings.mean.auprc"):
        run_search(replace(named, metrics=("findings.mean.auprc",)), runs)
    moved = read_space(
        [*named.space.fixed, LR, ORTHOGONALITY, "checkpoint.every_seconds=1", "trainer.log_every_n_steps=3"]
    )
    run_search(replace(named, space=moved, trials=3), runs)
    assert len(runs.computed) == 3, "where and how often something is written is no other search"


def test_two_searches_at_once_are_refused(search, tmp_path):
    def launch(jobs, first):
        with pytest.raises(RunError, match=r"the search in .*journal cannot be run now: .* by process"):
            run_search(search, Runs(tmp_path))
        Runs(tmp_path)(jobs, first)

    run_search(replace(search, trials=2), launch)


def test_several_metrics_make_a_front(search, tmp_path):
    both = replace(search, metrics=("findings.mean.auroc", "findings.mean.auprc"), directions=("maximize", "maximize"))
    run_search(both, Runs(tmp_path))
    assert len(result(tmp_path)["best"]) == 8, "one falls as the other rises: no trial beats another"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ()}, "no hydra.sweeper.metric"),
        ({"metrics": ("findnigs.mean.auroc",)}, "no evaluation 'findnigs'.*did you mean 'findings'"),
        ({"metrics": ("findings.mean.aurok",)}, "has no 'aurok'; did you mean 'auroc'"),
        ({"metrics": ("findings.mean",)}, "is a dict"),
        ({"directions": ("up",)}, "direction is up; expected maximize or minimize"),
        ({"directions": ()}, "direction is not given"),
        ({"trials": 0}, "n_trials=0"),
        ({"storage": "sqlite:///x.db"}, "give its path"),
    ],
)
def test_settings_that_cannot_be_are_refused(search, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        run_search(replace(search, **changes), Runs(tmp_path))


def test_an_undefined_metric_is_a_failed_trial(search, tmp_path):
    with pytest.raises(RunError, match="1 of 1 trial"):
        run_search(replace(search, metrics=("findings.mean.auroc_low",), trials=1), Runs(tmp_path))
    assert "findings.mean.auroc_low is undefined" in result(tmp_path)["failed"][0]


@pytest.mark.parametrize(("use", "expected"), [("best", 0.3), ("final", 0.1)])
def test_a_logged_metric_is_that_of_the_weights_used(search, tmp_path, use, expected):
    history = [(0.6, 0.5), (0.9, 0.3), (0.9, 0.2), (None, 0.1)]
    rows = [{"step": i, "val/auroc": auroc, "val/loss": loss} for i, (auroc, loss) in enumerate(history)]
    runs = Runs(tmp_path)

    def launch(jobs, first):
        runs(jobs, first)
        for overrides in jobs:
            path = described(tuple(overrides)).run_folder / "history.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in [{"step": 0, "train/loss": 1.0}, *rows]))

    space = read_space([*search.space.fixed, f"checkpoint.use={use}", LR])
    logged = replace(search, space=space, metrics=("val/loss",), directions=("minimize",), trials=1)
    run_search(logged, launch)
    assert result(tmp_path)["best"][0]["values"] == {"val/loss": expected}
    with pytest.raises(ConfigError, match=r"'val/lost'.*did you mean 'val/loss'"):
        run_search(replace(logged, metrics=("val/lost",)), launch)


@pytest.mark.parametrize(
    ("content", "said"),
    [("shopping\nlist, torn", "is no file of a search"), ('{"op_code":0}\n{"op_code":77}\n', "cannot be read")],
)
def test_a_file_that_is_no_study_is_refused_and_left_alone(search, tmp_path, content, said):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(RunError, match=said):
        run_search(replace(search, storage=str(path)), Runs(tmp_path))
    assert path.read_text() == content


def test_the_sweeper_s_module_imports_neither_optuna_nor_cxrvl():
    """Hydra imports it at every start of `cxrvl train`."""
    code = "import sys, hydra_plugins.cxrvl_optuna.sweeper; print([m for m in ('optuna', 'cxrvl', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
