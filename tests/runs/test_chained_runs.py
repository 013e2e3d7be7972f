"""What a run starts from is made first, each once, whoever else asks for it; then it is needed no more."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from cxrvl.config.compose import compose_config, resolved
from cxrvl.runs.lineage import dependents, record
from cxrvl.runs.start import file_digest
from cxrvl.runs.store import Run, RunStore
from cxrvl.runs.upstream import missing_links

pytestmark = pytest.mark.slow

QUICK = ("data.source.images=120", "data.store.size=32", "data.batch_size=8", "trainer.max_epochs=1", "evaluation=none")


def starting(words, more=""):
    return f'init_from={{run: "{words}"{more}}}'


PRETRAIN = f"experiment=phantom/none {' '.join(QUICK)} seed=7 'data.labels=[Effusion,Nodule]'"
FINE_TUNE = ("train", "experiment=phantom/none", *QUICK, starting(PRETRAIN, ", parts: [encoder]"))


def statuses(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/status.json")}


@pytest.fixture(scope="module")
def chained(tmp_path_factory, cli_in):
    """Three processes that ask at the same time for runs with the same start, of another label set."""
    cli = cli_in(tmp_path_factory.mktemp("chained"))
    started = [cli.start(*FINE_TUNE, f"seed={seed}") for seed in (1, 2, 3)]
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        assert re.search(
            r"run \w{16} \(phantom/none\) starts from run \w{16} \(phantom/none\), which is made first", out
        )
    return cli


def upstream_of(cli):
    (run_id,) = {json.loads(path.read_text())["run"] for path in cli.runs.glob("*/init_from.json")}
    return Run(cli.runs / run_id)


def test_several_processes_make_a_common_start_once(chained):
    found = statuses(chained.runs)
    assert len(found) == 4
    assert {status["state"] for status in found.values()} == {"done"}
    upstream = upstream_of(chained)
    assert (upstream.folder / "train.log").read_text().count(f"training run {upstream.run_id}") == 1
    lines = [json.loads(line) for line in (upstream.folder / "history.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "train/loss" in line]
    assert steps == sorted(set(steps)), "no step was computed twice"


def test_the_selected_part_is_what_the_run_left_behind(chained):
    from cxrvl.runs.starting import start_from
    from cxrvl.runs.trainer import build_task

    upstream = upstream_of(chained)
    run = dependents(RunStore(chained.runs), upstream)[0]
    config = {**run.config(), "paths": {**run.config()["paths"], "runs": str(chained.runs)}}
    task, bare = build_task(config), build_task(config)
    start_from(task, config)
    left = torch.load(upstream.checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    for key, value in task.state_dict().items():
        expected = left[key] if key.startswith("model.backbone.") else bare.state_dict()[key]
        assert torch.equal(value, expected), key
    assert not torch.equal(task.state_dict()["model.backbone.conv1.weight"], bare.model.backbone.conv1.weight)
    assert f"started from run {upstream.run_id} (encoder)" in (run.folder / "train.log").read_text()


def test_the_start_is_recorded(chained):
    upstream = upstream_of(chained)
    found = dependents(RunStore(chained.runs), upstream)
    assert len(found) == 3
    for run in found:
        (content,) = record(run)
        assert content["parts"] == {"encoder": "encoder"}
        assert content["weights"] == f"sha256:{file_digest(upstream.checkpoints / 'best.ckpt')}"
        assert "seed=7" in content["named"]
    assert record(upstream) == []


def test_a_finished_run_is_evaluated_and_used_without_what_it_started_from(chained, tmp_path):
    from cxrvl.cli import main
    from cxrvl.runs.predict import Predictor

    upstream = upstream_of(chained)
    run = dependents(RunStore(chained.runs), upstream)[0]
    before = Path.cwd()
    hidden = upstream.folder.rename(chained.folder / "hidden")
    os.chdir(chained.folder)
    try:
        main(["evaluate", "--run", run.run_id, "evaluation=findings", "evaluation.findings.bootstrap=10"])
        assert Predictor(Run(run.folder)).labels
        main(["train", *FINE_TUNE[1:], f"seed={run.config()['seed']}"])
        assert not upstream.folder.exists()
    finally:
        hidden.rename(upstream.folder)
        os.chdir(before)
    assert (run.folder / "metrics.json").is_file()


def test_a_failed_link_ends_the_chain_with_its_error(cli):
    wrong = PRETRAIN.replace("seed=7", "seed=7 task.optimizer.lr=-1")
    said = cli(*FINE_TUNE[:-1], starting(wrong), code=2)
    assert "Invalid learning rate" in said.splitlines()[-1]
    assert "which was to be made first, has no weights" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert [status["state"] for status in statuses(cli.runs).values()] == ["failed"]


def test_a_signal_is_passed_on(cli):
    slow = starting(PRETRAIN.replace("trainer.max_epochs=1", "trainer.max_epochs=4000"), ", parts: [encoder]")
    process = cli.start(*FINE_TUNE[:-1], slow, "checkpoint.every_steps=1")
    deadline = time.monotonic() + 120
    while not list(cli.runs.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    ((run_id, status),) = statuses(cli.runs).items()
    assert (status["state"], status["interrupted"]) == ("queued", True)
    assert "Traceback" not in err
    config = resolved(compose_config([*FINE_TUNE[1:-1], slow, f"paths.runs={cli.runs}"]))
    assert [link.run_id for link in missing_links(config)] == [run_id], "the same command continues it"
