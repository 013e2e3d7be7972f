"""Fixtures for all tests: the real samples (never part of the repository), and `cxrvl` as a user runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for the helper modules beside this file

os.environ["WANDB_MODE"] = "disabled"  # tracking has tests of its own; elsewhere it would only cost time
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, one per core

import forked

# A phantom run of a few seconds: the whole path, nothing mocked.
TINY = (
    "experiment=phantom/acm",
    "data.source.images=160",
    "data.store.size=32",
    "data.batch_size=8",
    "trainer.max_epochs=3",
    "evaluation.findings.bootstrap=20",
    "evaluation.marks.bootstrap=20",
)


class Cli:
    """`cxrvl` as a user runs it, in a folder of its own and a process of its own."""

    tiny = TINY

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.environment = dict(os.environ)

    def start(self, *arguments: str, **options) -> "forked.Forked | subprocess.Popen":
        """Start a command with its imports done, see `forked`."""
        if not forked.POSSIBLE:
            return self.interpreter(*arguments, **options)
        return forked.Forked(arguments, self.folder, self.environment, **options)

    def interpreter(self, *arguments: str, **options) -> subprocess.Popen:
        """Start a command in a fresh interpreter."""
        return subprocess.Popen(
            [sys.executable, "-m", "cxrvl.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, *arguments: str, code: int = 0, fresh: bool = False) -> str:
        process = (self.interpreter if fresh else self.start)(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out + err

    def train(self, *overrides: str, **options) -> str:
        return self("train", *TINY, *overrides, **options)

    def only_run(self) -> Path:
        (status,) = self.runs.glob("*/status.json")
        return status.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: real data, papers and parity files; the test is skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder `shared` with the real samples is not beside this repository")
    return folder


@pytest.fixture(scope="session")
def cli_in():
    """`cxrvl` in a folder of one's choice, for fixtures that several tests share."""
    return Cli


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture
def start(cli):
    """Start `cxrvl` without waiting for its end; whatever a failing test leaves behind ends with it."""
    started = []

    def begin(*arguments, fresh=False, **options):
        started.append((cli.interpreter if fresh else cli.start)(*arguments, **options))
        return started[-1]

    yield begin
    for process in (p for p in started if p.poll() is None):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One finished tiny run, shared by all tests; they only read it: the others copy it."""
    cli = Cli(tmp_path_factory.mktemp("finished"))
    cli.train(fresh=True)
    return cli
