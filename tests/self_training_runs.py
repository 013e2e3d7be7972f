"""Small self-trainings in this process: a config, the task and data it describes, and a training that can be watched."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.modules import SelfTrainingDataModule
from cxrvl.runs.trainer import build_data, build_task, build_trainer, quieten, set_up_process
from cxrvl.tasks import SelfTraining

TINY = (
    "data.source.images=160", "data.store.size=32", "data.batch_size=8", "data.labelled_batch_size=4",
    "data.label_fraction=0.3", "task.views.groups.local.count=2", "model.feature_head.prototypes=32",
    "model.feature_head.hidden=16", "model.class_head.hidden=16", "trainer.max_epochs=2", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "evaluation=none", "logger=none",
)  # fmt: skip
NETWORK = ("data=phantom_self_training", "model=distl_resnet10_narrow")
VIT = ("data=phantom_self_training", "model=distl_vit_micro", "model.backbone.depth=2", "model.backbone.drop_path=0.0")
RELEASED = (
    "data.ratio=null", "data.correction_every=5", "task.dino_weight=0.5", "task.self_training_weight=0.5",
    "task.labelled_weight=0.5", "task.dino_on_labelled=true", "task.scheduler=null", "task/teacher_momentum=release",
    "task.schedule={_target_:cxrvl.tasks.released.ReleasedSchedule,peak:1e-3,final:1e-6,warmup_epochs:1}",
    "task.clip_each=3.0", "task.teacher_momentum.start=0.9",
)  # fmt: skip
"""Everything of the released setting but its views, which would take most of the time."""


def config_of(folder: Path, *overrides: str, network: tuple[str, ...] = NETWORK) -> dict[str, Any]:
    """A config whose stores and runs lie in a folder."""
    chosen = [word for word in overrides if word.startswith("task=")] or ["task=self_training"]
    rest = [word for word in overrides if not word.startswith("task=")]
    return resolved(compose_config([*network, *chosen, *TINY, *rest, f"paths.stores={folder}/stores"]))


class Stepwise(pl.Callback):
    """Keeps a copy of something after every step: `what(task)` by name of the stream that clocked or corrected."""

    def __init__(self, what) -> None:
        self.what, self.seen = what, []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.seen.append((tuple(batch), self.what(task)))


def fit(
    config: dict[str, Any], folder: Path, *callbacks: pl.Callback, task: SelfTraining | None = None, resume=None
) -> tuple[SelfTraining, SelfTrainingDataModule, pl.Trainer]:
    """Train as a run does, without its folder."""
    quieten()
    set_up_process(config)
    data, task = build_data(config), task or build_task(config)
    trainer = build_trainer(config, folder, list(callbacks), task.heads_take_turns(data))
    trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    return task, data, trainer


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


HAND_OVER = {
    "each": {"student": "student", "teacher": "teacher"},
    "teacher": {"student": "teacher", "teacher": "teacher"},
    "student": {"student": "student", "teacher": "student"},
}
