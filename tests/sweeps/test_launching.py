"""What every engine shares: done jobs are not started, failed ones are reported, Hydra gets its records."""

import json
from dataclasses import fields

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from cxrvl.errors import ConfigError, RunError
from cxrvl.sweeps import launching
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import forget
from cxrvl.sweeps.objective import objective
from hydra_plugins.cxrvl_gpus.launcher import GpusLauncher
from hydra_plugins.cxrvl_optuna.sweeper import CxrvlOptunaSweeper, CxrvlOptunaSweeperConf
from hydra_plugins.cxrvl_ray.launcher import RayLauncher
from hydra_plugins.cxrvl_submitit.launcher import LocalLauncher, SlurmLauncher

SMALL = ("experiment=phantom/none", "data.source.images=40", "data.store.size=32", "evaluation=none")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return a function that launches jobs of some seeds with an engine that answers with given exit codes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cxrvl.sweeps.jobs.check_all", lambda configs: None)
    forget()
    launching.take_failures()

    def sweep(seeds, codes, **options):
        ran = []

        def engine(jobs):
            ran.extend(job.config["seed"] for job in jobs)
            for job in jobs:
                if codes[job.config["seed"]] == 0:
                    job.run_folder.mkdir(parents=True, exist_ok=True)
                    job.run.set_status("done")
                    values = {"mean": {"auroc": job.config["seed"] / 10}}
                    auroc = {"findings-0": {"name": "findings", "values": values}}
                    (job.run_folder / "metrics.json").write_text(json.dumps(auroc))
            return [Ended(job, codes[job.config["seed"]], ("last line",)) for job in reversed(jobs)]

        returns = launching.launch([[*SMALL, f"seed={seed}"] for seed in seeds], engine, **options)
        return ran, returns

    return sweep


def test_a_sweep_and_the_same_again(sweep, tmp_path, capsys):
    ran, returns = sweep([2, 1, 3], {1: 0, 2: 0, 3: 1}, metric="findings.mean.auroc")
    assert ran == [2, 1, 3]
    assert [r.return_value for r in returns] == [0.2, 0.1, None]
    assert [r.status for r in returns] == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED]
    assert [r.overrides[-1] for r in returns] == ["seed=2", "seed=1", "seed=3"]
    assert all((tmp_path / r.working_dir).name for r in returns)
    err = capsys.readouterr().err
    assert "failed: seed=3 (run " in err
    assert "    last line" in err
    with pytest.raises(RunError, match=r"1 job\(s\) failed: seed=3"):
        launching.raise_failures()
    launching.raise_failures()  # told once

    ran, returns = sweep([2, 1, 3], {3: 0}, metric="findings.mean.auroc")
    assert ran == [3]
    assert [r.return_value for r in returns] == [0.2, 0.1, 0.3]
    assert "2 job(s) were done before" in capsys.readouterr().out
    assert sweep([2, 1, 3], {})[0] == []
    launching.raise_failures()


def test_a_failed_run_is_run_again_on_request_alone(sweep, tmp_path, capsys):
    _, (record,) = sweep([0], {0: 1})
    folder = tmp_path / record.working_dir
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": "failed", "error": "DataError: no such file"}))
    launching.take_failures()
    ran, (record,) = sweep([0], {0: 0})
    assert ran == []
    assert record.status == JobStatus.FAILED
    err = capsys.readouterr().err
    assert "DataError: no such file" in err
    assert "retry_failed=true" in err
    assert launching.take_failures() == ["phantom/none seed=0"]
    ran, (record,) = sweep([0], {0: 0}, retry_failed=True)
    assert ran == [0]
    assert record.status == JobStatus.COMPLETED
    assert launching.take_failures() == []


def test_the_same_run_asked_for_twice_has_two_records(sweep):
    ran, returns = sweep([0, 0], {0: 0}, metric="findings.mean.auroc")
    assert ran == [0]
    assert [r.return_value for r in returns] == [0.0, 0.0]


def test_what_starts_from_a_run_that_failed_before_is_not_started(script, tmp_path):
    link, other = script("link", link=True), script("other")
    head, tail = script("head", after=("link",)), script("tail", after=("link", "head"))
    link.run_folder.mkdir(parents=True)
    (link.run_folder / "status.json").write_text('{"state": "failed", "error": "Boom: no"}')
    ran = []

    def engine(jobs):
        ran.extend(job.name for job in jobs)
        return [Ended(job, 0) for job in jobs]

    failed = launching.compute([link, head, tail, other], engine)
    assert ran == ["other"]
    assert [ended.job.name for ended in failed] == ["link", "head", "tail"]
    assert failed[0].tail[0] == "Boom: no"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "done"), (1, "exit code 1"), (75, "the same command continues"), (-9, "SIGKILL"), (130, "was stopped")],
)
def test_how_a_job_ended(script, code, words):
    assert words in Ended(script("a"), code).said()


def test_an_objective_is_a_number_by_its_dotted_name(tmp_path):
    assert objective(tmp_path, "findings.mean.auroc") is None, "no metrics yet"
    values = {"mean": {"auroc": 0.75, "ap": None}, "kind": "findings"}
    content = {"findings-0": {"name": "findings", "values": values}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert objective(tmp_path, "findings.mean.auroc") == 0.75
    assert objective(tmp_path, "findings.mean.ap") is None, "undefined"
    with pytest.raises(RunError, match="has no 'aurok'; did you mean 'auroc'"):
        objective(tmp_path, "findings.mean.aurok")
    with pytest.raises(RunError, match="is dict; expected a number"):
        objective(tmp_path, "findings.mean")
    with pytest.raises(RunError, match="is str"):
        objective(tmp_path, "findings.kind")
    with pytest.raises(RunError, match="has no 'deeper'"):
        objective(tmp_path, "findings.kind.deeper")


def test_a_grace_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"hydra.launcher.grace_seconds is -3; expected 0 or more"):
        GpusLauncher(retry_failed=False, grace_seconds=-3.0).launch([], 0)


@pytest.mark.parametrize("name", ["slots", "per_job", "jobs_per_gpu"])
def test_a_number_below_one_is_refused_though_nothing_is_left_to_do(name):
    with pytest.raises(ConfigError, match=rf"hydra.launcher.{name} is 0; expected at least 1"):
        GpusLauncher(retry_failed=False, grace_seconds=3.0, **{name: 0}).launch([], 0)


@pytest.mark.parametrize("launcher", [GpusLauncher, RayLauncher, SlurmLauncher, LocalLauncher])
def test_a_setting_added_with_a_plus_sign_must_be_one(launcher):
    settings = {field.name: None for field in fields(launcher.conf) if field.name != "_target_"}
    with pytest.raises(ConfigError, match=r"unknown key 'hydra.launcher.retry_faild'; did you mean 'retry_failed'"):
        launcher(**settings, retry_faild=True).launch([], 0)


def test_a_setting_of_a_search_must_be_one():
    known = {field.name: None for field in fields(CxrvlOptunaSweeperConf) if field.name != "_target_"}
    for settings, word in (
        ({"sampler": {}, "n_trails": 3}, r"hydra.sweeper.n_trails'; did you mean 'n_trials'"),
        ({"sampler": {"name": "tpe", "sede": 3}}, r"hydra.sweeper.sampler.sede'; did you mean 'seed'"),
    ):
        sweeper = CxrvlOptunaSweeper(**{**known, **settings})
        sweeper.config, sweeper.hydra_context, sweeper.launcher = OmegaConf.create(), object(), object()
        with pytest.raises(ConfigError, match=f"unknown key '{word}"):
            sweeper.sweep([])
