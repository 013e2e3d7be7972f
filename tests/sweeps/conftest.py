"""Jobs whose only override is Python code: the machinery of sweeps without a training."""

import sys
import textwrap
from pathlib import Path

import pytest

from cxrvl.sweeps.jobs import Job

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules of this folder, in worker processes too

ENGINE = {"accelerator": "auto", "devices": 1, "num_nodes": 1}


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Return a function that makes a job of a name and its code."""
    monkeypatch.setattr(Job, "argv", lambda job: [sys.executable, "-c", *job.overrides])

    def make(name: str, code: str = "pass", **fields) -> Job:
        trainer = ENGINE | fields.pop("trainer", {})
        config = {"evaluation": {}, "checkpoint": {"use": "best"}, "trainer": trainer}
        return Job(name, (textwrap.dedent(code),), config, name, Path(tmp_path / "runs" / name), **fields)

    return make


@pytest.fixture
def unchecked(cli, monkeypatch):
    """The command line in this process, in the test's folder, without the other process that checks configs."""
    monkeypatch.chdir(cli.folder)
    monkeypatch.setattr("cxrvl.sweeps.jobs.check_all", lambda configs: None)
