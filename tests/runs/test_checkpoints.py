"""What is left on the disk after a fault, what training continues from, and what is refused."""

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from cxrvl.errors import ConfigError, RunError, WeightsError
from cxrvl.files import write_yaml
from cxrvl.runs import origin
from cxrvl.runs.averaging import MovingAverage, averaged
from cxrvl.runs.checkpoints import CheckpointKeeper, load_into, resume_point, used_weights
from cxrvl.runs.store import Run

CONFIG = {
    "data": {"batch_size": 4}, "model": {"groups": 8, "width": 16}, "task": {}, "callbacks": {}, "seed": 0, "threads": 1,
    "trainer": {"max_epochs": 2, "accumulate_grad_batches": 1}, "init_from": None, "paths": {"runs": "runs"},
}  # fmt: skip


class Regression(pl.LightningModule):
    """The smallest training that has an optimiser with a state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, index):
        return (self.layer(batch[0]) - batch[1]).square().mean()

    def validation_step(self, batch, index):
        self.log("val/loss", (self.layer(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.1)


@pytest.fixture
def fit(tmp_path):
    """Train for some steps, continued from where `resume_point` says, and return the weights."""

    def fit(steps=-1, written_by=None, every_steps=1, more=(), **settings):
        torch.manual_seed(1)
        images = torch.randn(4, 3).repeat(8, 1)  # eight batches alike: this loader does not continue where it was
        loader = DataLoader(TensorDataset(images, images.sum(1, keepdim=True)), batch_size=4)
        keeper = CheckpointKeeper(tmp_path, "val/loss", "min", 1e9, every_steps, written_by)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=2, max_steps=steps, callbacks=[keeper, *more], num_sanity_val_steps=0,
            enable_model_summary=False, **{**quiet, **settings},
        )  # fmt: skip
        module = Regression()
        trainer.fit(module, loader, loader, ckpt_path=resume_point(tmp_path, written_by), weights_only=True)
        return module.layer.weight.detach().clone()

    return fit


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_two_resume_points_stay_and_never_three(fit, tmp_path, monkeypatch):
    seen = []
    real = torch.save

    def save(state, file):
        real(state, file)
        seen.append(len([p for p in tmp_path.iterdir() if {"last", "previous", "next"} & set(p.name.split("."))]))

    monkeypatch.setattr(torch, "save", save)
    fit(5)
    assert (step_of(tmp_path / "previous.ckpt"), step_of(tmp_path / "last.ckpt")) == (4, 5)
    assert max(seen) == 2
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("operation", range(6))
def test_killed_while_a_resume_point_is_replaced_one_is_left(fit, tmp_path, monkeypatch, operation):
    fit(3)
    count = 0

    class Killed(BaseException):
        pass

    def counted(real):
        def call(path, *arguments, **options):
            nonlocal count
            if path.suffix in (".ckpt", ".tmp") and path.name not in ("best.ckpt", "final.ckpt"):
                if count == operation:
                    raise Killed
                count += 1
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        with pytest.raises(Killed):
            fit(5)
    assert resume_point(tmp_path) is not None
    assert step_of(resume_point(tmp_path)) >= 3


def test_a_truncated_resume_point_is_replaced_by_the_one_before_it(fit, tmp_path, caplog):
    undisturbed = fit()
    for path in tmp_path.iterdir():
        path.unlink()
    fit(5)
    cut(tmp_path / "last.ckpt")
    with caplog.at_level(logging.WARNING):
        assert resume_point(tmp_path) == tmp_path / "previous.ckpt"
    assert "last.ckpt cannot be read" in caplog.text
    assert "continuing from the resume point before it, previous.ckpt" in caplog.text
    before = (tmp_path / "previous.ckpt").read_bytes()
    fit(5)  # one step, whose resume point must not push the broken one into the place of the good one
    assert (tmp_path / "previous.ckpt").read_bytes() == before
    assert step_of(tmp_path / "last.ckpt") == 5
    assert torch.equal(fit(), undisturbed)


def test_two_broken_resume_points_are_refused(fit, tmp_path):
    fit(5)
    for name in ("last.ckpt", "previous.ckpt"):
        cut(tmp_path / name)
    with pytest.raises(
        RunError, match=r"last\.ckpt cannot be read.*previous\.ckpt.*remove both to start this run afresh"
    ):
        resume_point(tmp_path)
    (tmp_path / "previous.ckpt").unlink()
    with pytest.raises(RunError, match=r"last\.ckpt cannot be read.*remove it to start this run afresh"):
        resume_point(tmp_path)
    (tmp_path / "last.ckpt").unlink()
    assert resume_point(tmp_path) is None


def test_a_resume_point_of_another_config_is_refused_with_the_keys(fit, tmp_path):
    own = origin.origin("aaaa", CONFIG)
    other = origin.origin("bbbb", {**CONFIG, "model": {"groups": 16, "width": 16}, "seed": 3})
    fit(5, written_by=own)
    assert resume_point(tmp_path, own) == tmp_path / "last.ckpt"
    with pytest.raises(RunError) as error:
        resume_point(tmp_path, other)
    message = str(error.value)
    assert "run aaaa under another config, not by run bbbb" in message
    assert "model.groups is 8 there and 16 here, seed is 0 there and 3 here" in message
    assert "width" not in message
    assert "remove it to start this run afresh" in message
    with pytest.raises(RunError, match="the data differ"):
        resume_point(tmp_path, {**own, "run_id": "cccc"})
    with pytest.raises(RunError, match=r"science_version is \d+ there and 99 here"):
        resume_point(tmp_path, {**own, "run_id": "cccc", "science_version": 99})


def test_a_resume_point_that_names_no_config_is_refused(fit, tmp_path):
    fit(5)
    with pytest.raises(RunError, match="does not say which config wrote it"):
        resume_point(tmp_path, origin.origin("aaaa", CONFIG))


def test_final_weights_of_another_run_are_refused_with_the_keys(fit, tmp_path):
    fit(written_by=origin.origin("aaaa", CONFIG))
    run = Run(tmp_path / "bbbb")
    write_yaml(run.folder / "config.yaml", {**CONFIG, "seed": 7})
    module = Regression()
    for name in ("final.ckpt", "best.ckpt"):
        with pytest.raises(RunError, match="seed is 0 there and 7 here; remove run bbbb"):
            load_into(module, tmp_path / name, run)
        load_into(module, tmp_path / name, Run(tmp_path / "aaaa"))
        load_into(module, tmp_path / name)


def test_best_weights_that_are_gone_are_not_replaced_by_others(fit, tmp_path):
    """Only a run that never validated is judged by its final weights where the best ones are asked for."""
    fit(limit_val_batches=0)
    run = Run(tmp_path)
    for file in tmp_path.glob("*.ckpt"):  # as they lie in a run's folder
        run.checkpoints.mkdir(exist_ok=True)
        file.rename(run.checkpoints / file.name)
    assert used_weights(run, "best") == run.checkpoints / "final.ckpt"
    for file in run.checkpoints.iterdir():
        file.unlink()
    fit()
    for file in tmp_path.glob("*.ckpt"):
        file.rename(run.checkpoints / file.name)
    assert used_weights(run, "best") == run.checkpoints / "best.ckpt"
    (run.checkpoints / "best.ckpt").unlink()
    with pytest.raises(WeightsError, match=r"best.ckpt, which this run has written; remove run .* and train it again"):
        used_weights(run, "best")
    assert used_weights(run, "final") == run.checkpoints / "final.ckpt"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),  # the eighth ends the epoch
        ({"accumulate_grad_batches": 3}, [1, 2]),  # three, three and two batches
        ({"val_check_interval": 4}, [1, 2, 3, 5, 6, 7]),  # a validation follows the fourth
        ({"val_check_interval": 3, "check_val_every_n_epoch": None}, [1, 2, 4, 5, 7]),
    ],
)
def test_resume_points_are_written_where_training_continues_exactly(fit, monkeypatch, settings, steps):
    saved = []
    replace = CheckpointKeeper._replace_resume_point

    def watched(self, state):
        saved.append(state["global_step"])
        replace(self, state)

    monkeypatch.setattr(CheckpointKeeper, "_replace_resume_point", watched)
    fit(**settings)
    ends = -(-8 // settings.get("accumulate_grad_batches", 1))
    assert [step for step in saved if step <= ends] == steps


def test_sharded_weights_are_gathered_for_every_checkpoint(fit, tmp_path, monkeypatch):
    """A sharded strategy's ranks hold parts; what is written is what the strategy gathers."""
    whole = {"layer.weight": torch.full((1, 3), 7.0), "layer.bias": torch.zeros(1)}
    strategy = pl.strategies.SingleDeviceStrategy
    monkeypatch.setattr(strategy, "lightning_module_state_dict", lambda self: whole)
    fit(3)
    for name in ("last.ckpt", "final.ckpt"):
        written = torch.load(tmp_path / name, weights_only=True)["state_dict"]
        assert torch.equal(written["layer.weight"], whole["layer.weight"])


class Recorder(pl.Callback):
    """The weights after every step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append(pl_module.layer.weight.detach().clone())


def kept(folder, name="final.ckpt"):
    return torch.load(folder / name, weights_only=True)["state_dict"]["layer.weight"]


def test_averaged_weights_are_what_is_kept(fit, tmp_path):
    recorder = Recorder()
    fit(more=[recorder, MovingAverage(decay=0.9)])
    mean, after = recorder.weights[0], []
    for weight in recorder.weights[1:]:
        mean = 0.9 * mean + 0.1 * weight
        after.append(mean)
    torch.testing.assert_close(kept(tmp_path), after[-1])
    torch.testing.assert_close(kept(tmp_path, "best.ckpt"), after[-1])  # the average comes nearer with every step
    assert not torch.allclose(kept(tmp_path), recorder.weights[-1], atol=1e-3)


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999])
def test_an_average_leaves_whole_numbers_and_what_stays_the_same(decay):
    bytes_of_a_hash = torch.arange(256, dtype=torch.uint8)
    counter = torch.tensor(70_001)
    frozen = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for value in (bytes_of_a_hash, counter, frozen):
        average = value.clone()
        for step in range(50):
            average.copy_(averaged(average, value, torch.tensor(step), decay))
        assert torch.equal(average, value)
    torch.testing.assert_close(
        averaged(torch.zeros(1), torch.ones(1), torch.tensor(1), decay), torch.tensor([1 - decay])
    )


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ConfigError, match=r"callbacks\.ema\.decay"):
        MovingAverage(decay)


def test_an_average_goes_on_where_it_stopped(fit, tmp_path):
    fit(more=[MovingAverage(decay=0.9)])
    whole = kept(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    fit(5, more=[MovingAverage(decay=0.9)])
    fit(more=[MovingAverage(decay=0.9)])
    torch.testing.assert_close(kept(tmp_path), whole)
