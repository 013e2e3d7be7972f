"""Several processes compute one run as one process does, survive kills, and end together."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from watching import alive, wait_for

from cxrvl.evaluation.predictions import read_predictions
from cxrvl.runs.store import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the ranks under /proc"),
]

GROUP_NORM = (
    "experiment=phantom/none", "+model.backbone.norm=group", "data.source.images=96", "data.store.size=32",
    "data.batch_size=8", "+data.evaluation_batch_size=3", "trainer.max_epochs=3", "trainer.log_every_n_steps=1",
    "evaluation.marks=null", "evaluation.findings.bootstrap=20", "logger=none", "checkpoint.every_steps=1",
    "trainer.gradient_clip_val=0.5",
)  # fmt: skip


def ranks_of(process) -> dict[int, int]:
    """Return the ranks a `cxrvl train` process has started: rank -> process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        ranks = [int(word[5:]) for word in environment if word.startswith(b"RANK=")]
        if parent == process.pid and ranks:
            found[ranks[0]] = int(entry.name)
    return found


def rows(folder):
    (path,) = (folder / "predictions").glob("findings-*.parquet")
    return read_predictions(path).frame


def weights(folder, name="final.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def history(folder, name):
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [(line["step"], line[name]) for line in lines if name in line]


def steps(folder):
    return len(history(folder, "train/loss")) if (folder / "history.jsonl").is_file() else 0


def assert_same_history(ours, theirs, atol=0.0):
    """Equal losses, each step logged once."""
    for name in ("train/loss", "val/loss"):
        mine, other = dict(history(ours, name)), dict(history(theirs, name))
        assert len(history(ours, name)) == len(mine), "a step was logged twice"
        assert mine.keys() == other.keys()
        np.testing.assert_allclose(list(mine.values()), [other[step] for step in mine], atol=atol, rtol=0)


def assert_same_result(ours, theirs):
    """Equal to rounding: the ranks add up the same gradients in another order."""
    assert_same_history(ours, theirs, atol=2e-5)
    mine, other = weights(ours), weights(theirs)
    assert mine.keys() == other.keys()
    for name in other:
        torch.testing.assert_close(mine[name], other[name], atol=5e-4, rtol=5e-3)
    ours, theirs = rows(ours), rows(theirs)
    assert ours["image"].tolist() == theirs["image"].tolist()
    logits = [c for c in theirs if c.startswith("logit/")]
    np.testing.assert_allclose(ours[logits], theirs[logits], atol=1e-3)
    assert ours.drop(columns=logits).equals(theirs.drop(columns=logits))


@pytest.fixture(scope="module")
def computed(tmp_path_factory, cli_in):
    """The same run in one process, and as a job of two in a sweep over seeds whose jobs run side by side."""
    cli = cli_in(tmp_path_factory.mktemp("ranks"))
    said = cli("train", *GROUP_NORM, "paths.runs=one")
    (one,) = (cli.folder / "one").iterdir()
    two_each = ("trainer=ddp", "trainer.devices=2", "paths.runs=two", "hydra.launcher.slots=2")
    swept = cli("train", "-m", *GROUP_NORM, "seed=0,1", *two_each)
    assert said.splitlines()[-1].endswith(f"is done: one/{one.name}")
    assert "rank" not in swept.lower(), "the user sees one training per seed"
    return cli, one, cli.folder / "two" / one.name


def test_two_processes_end_where_one_does(computed):
    _, one, two = computed
    assert two.is_dir(), "the run id does not depend on devices"
    assert_same_result(two, one)
    assert "training run" in (two / "train.log").read_text()


def test_two_jobs_of_a_sweep_at_the_same_time_do_not_meet(computed):
    """Each rank has exactly its job's config, else it would have refused; and the seeds' results differ."""
    _, _, two = computed
    (other,) = [path.parent for path in two.parent.glob("*/status.json") if path.parent != two]
    assert Run(other).config()["seed"] == 1
    assert Run(other).state() == "done"
    assert history(other, "train/loss") != history(two, "train/loss")
    assert steps(other) == steps(two)


def test_stopped_then_a_rank_killed_then_the_parent_it_continues_bit_identical(computed):
    """Each time all processes of the run end, and the same command goes on."""
    cli, one, two = computed
    command = ("train", *GROUP_NORM, "trainer.devices=2", "paths.runs=disturbed")
    folder = cli.folder / "disturbed" / one.name

    process = cli.start(*command, "checkpoint.every_steps=null")
    wait_for(lambda: steps(folder) >= 3, process)
    ranks = ranks_of(process)
    assert sorted(ranks) == [0, 1]
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert err.count("the same command continues") == 1
    assert (folder / "checkpoints" / "last.ckpt").is_file(), "one resume point, written by all"
    assert Run(folder).status()["interrupted"] is True
    assert not any(map(alive, ranks.values()))

    done = steps(folder)
    process = cli.start(*command)
    wait_for(lambda: steps(folder) >= done + 2, process)
    ranks = ranks_of(process)
    os.kill(ranks[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert not any(map(alive, ranks.values()))

    done = steps(folder)
    process = cli.start(*command)
    wait_for(lambda: steps(folder) >= done + 2, process)
    ranks = ranks_of(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while any(map(alive, ranks.values())):
        assert time.monotonic() < deadline, "a rank outlived its parent"
        time.sleep(0.05)
    assert Run(folder).status()["interrupted"] is True

    cli(*command)
    assert (folder / "train.log").read_text().count("continued from last.ckpt") == 3
    assert_same_history(folder, two)
    ours, theirs = weights(folder), weights(two)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert rows(folder).equals(rows(two))


def test_a_killed_rank_of_a_sharded_run_ends_it_and_one_process_continues_it(computed):
    cli, one, _ = computed
    process = cli.start("train", *GROUP_NORM, "trainer=fsdp", "trainer.devices=2", "paths.runs=sharded")
    folder = cli.folder / "sharded" / one.name
    wait_for(lambda: steps(folder) >= 5, process)
    ranks = ranks_of(process)
    os.kill(ranks[1], signal.SIGKILL)
    start = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 60
    assert process.returncode == 1
    assert "rank 1 was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert "rank 1 was killed by SIGKILL" in (folder / "train.log").read_text()
    assert not any(map(alive, ranks.values()))
    assert Run(folder).status()["interrupted"] is True
    cli("train", *GROUP_NORM, "paths.runs=sharded")
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    assert_same_result(folder, one)


def test_sharded_ranks_continue_what_one_process_began(computed):
    cli, one, _ = computed
    process = cli.start("train", *GROUP_NORM, "paths.runs=begun")
    folder = cli.folder / "begun" / one.name
    wait_for(lambda: steps(folder) >= 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    cli("train", *GROUP_NORM, "trainer=fsdp", "trainer.devices=2", "paths.runs=begun")
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    assert_same_result(folder, one)


RAISES = """
import pytorch_lightning as pl

class Raises(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 2:
            raise ValueError("the second rank has had enough")
"""


def test_a_rank_that_raises_ends_the_job_with_its_traceback(cli):
    (cli.folder / "raising.py").write_text(RAISES)
    process = cli.start(
        "train", *GROUP_NORM, "trainer.devices=2", "paths.runs=raising", "+callbacks.raises._target_=raising.Raises"
    )
    seen = {}
    wait_for(lambda: seen.update(ranks_of(process)) or len(seen) == 2, process)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    (folder,) = [f for f in (cli.folder / "raising").iterdir() if (f / "status.json").is_file()]
    for text in (err, (folder / "train.log").read_text()):
        assert 'raise ValueError("the second rank has had enough")' in text
        assert "rank 1 failed: ValueError: the second rank has had enough" in text
    assert err.count("Traceback") == 1, "the traceback of that rank alone"
    assert Run(folder).status()["state"] == "failed"
    assert "the second rank has had enough" in Run(folder).status()["error"]
    assert not any(map(alive, seen.values()))
