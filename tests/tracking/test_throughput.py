"""Speed, waiting and learning rates are measured over the right time, and never enter what is science."""

import time

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cxrvl.data.modules.loading import ResumableLoader, TrainOrder
from cxrvl.tracking.history import read_history
from cxrvl.tracking.loggers import HistoryLogger
from cxrvl.tracking.throughput import Throughput

WAIT, WORK = 0.02, 0.03


class SlowImages(torch.utils.data.Dataset):
    """Batches of four images and 24 tokens, each read in WAIT seconds."""

    def __len__(self):
        return 24

    def __getitems__(self, indices):
        time.sleep(WAIT)
        mask = torch.zeros(len(indices), 10, dtype=torch.int64)
        mask[:, :6] = 1
        return {"image": torch.zeros(len(indices), 1, 2, 2), "attention_mask": mask}


class Slow(pl.LightningModule):
    """A step of WORK seconds, a validation of half a second, two parameter groups and a schedule."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        time.sleep(WORK)
        loss = (self.a(batch["image"].flatten(1)) + self.b(batch["image"].flatten(1))).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        time.sleep(0.5)

    def configure_optimizers(self):
        groups = [{"params": self.a.parameters(), "name": "head"}, {"params": self.b.parameters(), "lr": 0.5}]
        optimizer = torch.optim.SGD(groups, lr=1.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(folder, loader, **options):
    trainer = pl.Trainer(
        max_epochs=2, log_every_n_steps=2, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=[Throughput()],
        logger=HistoryLogger(folder), **options,
    )  # fmt: skip
    trainer.fit(Slow(), loader, DataLoader([0]))
    return read_history(folder)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_speed_waiting_and_rates(tmp_path, accumulate):
    order = TrainOrder(torch.arange(24).numpy(), 4 * accumulate, seed=0, accumulate=accumulate)
    loader = ResumableLoader(SlowImages(), order, collate_fn=lambda batch: batch)
    history = fit(tmp_path, loader, accumulate_grad_batches=accumulate)
    measured = [row for row in history if "speed/data_wait" in row]
    assert [row["step"] for row in measured] == [row["step"] for row in history if "train/loss" in row]
    assert [row["step"] for row in measured] == list(range(1, 12 // accumulate, 2))
    for row in measured:
        assert row["learning_rate/head"] == 0.5 ** row["step"], "the rate of the step, not of the next one"
        assert row["learning_rate/1"] == 0.5 * 0.5 ** row["step"]
        assert row["speed/tokens_per_second"] == pytest.approx(6 * row["speed/images_per_second"])
        assert "memory/gpu_peak_gib" not in row
    typical = sorted(measured, key=lambda row: row["speed/images_per_second"])[len(measured) // 2]
    assert 4 / (WAIT + WORK) * 0.4 < typical["speed/images_per_second"] <= 4 / (WAIT + WORK) * 1.02
    assert 0.1 < typical["speed/data_wait"] < 0.7
    # Validation takes as long as ten steps: counted in, no epoch's first measurement would come near this.
    assert min(row["speed/images_per_second"] for row in measured) > 4 * 2 * accumulate / (
        0.5 + 2 * accumulate * (WAIT + WORK)
    )


def test_the_images_of_all_streams_of_a_step_count():
    counter, image = Throughput(), torch.zeros(3, 1, 2, 2)
    counter._count({"labelled": {"image": image[:1]}, "unlabelled": {"image": image}, "text": ["image"]})
    assert counter._images == 4


def test_a_loader_that_does_not_count_is_not_said_to_be_quick(tmp_path):
    loader = DataLoader([{"image": torch.zeros(1, 2, 2)}] * 8, batch_size=2)
    rows = fit(tmp_path, loader)
    assert any("speed/images_per_second" in row for row in rows)
    assert not any("speed/data_wait" in row or "speed/tokens_per_second" in row for row in rows)
