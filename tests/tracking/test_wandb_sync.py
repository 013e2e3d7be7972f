"""Afterwards, from the plain files alone: one W&B run with each step once, however often it is asked for."""

import json
import subprocess
import sys

import pytest
from wandb_files import contents

from cxrvl.errors import RunError
from cxrvl.files import write_json
from cxrvl.tracking.history import append_row, rewind_history
from cxrvl.tracking.sync import sync
from cxrvl.tracking.wandb import WandbLogger

RUN_ID = "0123456789abcdef"


def test_a_run_is_sent_once_and_again_only_when_it_changed(folder, server):
    done = sync(folder, "done", "online")
    assert (done.run_id, done.sent, done.where) == (RUN_ID, 3, f"https://server/{RUN_ID}")
    stored = server.runs[RUN_ID]
    assert list(stored["steps"]) == [0, 1, 2]
    assert stored["steps"][2] == {
        "learning_rate/0": 0.1, "speed/data_wait": 0.2, "train/loss": 0.8, "epoch": 0.0, "val/auroc": 0.6,
        "trainer/global_step": 2,
    }  # fmt: skip
    assert stored["summary"]["findings"]["mean"]["auroc"] == 0.75
    assert server.finishes == [0]
    assert sync(folder, "done", "online").sent is None
    assert len(server.inits) == 1
    append_row(folder, {"train/loss": 0.5}, 3)
    assert sync(folder, "done", "online").sent == 1
    assert list(stored["steps"]) == [0, 1, 2, 3]
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["findings-aa"]["values"]["mean"]["auroc"] = 0.8
    write_json(folder / "metrics.json", metrics)
    assert sync(folder, "done", "online").sent == 0
    assert stored["summary"]["findings"]["mean"]["auroc"] == 0.8


def test_each_project_is_remembered_on_its_own(folder, server):
    assert sync(folder, "done", "online", project="a").sent == 3
    server.runs.clear()  # the other project
    assert sync(folder, "done", "online", project="b", entity="lab").sent == 3
    assert sync(folder, "done", "online", project="a").sent is None
    assert [(i["project"], i["entity"]) for i in server.inits] == [("a", None), ("b", "lab")]


@pytest.mark.parametrize(("state", "code", "preempting"), [("done", 0, 0), ("failed", 1, 0), ("queued", 75, 1)])
def test_the_end_is_told(folder, server, state, code, preempting):
    sync(folder, state, "online")
    assert server.finishes == [code]
    assert server.runs[RUN_ID]["preempting"] == preempting


@pytest.mark.parametrize("state", ["running", "missing"])
def test_a_run_that_is_being_computed_is_left_alone(folder, server, state):
    with pytest.raises(RunError, match=f"is {state}"):
        sync(folder, state, "online")
    assert server.inits == []


def test_what_a_live_run_has_sent_is_not_sent_again(folder, server):
    logger = WandbLogger(folder)
    logger.start(0)
    logger.close(None, KeyboardInterrupt())
    for step in range(3, 6):
        append_row(folder, {"train/loss": 0.1}, step)
    assert sync(folder, "done", "online").sent == 3
    assert list(server.runs[RUN_ID]["steps"]) == list(range(6))


def test_a_finished_live_run_needs_no_sync(folder, server):
    logger = WandbLogger(folder)
    logger.start(0)
    logger.close({}, None)
    assert sync(folder, "done", "online").sent is None


def test_a_killed_and_resumed_run_has_one_history(folder, server):
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"step": 3, "train/lo')  # killed here
    assert sync(folder, "queued", "online").sent == 3
    rewind_history(folder, 2)
    for step in range(2, 5):
        append_row(folder, {"learning_rate/0": 0.1, "speed/data_wait": 0.9}, step)
        append_row(folder, {"train/loss": 1.0 - step / 10, "epoch": 0}, step)
        if step == 2:
            append_row(folder, {"val/auroc": 0.6, "val/other": float("nan")}, step)
    assert sync(folder, "done", "online").sent == 2
    assert list(server.runs[RUN_ID]["steps"]) == list(range(5))
    assert server.finishes == [75, 0]


def test_an_unreachable_server_is_one_line_and_leaves_no_note(folder, server):
    server.unreachable = "no route\nto host"
    with pytest.raises(RunError, match=r"cannot be sent to W&B \(no route to host\); try again") as error:
        sync(folder, "done", "online")
    assert "\n" not in str(error.value)
    server.unreachable = None
    assert sync(folder, "done", "online").sent == 3


def test_it_needs_no_torch():
    code = "import sys, cxrvl.tracking.sync, cxrvl.commands.runs_sync; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def synchronise(folder, monkeypatch):
    """`cxrvl runs sync` in a process of its own, with the real wandb."""

    def synchronise(*arguments, code=0, **environment):
        monkeypatch.delenv("WANDB_MODE", raising=False)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        command = [sys.executable, "-m", "cxrvl.cli", "runs", "sync", "--runs", str(folder.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return synchronise


def test_offline_one_whole_folder_is_written_that_wandb_can_upload(folder, synchronise, tmp_path):
    environment = {"NETRC": str(tmp_path / "no-netrc")}
    out = synchronise(**environment)
    assert "3 steps written" in out
    assert f"wandb sync {folder}/wandb/offline-run-" in out
    found = contents(folder)
    assert found["run"].run_id == RUN_ID
    assert (found["run"].project, found["run"].run_group, found["run"].job_type) == ("cxrvl", "phantom/acm", "train")
    assert found["config"]["split_sha256"] == "5e1f"
    assert [row["_step"] for row in found["history"]] == [0, 1, 2]
    assert [row["trainer/global_step"] for row in found["history"]] == [0, 1, 2]
    assert [row["train/loss"] for row in found["history"]] == [1.0, 0.9, 0.8]
    assert found["metrics"]["*"] == "trainer/global_step"
    assert found["exit"] == 0
    append_row(folder, {"train/loss": 0.5}, 3)
    assert "4 steps written" in synchronise("--where", "experiment=phantom/*", **environment)
    assert len(contents(folder)["history"]) == 4
    assert "unchanged" in synchronise(RUN_ID[:4], **environment)


def test_without_a_key_online_is_one_line(folder, synchronise, tmp_path):
    out = synchronise("--mode", "online", code=2, NETRC=str(tmp_path / "no-netrc"))
    assert out.count("error: ") == 1
    assert "cannot be sent to W&B" in out
    assert "Traceback" not in out


def test_no_such_run(folder, synchronise):
    assert "no such runs" in synchronise("--where", "seed=4", code=2, WANDB_MODE="offline")
    assert "switched off" in synchronise(code=2, WANDB_MODE="disabled")
