"""A run's folder without a training, and a W&B that only writes down what it is told."""

import sys
import types
from pathlib import Path

import pytest

from cxrvl.files import write_json, write_yaml
from cxrvl.tracking.history import append_row

sys.path.insert(0, str(Path(__file__).parent))

RUN_ID = "0123456789abcdef"
METRICS = {
    "findings-aa": {
        "name": "findings",
        "evaluator": {"bootstrap": 20},
        "values": {"mean": {"auroc": 0.75, "auprc": None}, "kind": "findings", "labels": {"Nodule": {"auroc": 0.5}}},
    },
    "findings-bb": {"name": "findings", "evaluator": {"bootstrap": 9}, "values": {"mean": {"auroc": 0.1}}},
}


@pytest.fixture
def folder(tmp_path):
    """The plain files of a run of three steps and one validation, done."""
    folder = tmp_path / "runs" / RUN_ID
    folder.mkdir(parents=True)
    config = {
        "name": "phantom/acm", "seed": 3, "trainer": {"max_epochs": 2}, "paths": {"runs": "/home/somebody/runs"},
        "logger": {}, "evaluation": {"findings": {"bootstrap": 20}},
    }  # fmt: skip
    write_yaml(folder / "config.yaml", config)
    write_json(folder / "environment.json", {"commit": "c0ffee"})
    write_json(folder / "metrics.json", METRICS)
    status = {"state": "done", "name": "phantom/acm", "seed": 3, "split_name": "phantom", "split_sha256": "5e1f"}
    write_json(folder / "status.json", status)
    for step in range(3):
        append_row(folder, {"learning_rate/0": 0.1, "speed/data_wait": 0.2}, step)
        append_row(folder, {"train/loss": 1.0 - step / 10, "epoch": 0}, step)
    append_row(folder, {"val/auroc": 0.6, "val/other": float("nan")}, 2)
    return folder


class FakeServer:
    """What W&B would have: runs by id, each with the steps it was sent; and what was asked of the module."""

    def __init__(self) -> None:
        self.runs = {}
        self.inits = []
        self.finishes = []
        self.calls = []
        self.unreachable = None
        self.torn_down = 0


class FakeRun:
    def __init__(self, server, run_id, resume):
        known = server.runs.setdefault(run_id, {"steps": {}, "summary": {}, "exit": None, "preempting": 0, "axes": {}})
        assert resume == "allow" or not known["steps"], "W&B would mix two runs"
        self.server, self.stored, self.summary, self.url = server, known, known["summary"], f"https://server/{run_id}"
        self.starting_step = max(known["steps"], default=-1) + 1

    def define_metric(self, name, step_metric=None):
        self.stored["axes"][name] = step_metric

    def log(self, values, step):
        assert step >= self.starting_step, "the server has this step"
        assert step not in self.stored["steps"], "a step was sent twice"
        self.stored["steps"][step] = values

    def mark_preempting(self):
        self.stored["preempting"] += 1

    def finish(self, exit_code):
        self.server.finishes.append(exit_code)
        self.stored["exit"] = exit_code


@pytest.fixture
def server(monkeypatch):
    """Replace the module wandb by one that keeps everything in memory, and be logged in."""
    server = FakeServer()
    fake = types.ModuleType("wandb")
    fake.errors = types.SimpleNamespace(Error=type("CommError", (Exception,), {}))
    fake.Settings = lambda **settings: settings
    fake.Image = lambda picture, caption: ("image", caption)

    def init(**arguments):
        server.inits.append(arguments)
        if server.unreachable and arguments["settings"]["mode"] == "online":
            raise fake.errors.Error(server.unreachable)
        (Path(arguments["dir"]) / "wandb").mkdir(exist_ok=True)
        return FakeRun(server, arguments["id"], arguments.get("resume"))

    def teardown():
        server.torn_down += 1

    fake.init, fake.teardown = init, teardown
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "not-a-key")
    return server
