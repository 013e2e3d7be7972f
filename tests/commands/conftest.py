"""`cxrvl` inside the test's own process: a process of its own would cost seconds of imports for each call."""

from typing import NamedTuple

import pytest
from text_chain import EVALUATIONS, SMALL

from cxrvl.cli import main
from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.runs import identity
from cxrvl.runs.store import RunStore


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Call `cxrvl <arguments>` in the test's folder and return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        identity._study_table.cache_clear()  # as a process of its own would begin
        identity._report_table.cache_clear()
        capfd.readouterr()
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as leave:
            code = leave.code or 0
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def refused(call):
    """Call a command that must fail by exactly one message of one line, without a traceback."""

    def refused(*arguments: str) -> str:
        result = call(*arguments)
        assert result.code == 2, result
        assert result.err.startswith("error: "), result.err
        assert result.err.count("\n") == 1, result.err
        assert "Traceback" not in result.out + result.err
        return result.err

    return refused


@pytest.fixture(scope="session")
def chained(tmp_path_factory, cli_in):
    """A contrastive run with adapters, started from a masked one."""
    cli = cli_in(tmp_path_factory.mktemp("texts"))
    model = ("model=text_llama_tiny", "model/lora=default", "model.lora.rank=4")
    cli("train", "data=phantom_reports", "task=masked_text", "evaluation=none", *model, *SMALL, "name=masked")
    (masked,) = RunStore(cli.runs)
    few = [f"evaluation.{name}.bootstrap=10" for name in EVALUATIONS]
    tasks = [f"data.tasks.{name}=null" for name in ("reworded", "shuffled", "labels", "mined", "partial")]
    cli(
        "train", "data=phantom_triplets", "task=contrastive_text", "evaluation=texts", *model, *SMALL, *few, *tasks,
        "trainer.precision=bf16-mixed", "model/pooling=latent_attention", "model.pooling.latents=8",
        "model.pooling.heads=4", "name=contrastive",
        f"+init_from={{run: '{masked.run_id}', parts: [body]}}",
    )  # fmt: skip
    (run,) = [run for run in RunStore(cli.runs) if run.run_id != masked.run_id]
    return cli, run


@pytest.fixture
def reports(tmp_path):
    frame = report_table(PhantomSource(images=60, seed=5, reports="by_hospital")).frame
    frame[["study", "findings", "impression"]].to_csv(tmp_path / "reports.csv", index=False)
    return tmp_path / "reports.csv", frame
