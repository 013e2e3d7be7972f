"""Schedules, parameter groups, the plateau's end, the orthogonality term and the validation metric of the tasks."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxrvl.errors import ConfigError
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.models.acm import ACM
from cxrvl.models.classifier import ClassifierOutput
from cxrvl.tasks import Classification, Task
from cxrvl.tasks.base import step_seed
from cxrvl.tasks.classification import mean_auroc
from cxrvl.tasks.schedules import cosine


class Small(nn.Module):
    """A classifier of 8 channels, with or without an ACM."""

    def __init__(self, compare=True):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.context = ACM(8, groups=2) if compare else nn.Identity()
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, images):
        maps = self.last(self.context(self.norm(self.first(images))))
        return ClassifierOutput(maps.mean((2, 3)), maps)


def task_of(model, **options):
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    return Classification(**{"model": model, "loss": MultilabelLoss(), "optimizer": sgd, **options})


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(6, 1, 12, 12, generator=generator),
        "target": torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [-1, 1], [math.nan, 0]], dtype=torch.float32),
        "index": torch.arange(6),
    }


# Schedules.


def rates(total, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = cosine(optimizer, total, **options)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array([*found, optimizer.param_groups[0]["lr"]])


def test_cosine_without_warmup_is_half_a_cosine():
    expected = 2.0 * 0.5 * (1 + np.cos(np.pi * np.arange(11) / 10))
    np.testing.assert_allclose(rates(10), expected, atol=1e-12)


def test_cosine_warms_up_and_ends_where_it_should():
    found = rates(20, warmup=0.25, final=0.1)
    np.testing.assert_allclose(found[:5], [0.4, 0.8, 1.2, 1.6, 2.0])
    assert found[5] == 2.0
    assert (np.diff(found[5:]) < 0).all()
    assert found[-1] == pytest.approx(0.2)
    half = 5 + (20 - 5) / 2
    assert (found[int(half)] + found[int(half) + 1]) / 2 == pytest.approx(0.2 + 1.8 * 0.5, abs=1e-9)


@pytest.mark.parametrize("options", [{"warmup": 1.0}, {"warmup": -0.1}, {"final": 2}, {"final": -0.1}])
def test_cosine_refuses_impossible_shares(options):
    with pytest.raises(ConfigError, match=f"task.scheduler.{next(iter(options))}"):
        rates(10, **options)


def test_the_task_tells_a_schedule_how_long_the_run_is():
    task = task_of(Small(), scheduler=partial(cosine, warmup=0.5))
    task._trainer = SimpleNamespace(estimated_stepping_batches=8)
    configured = task.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "step"
    assert configured["lr_scheduler"]["scheduler"].get_last_lr() == [0.1 / 4, 0.1 / 4]


# Optimiser.


def test_norms_and_biases_do_not_decay_unless_asked():
    model = Small()
    for parameter in model.last.parameters():
        parameter.requires_grad = False
    decayed, flat = task_of(model).parameter_groups()
    assert flat["weight_decay"] == 0.0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in flat["params"])
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in decayed["params"] + flat["params"]} == trainable
    assert any(p is model.norm.weight for p in flat["params"])
    (every,) = task_of(model, decay_norm_and_bias=True).parameter_groups()
    assert {id(p) for p in every["params"]} == trainable
    optimizer = task_of(model).configure_optimizers()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


def test_an_optimiser_that_cannot_be_built_is_a_config_error():
    task = task_of(Small(), optimizer=partial(torch.optim.SGD, lr=-1.0))
    with pytest.raises(ConfigError, match=r"task.optimizer .*Invalid learning rate"):
        task.configure_optimizers()


def test_an_unknown_monitor_mode_is_refused():
    with pytest.raises(ConfigError, match="'up'; expected min or max"):
        task_of(Small(), monitor_mode="up")


# Plateau.


def plateau_task(**options):
    schedule = partial(ReduceLROnPlateau, mode="max", factor=0.1, patience=1)
    task = task_of(Small(), scheduler=schedule, decay_norm_and_bias=True, **options)
    task._trainer = SimpleNamespace(callback_metrics={}, should_stop=False)
    return task, task.configure_optimizers()


def test_the_second_drop_of_the_rate_ends_training():
    task, optimizer = plateau_task(stop_after_drops=2)
    history = []
    for value in (0.6, 0.7, 0.7, 0.7, 0.8, 0.8, 0.8, 0.8):
        if task.trainer.should_stop:
            break
        task.trainer.callback_metrics = {"val/auroc": torch.tensor(value)}
        task.on_train_epoch_end()
        history.append((round(optimizer.param_groups[0]["lr"], 6), task.drops))
    assert history == [(0.1, 0), (0.1, 0), (0.1, 0), (0.01, 1), (0.01, 1), (0.01, 1), (0.001, 2)]
    assert task.trainer.should_stop


def test_without_a_limit_drops_go_on_and_without_a_validation_nothing_happens():
    task, optimizer = plateau_task()
    task.on_train_epoch_end()
    assert task.plateau.last_epoch == 0
    task.trainer.callback_metrics = {"val/auroc": torch.tensor(0.5)}
    for _ in range(7):
        task.on_train_epoch_end()
    assert task.drops == 3
    assert not task.trainer.should_stop
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_plateau_schedule_is_saved_and_taken_up_again():
    task, _ = plateau_task(stop_after_drops=2)
    task.trainer.callback_metrics = {"val/auroc": torch.tensor(0.5)}
    for _ in range(3):
        task.on_train_epoch_end()
    checkpoint = {}
    task.on_save_checkpoint(checkpoint)
    other, _ = plateau_task(stop_after_drops=2)
    other.on_load_checkpoint(checkpoint)
    assert other.drops == task.drops == 1
    assert other.plateau.state_dict() == task.plateau.state_dict()
    early = task_of(Small(), scheduler=partial(ReduceLROnPlateau, mode="max"))
    early.on_load_checkpoint(checkpoint)
    early._trainer = SimpleNamespace()
    early.configure_optimizers()
    assert early.plateau.best == task.plateau.best, "also when the schedule is built after loading"


# The step.


def test_the_orthogonality_term_is_added_while_training_only(batch):
    torch.manual_seed(0)
    task = task_of(Small(), orthogonality=0.5, orthogonality_reduction="per_sample_abs")
    plain = task.loss(task.model(batch["image"]).logits, batch["target"])
    train, val = task.step(batch, "train"), task.step(batch, "val")
    term = train.logs["orthogonality"]
    assert term > 0
    torch.testing.assert_close(train.loss, plain + 0.5 * term)
    torch.testing.assert_close(val.loss, plain)
    torch.testing.assert_close(val.logs["orthogonality"], term)
    assert train.outputs == {}
    assert set(val.outputs) == {"logits", "targets"}
    assert train.batch_size == 6


def test_a_term_of_weight_zero_is_logged_but_not_learnt(batch):
    task = task_of(Small(), orthogonality=0.0)
    out = task.step(batch, "train")
    assert "orthogonality" in out.logs
    torch.testing.assert_close(out.loss, task.loss(task.model(batch["image"]).logits, batch["target"]))


def test_a_network_without_acm_trains_with_the_same_task(batch):
    out = task_of(Small(compare=False)).step(batch, "train")
    assert out.logs == {}
    out.loss.backward()


def test_the_base_task_leaves_the_step_to_its_subclasses(batch):
    with pytest.raises(NotImplementedError):
        Task(Small(), partial(torch.optim.SGD, lr=0.1)).step(batch, "train")


# The metric.


def test_mean_auroc_leaves_out_what_is_undefined():
    nan = math.nan
    targets = np.array([[1, 1, nan, 1], [0, 1, nan, -1], [1, 1, nan, 0], [0, 1, 1, nan]], dtype=np.float32)
    logits = np.array([[2, 0, 0, 1], [1, 0, 0, 9], [3, 0, 0, 2], [2.5, 0, 0, -9]], dtype=np.float32)
    found = mean_auroc(logits, targets)
    # Label 0: of four pairs one is the wrong way round; label 1 and 2 have one class; label 3: the only pair is wrong.
    assert found == {"auroc": pytest.approx((0.75 + 0.0) / 2), "auroc_labels": 2.0}
    undefined = mean_auroc(logits[:, 1:3], targets[:, 1:3])
    assert math.isnan(undefined["auroc"])
    assert undefined["auroc_labels"] == 0.0


def test_the_metric_is_of_the_whole_split_not_a_mean_over_batches():
    task = task_of(Small())
    outputs = {"logits": torch.arange(4.0)[:, None], "targets": torch.tensor([0.0, 1, 0, 1])[:, None]}
    assert task.validation_metrics(outputs)["auroc"] == pytest.approx(0.75)


# Seeds.


def test_a_step_seed_depends_on_its_place_alone():
    places = [(s, e, b, r) for s in (0, 1) for e in (0, 1, 11) for b in (0, 1, 11, 111) for r in (0, 1)]
    seeds = [step_seed(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(0, 0, 0, 0) == 0x58D79CC9F6B4141A, "other seeds change every run: raise SCIENCE_VERSION"
