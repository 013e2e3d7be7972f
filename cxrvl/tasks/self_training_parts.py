"""Which views serve for what in self-training, and which settings of it make sense?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    from cxrvl.tasks.self_training import SelfTraining

SOURCES = ("teacher", "student")


class Views(Protocol):
    """Draws views: `names` in stacking order; a call returns the named ones, each (B, 1, h, w) float32 in [0, 1]."""

    names: list[str]

    def __call__(self, images: Tensor, draw: Draw, names: Sequence[str] | None = None) -> list[Tensor]: ...


class StudentAndTeacher(NamedTuple):
    """logits and teacher_logits (B, L) of one batch."""

    logits: Tensor
    teacher_logits: Tensor


def single(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass
class Seen:
    """What student and teacher said of one stream of a step.

    Attributes:
        images: B, how many.
        logits: (B, L) of the student; embeddings: (V*B, D) of the student.
        scores: (V*B, K) of the student and (T*B, K) of the teacher, for self-distillation.
        pseudo_labels: (B, L) as logits.
    """

    images: int
    logits: Tensor = field(default_factory=lambda: Tensor())
    embeddings: Tensor = field(default_factory=lambda: Tensor())
    scores: tuple[Tensor, Tensor] | None = None
    pseudo_labels: Tensor | None = None


@dataclass(frozen=True)
class Roles:
    """Which view of an image serves for what.

    pseudo_label: shown to whoever makes the pseudo-label. classes: the student is to name the labels in it.
    teacher: shown to the teacher in self-distillation, where the student sees all views.
    """

    pseudo_label: str
    classes: str
    teacher: tuple[str, ...]

    @classmethod
    def of(cls, roles: Mapping[str, Any], names: Sequence[str]) -> "Roles":
        """Return the roles a config names; ConfigError for a role or a view there is not."""
        if set(roles) != {"pseudo_label", "classes", "teacher"}:
            raise ConfigError(f"task.roles has the keys {sorted(roles)}; expected pseudo_label, classes and teacher")
        found = cls(roles["pseudo_label"], roles["classes"], tuple(roles["teacher"]))
        for view in (found.pseudo_label, found.classes, *found.teacher):
            if view not in names:
                raise ConfigError(f"task.roles: there is no view '{view}'{did_you_mean(view, names)}")
        return found


def check_losses(task: "SelfTraining") -> None:
    """Refuse settings of the losses that cannot be meant.

    Raises:
        ConfigError: as said.
    """
    weights = {
        "dino_weight": (task.dino_weight, task.dino, "dino"),
        "self_training_weight": (task.self_training_weight, task.pseudo_labels, "pseudo_labels"),
        "labelled_weight": (task.labelled_weight, task.labelled_loss, "labelled_loss"),
    }
    for name, (weight, loss, needed) in weights.items():
        if weight < 0:
            raise ConfigError(f"task.{name} is {weight}; expected at least 0")
        if weight and loss is None:
            raise ConfigError(f"task.{name} is {weight}, but task.{needed} is null; give the loss, or the weight 0")
    if not (task.self_training_weight or task.labelled_weight):
        raise ConfigError(
            "task.self_training_weight and task.labelled_weight are both 0, so nothing teaches the labels; "
            "DINO alone with labels is task.self_training_weight=0"
        )
    if task.dino_weight and task.model.feature_head is None:
        raise ConfigError(f"task.dino_weight is {task.dino_weight}, but model.feature_head is null; give one, or 0")
    if task.dino is not None and task.model.feature_head is not None:
        have = task.model.feature_head.prototypes
        if task.dino.prototypes != have:
            raise ConfigError(
                f"task.dino.prototypes is {task.dino.prototypes}, model.feature_head.prototypes {have}; "
                "set both alike: task.dino.prototypes=${model.feature_head.prototypes}"
            )
    if task.pseudo_label_source not in SOURCES:
        raise ConfigError(f"task.pseudo_label_source is {task.pseudo_label_source!r}; expected teacher or student")
    if task.schedule is not None and task.make_scheduler is not None:
        raise ConfigError("task.schedule and task.scheduler both set the learning rate; set one of them to null")
