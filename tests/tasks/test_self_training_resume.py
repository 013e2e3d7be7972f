"""A generation that is continued anywhere ends as one that was never stopped, and two processes train as one."""

import shutil
import socket

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from self_training_runs import RELEASED, TINY, VIT, config_of, copied, fit, same

from cxrvl.runs.checkpoints import RESUME, CheckpointKeeper
from cxrvl.tracking.history import TIMINGS, read_history

ORDERS = {"interleaved": (), "released": RELEASED, "fixmatch": ("task=fixmatch",)}
APART = {"dino_only": ("task=dino_only",), "turns": (*RELEASED, "task.dino_on_labelled=false")}
"""Steps that leave one of the heads out, each another."""


class KeepAt(pl.Callback):
    """Copies the resume point of one step away, as a kill after it would leave it behind."""

    def __init__(self, folder, step: int) -> None:
        self.folder, self.step = folder, step

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == self.step:
            shutil.copy(self.folder / RESUME, self.folder / "kept.ckpt")


@pytest.mark.parametrize("order", ORDERS)
def test_a_generation_continued_inside_an_epoch_ends_bit_identical(tmp_path, order):
    config = config_of(tmp_path, *ORDERS[order])
    keeper = CheckpointKeeper(tmp_path, "val/auroc", "max", every_steps=1)
    whole, _, trainer = fit(config, tmp_path, keeper, KeepAt(tmp_path, 5))
    assert trainer.global_step > 5
    undisturbed = copied(whole)
    kept = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    assert kept["global_step"] == 5, "in the second epoch, or inside a correction"
    continued, _, later = fit(config, tmp_path, resume=tmp_path / "kept.ckpt")
    assert later.global_step == trainer.global_step
    assert same(copied(continued), undisturbed)
    assert continued.teaching.state_dict() == whole.teaching.state_dict()
    for name, value in trainer.callback_metrics.items():
        assert torch.equal(later.callback_metrics[name], value), name


DDP = (*VIT, "task=self_training", *TINY, "trainer.precision=64-true", "tracking.pictures_every=null")


def together(cli, count, *command):
    """Run a command in so many processes, started from outside as torchrun does: without a new interpreter for each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(count):
        placed = cli_of(cli)
        placed.environment |= {
            "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0",
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        }  # fmt: skip
        ranks.append(placed.start(*command))
    for process in ranks:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out}\n{err}"


def cli_of(cli):
    """The same command line with an environment of its own."""
    return type(cli)(cli.folder)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["interleaved", "released", "fixmatch", "dino_only", "turns"])
def test_two_processes_train_as_one(tmp_path, cli, order):
    """Double precision, no drop-path: the same losses to 1e-5, since views are drawn per image and sums per batch."""
    words = (ORDERS | APART)[order]
    other = any(word.startswith("task=") for word in words)
    command = ("train", *(word for word in DDP if not (word[:5] == "task=" and other)), *words)
    cli(*command, "paths.runs=one")
    together(cli, 2, *command, "paths.runs=two", "trainer=ddp", "trainer.devices=2")
    (one,), (two,) = ((tmp_path / name).glob("[0-9a-f]*") for name in ("one", "two"))
    assert one.name == two.name, "the run id does not depend on devices"
    mine, theirs = (
        [{k: v for k, v in row.items() if not k.startswith(TIMINGS)} for row in read_history(folder)]
        for folder in (one, two)
    )
    assert len(mine) == len(theirs) > 4
    for ours, other in zip(mine, theirs, strict=True):
        assert ours.keys() == other.keys()
        for name in ours.keys() & {"train/loss", "train/dino", "train/self_training", "train/labelled", "val/loss",
                                         "train/labelled_images", "train/corrections"}:  # fmt: skip
            np.testing.assert_allclose(ours[name], other[name], rtol=0, atol=1e-5, err_msg=name)
    weights = [torch.load(folder / "checkpoints/final.ckpt", weights_only=True)["state_dict"] for folder in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=1e-5, msg=name)
