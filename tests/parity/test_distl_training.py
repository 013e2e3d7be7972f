"""Do the released DISTL code and the real task in the real trainer take the same steps?"""

from functools import partial
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from distl_networks import build_network
from parity_cases import Case, cases
from torch import Tensor, nn
from torch.utils.data import Dataset

from cxrvl.data.modules.base import as_is
from cxrvl.data.modules.correction import CorrectionOrder
from cxrvl.data.modules.loading import ResumableLoader
from cxrvl.data.modules.self_training import Clock, Shown
from cxrvl.interop.distl import translate_network
from cxrvl.losses.dino import DinoLoss
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.losses.pseudo_labels import SoftPseudoLabels
from cxrvl.models.self_training import ViewOutputs
from cxrvl.models.weights import load_weights
from cxrvl.tasks import SelfTraining
from cxrvl.tasks.released import ReleasedSchedule
from cxrvl.tasks.teaching import CosineMomentum

NAMES = ["original", "global", *(f"local.{i}" for i in range(8))]
LABELLED_FROM = 1000


class GivenViews:
    """Views that a case holds, found by the images' numbers."""

    names = NAMES

    def __init__(self, unlabelled: list[Tensor], labelled: list[Tensor]) -> None:
        self.streams = unlabelled, labelled

    def sizes(self, height, width):
        return [tuple(view.shape[-2:]) for view in self.streams[0]]

    def only(self, names):
        assert set(names) == set(NAMES), "the release shows every view to the student"
        return self

    def __call__(self, images, draw):
        numbers = draw.keys % LABELLED_FROM
        stream = self.streams[int(draw.keys[0]) // LABELLED_FROM]
        return [view[numbers].double() for view in stream]


class InOrder(CorrectionOrder):
    """As it is, but unshuffled: epoch after epoch through the rows, a part of them in each."""

    def __init__(self, labelled: int, rows: int, epochs: int, batch: int, every: int) -> None:
        per_epoch = rows // epochs
        super().__init__(
            np.arange(LABELLED_FROM, LABELLED_FROM + labelled), np.arange(per_epoch), batch, 0,
            labelled_batch_size=batch, every=every,
        )  # fmt: skip
        self.labelled.drawn = lambda: self.labelled.rows

    def drawn(self):
        return self.rows + self.epoch * len(self.rows)


class Rows(Dataset):
    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __getitems__(self, step):
        stream = "unlabelled" if step.labelled is None else "labelled"
        index = torch.tensor(step.labelled or step.unlabelled)
        targets = self.labels[index % LABELLED_FROM] if step.labelled else torch.full((len(index), 1), torch.nan)
        return {stream: {"image": index, "index": index, "target": targets, "withheld": targets}}


class Data(pl.LightningDataModule):
    def __init__(self, order: InOrder, labels: Tensor) -> None:
        super().__init__()
        self.batches, self.labels = order, labels

    def setup(self, stage):
        self.trainer.reload_dataloaders_every_n_epochs = 1

    def clock(self):
        return Clock("unlabelled", self.batches.unlabelled_batches)

    def shown(self, epochs):
        one_pass = len(self.batches.labelled.rows)
        corrections = -(-self.batches.unlabelled_batches * epochs // self.batches.every)
        return Shown(corrections * one_pass, one_pass, corrections)

    def images_per_device(self):
        return {}

    def train_dataloader(self):
        self.batches.set_epoch(self.trainer.current_epoch)
        return ResumableLoader(Rows(self.labels), self.batches, collate_fn=as_is)


class Observer(pl.Callback):
    """Keeps the terms of every step, its rates, and what else a test asks to see."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        self.step = {"stream": next(iter(batch)), "epoch": trainer.current_epoch}

    def on_before_optimizer_step(self, trainer, task, optimizer):
        self.step |= {name: value.detach().clone() for name, value in task._terms.items()}
        self.step["gradients"] = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in task.model.named_parameters()
        }
        self.step["lr"] = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.step["loss"] = outputs["loss"]
        self.step["centre"] = task.dino.centre.clone()
        self.step["momentum"] = task.teaching.last
        self.seen.append(self.step)

    def of(self, stream: str) -> list[dict[str, Any]]:
        return [step for step in self.seen if step["stream"] == stream]


def fit(task: SelfTraining, data: Data, epochs: int, *callbacks: pl.Callback, precision: str = "64-true") -> None:
    trainer = pl.Trainer(
        accelerator="cpu", precision=precision, max_epochs=epochs, callbacks=list(callbacks), logger=False,
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False, log_every_n_steps=1,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)


def released(model: nn.Module, views: GivenViews, config: dict[str, Any], **options: Any) -> SelfTraining:
    """The task in the faithful setting."""
    lam = config["lam"]
    given: dict[str, Any] = {
        "roles": {"pseudo_label": "original", "classes": "global", "teacher": ["original", "global"]},
        "labelled_loss": MultilabelLoss(), "pseudo_labels": SoftPseudoLabels(), "dino_weight": lam,
        "self_training_weight": 1 - lam, "labelled_weight": 1 - lam, "dino_on_labelled": True, "ramp": 2.0,
        "classes_only_from": config["ssl_epoch"], "teacher_buffers": False, "decay_tokens": True,
    }  # fmt: skip
    return SelfTraining(model, views, **{**given, **options})


@pytest.mark.parametrize("description", cases("distl_train_steps"))
def test_training(description):
    case = Case(description)
    config = case.config
    network = build_network(config, 1)
    states = {
        who: translate_network(
            {k.removeprefix(f"{who}/"): v for k, v in case.weights().items() if k.startswith(f"{who}/")}, "the case"
        )
        for who in ("student", "teacher")
    }
    load_weights(network, states["student"], origin="the case")
    views = GivenViews(
        [*_by_view(case.tensors["in/images_global"]), *_by_view(case.tensors["in/images_local"])],
        [*_by_view(case.tensors["in/labelled_global"]), *_by_view(case.tensors["in/labelled_local"])],
    )
    task = released(
        network, views, config,
        optimizer=partial(torch.optim.AdamW, lr=0.0, weight_decay=config["weight_decay"][0]),
        schedule=ReleasedSchedule(config["base_lr"], config["min_lr"], config["warmup_epochs"], config["weight_decay"]),
        teacher_momentum=CosineMomentum(*config["momentum_teacher"]), dino=DinoLoss(config["K"]),
        clip_each=config["clip_grad_per_tensor"], freeze_prototypes=config["freeze_last_layer_epochs"],
    )  # fmt: skip
    load_weights(task.teacher, states["teacher"], origin="the case")
    labels = case.tensors["in/labels"].reshape(-1, 1)
    rows = config["epochs"] * config["iters_per_epoch"] * config["batch"]
    order = InOrder(len(labels), rows, config["epochs"], config["batch"], config["correction_every"])
    observer = Observer()
    fit(task, Data(order, labels), config["epochs"], observer)
    unlabelled, labelled = observer.of("unlabelled"), observer.of("labelled")
    for name, steps, key in (
        ("out/unlabelled_dino", unlabelled, "dino"), ("out/unlabelled_selftrain", unlabelled, "self_training"),
        ("out/labelled_dino", labelled, "dino"), ("out/labelled_ce", labelled, "labelled"),
    ):  # fmt: skip
        case.expect(name, torch.stack([step[key] for step in steps]))
    case.expect("out/center", task.dino.centre)
    case.expect("out/lr", torch.tensor([step["lr"] for step in unlabelled], dtype=torch.float64))
    case.expect("out/momentum", torch.tensor([step["momentum"] for step in unlabelled], dtype=torch.float64))
    for who, ended in (("student", task.model), ("teacher", task.teacher)):
        theirs = {k.removeprefix(f"out/{who}/"): v for k, v in case.tensors.items() if k.startswith(f"out/{who}/")}
        names = dict(zip(translate_network(theirs, who), theirs, strict=True))
        for ours, value in ended.state_dict().items():
            case.expect(f"out/{who}/{names[ours]}", value)
    case.finish()


def _by_view(images: Tensor) -> list[Tensor]:
    """(batches, views, B, C, h, w) to one (batches * B, C, h, w) per view."""
    return [images[:, view].flatten(0, 1) for view in range(images.shape[1])]


class Scripted(nn.Module):
    """Says what a case holds, whatever it is shown: (V*B, K) features and (2*B, 1) logits of each stream."""

    def __init__(self, case: Case, who: str) -> None:
        super().__init__()
        self.said = nn.ParameterDict({
            f"{stream}_{what}": nn.Parameter(case.tensors[f"in/{stream}/{who}_{what}"])
            for stream in ("unlabelled", "labelled") for what in ("out", "cls")
        })  # fmt: skip
        self.feature_head = nn.Identity()
        self.encoder = nn.Module()
        self.encoder.backbone = nn.Identity()
        self.feature_head.prototypes = case.config["K"]
        self.batch = case.config["batch"]

    def views(self, views, class_views, features=True):
        stream = "labelled" if float(views[0].flatten()[0]) else "unlabelled"
        scores, logits = self.said[f"{stream}_out"], self.said[f"{stream}_cls"].unflatten(0, (2, self.batch))
        chosen = logits[list(class_views)].flatten(0, 1) if len(class_views) else logits[:0].flatten(0, 1)
        return ViewOutputs(scores if features is not False else None, chosen, scores.detach())


@pytest.mark.parametrize("description", cases("distl_step_losses"))
def test_step_losses(description):
    case = Case(description)
    config = case.config
    batch, epochs = config["batch"], config["epoch"] + 1
    views = GivenViews([torch.zeros(batch * epochs, 1)] * 10, [torch.ones(batch, 1)] * 10)
    student, teacher = Scripted(case, "student"), Scripted(case, "teacher")
    task = released(
        student, views, config, optimizer=partial(torch.optim.SGD, lr=0.0), teacher_momentum=CosineMomentum(1.0, 1.0),
        ramp=2.0 * epochs / config["epochs"],  # this training is shorter than the case's, whose epoch is looked at
        dino=DinoLoss(config["K"], config["student_temp"], config["teacher_temp"], config["center_momentum"]),
    )  # fmt: skip
    task.teacher = teacher.requires_grad_(False)
    task.teaching.follow = lambda *_: None  # what they say is given, so neither has weights to follow

    class CentreOfTheCase(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            pl_module.dino.centre.copy_(case.tensors["in/center"])

    labels = case.tensors["in/labels"].reshape(-1, 1)
    observer = Observer()
    fit(task, Data(InOrder(batch, batch * epochs, epochs, batch, 1), labels), epochs, observer, CentreOfTheCase(),
        precision="32-true")  # fmt: skip
    for stream, term, name in (("unlabelled", "self_training", "selftrain"), ("labelled", "labelled", "ce")):
        (step,) = [step for step in observer.of(stream) if step["epoch"] == config["epoch"]]
        case.expect(f"out/{stream}/loss_dino", step["dino"])
        case.expect(f"out/{stream}/loss_{name}", step[term])
        case.expect(f"out/{stream}/loss_total", step["loss"])
        case.expect(f"out/{stream}/center", step["centre"])
        for what in ("out", "cls"):
            case.expect(f"grad/{stream}/student_{what}", step["gradients"][f"said.{stream}_{what}"])
    case.expect("out/unlabelled/alpha", torch.tensor(2.0 * (config["epoch"] + 1) / config["epochs"]))
    case.finish()
