"""Do all data modules train in Lightning's own loop, and does a stopped training see what an unbroken one sees?"""

import pytest
import pytorch_lightning as pl
import torch

from cxrvl.data.modules import ClassificationDataModule, ImageReportDataModule, ReportDataModule, SelfTrainingDataModule
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.transforms import Pipeline, Resize

TEXT = {"default": {"policy": "both", "style": {"synonyms": 1.0, "shuffle": 1.0}}}


def cohort(name="phantom", seed=5, images=48):
    return PhantomSource(images=images, seed=seed, size=40, reports="prose", name=name)


class Watcher(pl.LightningModule):
    """Learns nothing and notes every batch it is given."""

    def __init__(self, plain):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.plain, self.seen, self.validated = plain, [], 0

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, self.plain(batch)))
        return (self.weight**2).sum()

    def validation_step(self, batch, batch_idx):
        self.validated += len(batch["index"])

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=0.1)


class Keep(pl.Callback):
    """Writes a resume point in the middle of an epoch, as the runs do."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def build(kind, options):
    if kind == "report":
        return ReportDataModule(cohort(), 4, text=TEXT, bucket_batches=3, seed=2)
    if kind == "pairs":
        return ImageReportDataModule(**{**options, "source": cohort(), "text": TEXT, "pairing": "random_view"})
    if kind == "mixture":
        source = Mixture([cohort("a"), cohort("b", seed=6)], weights=[2, 1], epoch_length=30)
        return ClassificationDataModule(**{**options, "source": source})
    transforms = {"evaluate": Pipeline([Resize(24)])}
    return SelfTrainingDataModule(
        **{**options, "source": cohort(images=90), "transforms": transforms, "label_fraction": 0.4},
        labelled_batch_size=2, ratio=0.45,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["report", "pairs", "mixture", "self_training"])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(kind, image_options, plain, tmp_path):
    options = {**image_options, "batch_size": 4, "labels": ["Effusion", "Cardiomegaly"]}

    def trained(steps, resume=None, stop=None):
        watcher = Watcher(plain)
        trainer = pl.Trainer(
            max_epochs=3, max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
            callbacks=[Keep(tmp_path / "stopped.ckpt", stop)],
        )  # fmt: skip
        data = build(kind, options)
        trainer.fit(watcher, datamodule=data, ckpt_path=resume, weights_only=True)
        return watcher, len(data.train_dataloader())

    _, per_epoch = trained(1)
    assert 3 < per_epoch < 10, "the stop is inside the second epoch"
    stop = per_epoch + 2
    whole, _ = trained(stop + 4, stop=stop)
    assert [epoch for epoch, _ in whole.seen] == [step // per_epoch for step in range(stop + 4)]
    assert whole.validated
    resumed, _ = trained(stop + 4, resume=tmp_path / "stopped.ckpt")
    assert resumed.seen == whole.seen[stop:]
