import json
import shutil
import subprocess
import sys

import pytest

from cxrvl.runs import environment as recorded
from cxrvl.runs.environment import HIDDEN, environment, git_state, without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("logger.wandb.api_key=abc123", f"logger.wandb.api_key={HIDDEN}"),
        ("+logger.token=abc", f"+logger.token={HIDDEN}"),
        ("paths.password=abc", f"paths.password={HIDDEN}"),
        ("a.WANDB_API_KEY=abc", f"a.WANDB_API_KEY={HIDDEN}"),
        ("paths.url=https://me:word@host/x", f"paths.url=https://{HIDDEN}@host/x"),
        ("hf_" + "a1" * 17, HIDDEN),
        ("0123456789abcdef0123456789abcdef01234567", HIDDEN),
        ("model.base.revision=" + "0a" * 20, "model.base.revision=" + "0a" * 20),
        ("data.max_tokens=512", "data.max_tokens=512"),
        ("model.keys=8", "model.keys=8"),
        ("experiment=phantom/acm", "experiment=phantom/acm"),
        ("init_from={run: 0123456789abcdef}", "init_from={run: 0123456789abcdef}"),
    ],
)
def test_a_command_line_is_kept_without_its_secrets(given, shown):
    assert without_secrets(["cxrvl", given]) == ["cxrvl", shown]


def test_the_record_says_what_a_result_may_depend_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cxrvl", "train", "seed=1", "x.token=secretword"])
    monkeypatch.setenv("SOME_SERVICE", "anothersecret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    record = environment({"split_sha256": "12", "fingerprint": {"study": {"rows": 3}}})
    text = json.dumps(record)
    assert "secretword" not in text
    assert "anothersecret" not in text
    assert record["command"] == ["cxrvl", "train", "seed=1", f"x.token={HIDDEN}"]
    assert record["threads"]["OMP_NUM_THREADS"] == "3"
    assert record["threads"]["torch"] >= 1
    assert record["cpu"]
    assert record["packages"]["torch"]
    assert record["data"]["fingerprint"] == {"study": {"rows": 3}}
    assert {"commit", "diff", "python", "platform", "gpus", "devices"} <= set(record)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one commit."""

    def git(*command):
        me = ("-c", "user.name=me", "-c", "user.email=me@here")
        return subprocess.run(["git", "-C", tmp_path, *me, *command], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (tmp_path / "model.py").write_text("depth = 1\n")
    git("add", "model.py")
    git("commit", "-q", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD").strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_commit_and_uncommitted_changes_are_recorded(checkout, monkeypatch):
    folder, commit = checkout
    assert git_state(folder) == {"commit": commit, "diff": ""}
    (folder / "model.py").write_text("depth = 2\n")
    diff = git_state(folder)["diff"]
    assert "-depth = 1\n+depth = 2" in diff
    monkeypatch.setattr(recorded, "DIFF_LIMIT", 10)
    assert git_state(folder)["diff"] == f"{diff[:10]}\n[cut: {len(diff) - 10} more characters]"
    monkeypatch.setattr(recorded, "git_state", lambda: {"commit": "c", "diff": "d"})
    assert (environment()["commit"], environment()["diff"]) == ("c", "d")


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_code_that_cannot_be_recorded_is_told(checkout, tmp_path, monkeypatch, caplog):
    """No git on a cluster's node, or one that does not trust the folder's owner."""
    folder, _ = checkout
    nothing = {"commit": None, "diff": None}
    assert git_state(tmp_path / "installed") == nothing
    assert not caplog.text
    (folder / ".git" / "HEAD").write_text("nonsense")
    assert git_state(folder) == nothing
    assert f"git cannot be asked in {folder} (fatal: not a git repository" in caplog.text
    caplog.clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(folder) == nothing
    assert "the run does not record its code" in caplog.text
