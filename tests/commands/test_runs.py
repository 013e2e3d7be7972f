"""`cxrvl runs ls`, `rm` and `diff` as a user calls them."""

import json
import shutil

import pytest

from cxrvl.files import read_json, read_yaml, write_json, write_yaml
from cxrvl.runs.store import Run


@pytest.fixture
def two(finished, tmp_path):
    """A store with one finished run, and a second that failed with other settings."""
    first = finished.only_run()
    shutil.copytree(first, tmp_path / "runs" / first.name)
    other = tmp_path / "runs" / "0123456789abcdef"
    shutil.copytree(first, other)
    write_json(other / "status.json", {**read_json(other / "status.json"), "state": "failed", "name": "phantom/se"})
    config = read_yaml(other / "config.yaml")
    write_yaml(other / "config.yaml", {**config, "model": {**config["model"], "groups": 16}})
    return Run(tmp_path / "runs" / first.name), Run(other)


def test_runs_are_selected(call, two):
    done, failed = two
    everything = call("runs", "ls").out
    assert done.run_id in everything
    assert failed.run_id in everything
    for condition in ("status=failed", "experiment=phantom/s*", "model.groups=16", "model.groups=16 seed=0"):
        out = call("runs", "ls", "--where", condition).out
        assert [line.split()[0] for line in out.splitlines()] == ["run", failed.run_id], condition
    out = call("runs", "ls", "--where", "status=done", "findings.mean.auroc>=0").out
    assert [line.split()[0] for line in out.splitlines()] == ["run", done.run_id]
    assert call("runs", "ls", "--where", "seed=5").out == "no runs in runs with seed=5\n"


def test_runs_are_listed_as_json(call, two):
    done, _ = two
    (one,) = json.loads(call("runs", "ls", "--json", "--where", "status=done").out)
    assert (one["run"], one["state"], one["folder"]) == (done.run_id, "done", f"runs/{done.run_id}")
    assert one["status"]["name"] == "phantom/acm"
    (findings,) = [e for e in read_json(done.folder / "metrics.json").values() if e["name"] == "findings"]
    assert one["metrics"]["findings.mean.auroc"] == findings["values"]["mean"]["auroc"]
    assert json.loads(call("runs", "ls", "--json", "--where", "seed=5").out) == []


def test_a_wrong_condition_is_one_line(refused, two):
    assert "did you mean 'model.groups'" in refused("runs", "ls", "--where", "modle.groups=8")
    assert "is no condition" in refused("runs", "ls", "--where", "failed")


def test_two_runs_are_compared(call, refused, two):
    done, failed = two
    out = call("runs", "diff", done.run_id[:6], failed.run_id[:6]).out
    assert "science\n  model.groups  8  ->  16\n" in out
    found = json.loads(call("runs", "diff", done.run_id, failed.run_id, "--json").out)
    assert found == {"science": {"model.groups": {"a": 8, "b": 16}}}
    assert "do not differ" in call("runs", "diff", done.run_id, done.run_id).out
    assert call("runs", "diff", done.run_id, done.run_id, "--json").out == "{}\n"
    assert "no run 'zz'" in refused("runs", "diff", done.run_id, "zz")


def test_a_damaged_status_is_told_on_the_terminal(cli, two):
    done, _ = two
    (done.folder / "status.json").write_text("")
    printed = cli("runs", "ls", "--where", "status=done")
    assert f"{done.run_id}/status.json is damaged; by what else lies there, the run is done\n" in printed
    assert "Traceback" not in printed


def test_a_finished_run_on_a_read_only_disk_is_answered(call, finished, tmp_path, monkeypatch):
    """Tests may run as root, whom no permission stops: every attempt to write there fails as on such a disk."""
    import os

    shutil.copytree(finished.runs, tmp_path / "runs")
    real = os.open

    def read_only(path, flags, *arguments, **options):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT) and "runs" in str(path):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", read_only)
    assert "nothing to compute" in call("train", *finished.tiny).out
    result = call("train", *finished.tiny, "seed=1")
    assert result.code == 2
    assert result.err.startswith("error: run ")
    assert "cannot be written (Read-only file system)" in result.err
    assert finished.only_run().name in call("runs", "ls", "--where", "status=done").out
    assert call("runs", "show", finished.only_run().name).code == 0
