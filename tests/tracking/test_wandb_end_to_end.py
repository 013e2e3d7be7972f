"""The real W&B with real trainings: offline folders read back, servers that refuse or never answer."""

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from wandb_files import contents

NO_PICTURES = "tracking.pictures_every=null"
SMALL = ("trainer.log_every_n_steps=1", "checkpoint.every_steps=1", NO_PICTURES)


@pytest.fixture
def offline(cli, tmp_path):
    """`cxrvl` of a user who is not logged in, with the default loggers."""
    cli.environment = {k: v for k, v in cli.environment.items() if not k.startswith("WANDB_")}
    cli.environment["NETRC"] = str(tmp_path / "no-netrc")
    return cli


@pytest.fixture
def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def mute_port():
    """A server that takes every connection and never says a word."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(64)
        yield one.getsockname()[1]


def quick(cli):
    """A training without evaluations, of one epoch."""
    tiny = [word for word in cli.tiny if not word.startswith("evaluation.")]
    return (*tiny, "trainer.max_epochs=1", "evaluation=none", NO_PICTURES)


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").open()]


@pytest.mark.slow
def test_killed_and_resumed_offline_there_is_one_whole_folder(offline):
    offline.environment["CXRVL_SWEEP"] = "sweep-1a2b3c4d"
    process = offline.start("train", *offline.tiny, *SMALL, "logger=[wandb,csv]")
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        path = next(offline.runs.glob("*/history.jsonl"), None)
        if path and len(path.read_text().splitlines()) > 14:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    folder = offline.only_run()
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    time.sleep(1.1)  # W&B names its folders by the second
    out = offline.train(*SMALL, "logger=[wandb,csv]")
    assert "W&B" not in out
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    found = contents(folder)
    steps = [row["_step"] for row in found["history"]]
    assert steps == sorted({row["step"] for row in history(folder)}), "every step once, those before the kill too"
    assert [row["trainer/global_step"] for row in found["history"]] == steps
    merged = {}
    for row in history(folder):
        merged.setdefault(row["step"], {}).update(row)
    for row in found["history"]:
        assert row["train/loss"] == pytest.approx(merged[row["_step"]]["train/loss"])
        assert {"learning_rate/0", "learning_rate/1", "speed/images_per_second", "speed/data_wait"} <= row.keys()
    assert sum("val/auroc" in row for row in found["history"]) == 3
    assert (found["run"].run_id, found["run"].run_group) == (folder.name, "sweep-1a2b3c4d")
    assert found["config"]["run_id"] == folder.name
    assert found["config"]["split_sha256"] == json.loads((folder / "status.json").read_text())["split_sha256"]
    assert found["exit"] == 0
    (findings,) = [e for e in json.loads((folder / "metrics.json").read_text()).values() if e["name"] == "findings"]
    assert found["summary"]["findings"]["mean"]["auroc"] == findings["values"]["mean"]["auroc"]
    assert "unchanged" in offline("runs", "sync", folder.name[:6])


def test_a_failure_is_a_failed_run(offline):
    out = offline.train(*SMALL, "task.monitor=val/aurok", "logger=wandb", code=2)
    assert "val/aurok" in out
    found = contents(offline.only_run())
    assert found["exit"] == 1
    assert "findings" not in found["summary"]
    assert found["history"], "what was logged before the failure is seen"


def test_without_a_network_training_goes_on_offline(offline, closed_port):
    offline.environment |= {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": f"http://127.0.0.1:{closed_port}"}
    process = offline.start("train", *quick(offline), "+logger.wandb.init_timeout=2")
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 0, err
    folder = offline.only_run()
    assert "W&B cannot be reached" in err
    assert f"cxrvl runs sync {folder.name}" in err
    found = contents(folder)
    assert found["exit"] == 0
    assert [row["_step"] for row in found["history"]] == sorted({row["step"] for row in history(folder)})
    for path in folder.rglob("*"):
        assert not path.is_file() or b"0" * 40 not in path.read_bytes(), f"{path} holds the API key"
    assert none_left(process.pid)


START = """
import logging, time
logging.basicConfig()
from cxrvl.tracking.wandb import WandbLogger
begun = time.perf_counter()
logger = WandbLogger({folder!r}, init_timeout=2, finish_timeout=2)
logger.start(0)
logger.close(None, None)
print("seconds", time.perf_counter() - begun, flush=True)
"""


@pytest.mark.parametrize("kind", ["closed_port", "mute_port"])
def test_no_server_holds_a_training_up(folder, request, monkeypatch, kind):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{request.getfixturevalue(kind)}")
    done = subprocess.run(
        [sys.executable, "-c", START.format(folder=str(folder))],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "W&B cannot be reached" in done.stderr
    assert float(done.stdout.split()[-1]) < 30
    assert contents(folder)["exit"] == 0


def test_off_means_off(offline):
    offline.environment["WANDB_MODE"] = "disabled"
    offline("train", *quick(offline))
    assert not (offline.only_run() / "wandb").exists()
    assert history(offline.only_run())


def test_a_killed_training_leaves_no_service_behind(offline):
    process = offline.start("train", *quick(offline))
    while process.poll() is None and not list(offline.runs.glob("*/wandb/offline-run-*/*.wandb")):
        time.sleep(0.01)
    assert services(process.pid), "the service runs while the training does"
    process.kill()
    process.communicate()
    assert none_left(process.pid)


def none_left(pid):
    deadline = time.monotonic() + 30
    while services(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not services(pid)


def services(pid):
    """Return W&B's processes that serve a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"wandb-core" in words[0] and str(pid).encode() in words:
                found.append(path.parent.name)
    return found
