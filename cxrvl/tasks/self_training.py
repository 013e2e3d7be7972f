"""How does a student learn from few labelled and many unlabelled images, with a teacher that follows it?

DISTL (Park et al., Nature Communications 2022): self-distillation (DINO), self-training on a teacher's pseudo-labels
and correction by labels, generation after generation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError
from cxrvl.losses.dino import DinoLoss
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.losses.pseudo_labels import PseudoLabelLoss
from cxrvl.models.self_training import SelfTrainingNetwork, ViewOutputs
from cxrvl.models.teacher import make_teacher
from cxrvl.tasks.base import Batch, StepOutput, Task, device_count
from cxrvl.tasks.classification import mean_auroc
from cxrvl.tasks.gradients import clip_each
from cxrvl.tasks.inspection import stop_if_not_finite
from cxrvl.tasks.schedules import ReleasedSchedule
from cxrvl.tasks.teaching import Momentum, Teaching, checksum
from cxrvl.tasks.watching import CollapseWatch, PseudoLabelWatch, spread

LABELLED, UNLABELLED = "labelled", "unlabelled"


class StudentAndTeacher(NamedTuple):
    """logits and teacher_logits (B, L) of one batch."""

    logits: Tensor
    teacher_logits: Tensor


@dataclass(frozen=True)
class Roles:
    """Which view of an image serves for what.

    pseudo_label: shown to whoever makes the pseudo-label. classes: the student is to name the labels in it.
    teacher: shown to the teacher, in self-distillation; the student sees all views there.
    """

    pseudo_label: str
    classes: str
    teacher: tuple[str, ...]


class SelfTraining(Task):
    """One generation of self-training, or supervised training of the same network (generation 0 of the data).

    With unlabelled images U and labelled ones L in a step, the loss is

        dino_weight * D(U) + self_training_weight * a(e) * S(U) + labelled_weight * C(L)

    where D is the DINO loss over all views, S the loss against pseudo-labels, C the cross-entropy against labels and
    a(e) = ramp * (e + 1) / E in epoch e of E. A stream that a step does not hold contributes nothing. The three weights
    are independent: dino_weight=1 with self_training_weight=0 still learns the labels. The released lambda is
    dino_weight = lambda and the two others 1 - lambda, with dino_on_labelled.

    A batch is that of `SelfTrainingDataModule`; schedules count the steps its `clock` names: the unlabelled ones, or, in
    generation 0, the labelled ones. The teacher follows the student after these alone.

    Args:
        model: the student; the teacher is a copy of it.
        views: `ViewSet` that draws views of stored images, by name.
        roles: `pseudo_label`, `classes`: a view each; `teacher`: a list of views.
        labelled_loss: callable (logits, targets) -> scalar over the known labels.
        pseudo_labels: loss against pseudo-labels; may be None where self_training_weight is 0.
        dino: DINO loss with its centre; may be None where dino_weight is 0.
        teacher_momentum: (step, total steps) -> share of the teacher's weights kept.
        teacher_buffers: the teacher averages running statistics too.
        dino_weight, self_training_weight, labelled_weight: not negative.
        dino_on_labelled: D includes the labelled images, as released.
        ramp: a(e), see above; None = 1.
        classes_only_from: epoch from which the loss is a(e) S + C alone, unweighted (the release's ssl_epoch).
        schedule: learning rate and weight decay by step of the clock, as released; instead of `scheduler`.
        clip_each: largest gradient norm of each parameter by itself, as released; None = trainer.gradient_clip_val.
        freeze_prototypes: epochs in which the last layer of the feature head does not learn.
        decay_tokens: decay class token and position table of a transformer, as released.
        options: of `Task`.

    Raises:
        ConfigError: settings that leave the labels untaught, contradict each other, or name no view.
    """

    def __init__(
        self,
        model: SelfTrainingNetwork,
        views: Callable[..., list[Tensor]],
        roles: Mapping[str, Any],
        optimizer: Callable[..., Optimizer],
        labelled_loss: Callable[[Tensor, Tensor], Tensor],
        teacher_momentum: Momentum,
        pseudo_labels: PseudoLabelLoss | None = None,
        dino: DinoLoss | None = None,
        dino_weight: float = 0.5,
        self_training_weight: float = 0.5,
        labelled_weight: float = 1.0,
        dino_on_labelled: bool = False,
        ramp: float | None = None,
        classes_only_from: int | None = None,
        teacher_buffers: bool = True,
        schedule: ReleasedSchedule | None = None,
        clip_each: float | None = None,
        freeze_prototypes: int = 0,
        decay_tokens: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, optimizer, **options)
        self.views, self.roles = views, _roles(roles, views)
        self.labelled_loss, self.pseudo_labels, self.dino = labelled_loss, pseudo_labels, dino
        self.dino_weight, self.self_training_weight, self.labelled_weight = _weights(
            dino_weight, self_training_weight, labelled_weight, dino, pseudo_labels, model
        )
        self.dino_on_labelled, self.ramp, self.classes_only_from = dino_on_labelled, ramp, classes_only_from
        self.schedule, self.clip_each_at, self.freeze_prototypes = schedule, clip_each, freeze_prototypes
        self.decay_tokens = decay_tokens
        if schedule is not None and self.make_scheduler is not None:
            raise ConfigError("task.schedule and task.scheduler both set the learning rate; set one of them to null")
        if model.feature_head is not None and not dino_weight:
            model.feature_head.requires_grad_(False)  # no loss reaches it
        self.teacher = make_teacher(model)
        self.teaching = Teaching(teacher_momentum, teacher_buffers)
        self._initial = checksum(model), checksum(self.teacher)
        self._continued = False
        self.clock, self.clock_steps = UNLABELLED, 0
        self.collapse = CollapseWatch(dino.prototypes) if dino is not None and dino_weight else None
        self.watch: PseudoLabelWatch | None = None
        self._shown: dict[str, Tensor] = {}
        self._teacher_means: list[Tensor] = []
        self._ticks = False

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: student and teacher, whole and in pieces, and the centre of the DINO loss.

        Hand-over from one generation to the next is a map of them: `each` {student: student, teacher: teacher}, `teacher`
        {student: teacher, teacher: teacher}, `student` {student: student, teacher: student}; {centre: centre} keeps it.
        """
        pieces = {"encoder": "encoder.", "class_head": "class_head.", "feature_head": "feature_head."}
        return {
            "student": "model.", "teacher": "teacher.", "centre": "dino.centre",
            **{name: f"model.{prefix}" for name, prefix in pieces.items()},
            **{f"teacher_{name}": f"teacher.{prefix}" for name, prefix in pieces.items()},
        }  # fmt: skip

    # One step.

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Compute one batch: a training step of streams, or one batch of an evaluation."""
        if stage == "train":
            return self._train(batch)
        said = self.predict_step(batch, 0)
        loss = self.labelled_loss(said.logits, batch["target"])
        outputs = {"logits": said.logits, "teacher_logits": said.teacher_logits, "targets": batch["target"]}
        return StepOutput(loss, len(said.logits), {}, outputs)

    def predict_step(self, batch: Batch, batch_idx: int) -> StudentAndTeacher:
        """Return what student and teacher say of one batch of an evaluation."""
        return StudentAndTeacher(self.model(batch["image"]).logits.float(), self.teacher(batch["image"]).logits.float())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Run and log one training step; a loss that is no number ends the training, with its batch saved."""
        loss = super().training_step(batch, batch_idx)
        where = f"epoch {self.current_epoch}, batch {batch_idx}, rank {self.global_rank}"
        stop_if_not_finite(loss, self._terms, batch, Path(self.trainer.default_root_dir), where)
        return loss

    def _train(self, batch: Batch) -> StepOutput:
        unlabelled, labelled = batch.get(UNLABELLED), batch.get(LABELLED)
        classes_only = self.classes_only_from is not None and self.current_epoch >= self.classes_only_from
        with_dino = bool(self.dino_weight) and not classes_only
        weights = (1.0, 1.0) if classes_only else (self.self_training_weight, self.labelled_weight)
        distilled: list[tuple[Tensor, Tensor]] = []
        self._terms: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        if unlabelled is not None:
            loss, pair = self._unlabelled(unlabelled, with_dino)
            if loss is not None:
                total = total + weights[0] * self._ramp() * loss
            distilled += pair
        if labelled is not None:
            loss, pair = self._labelled(labelled, with_dino and self.dino_on_labelled)
            total = total + weights[1] * loss
            distilled += pair
        if distilled:
            total = total + self.dino_weight * self._distil(distilled)
        assert isinstance(total, Tensor), "settings without any loss are refused at the start"
        self._shown.update({name: value.detach() for name, value in self._terms.items()})
        size = len((unlabelled if unlabelled is not None else batch[LABELLED])["index"])
        return StepOutput(total, size, {**self._shown, **self._teacher_logs(total)})

    def _unlabelled(self, part: Batch, with_dino: bool) -> tuple[Tensor | None, list[tuple[Tensor, Tensor]]]:
        """Return the loss against pseudo-labels, and the scores of student and teacher for self-distillation."""
        teach = bool(self.self_training_weight)
        seen = self._see(part, classes=teach, dino=with_dino)
        makers = seen.teacher.logits
        if self.watch is not None and len(makers):
            self.watch.see(makers, part["withheld"])
        loss = None
        if teach:
            assert self.pseudo_labels is not None
            loss, used = self.pseudo_labels(seen.student.logits.float(), makers.float())
            self._terms["self_training"], self._terms["pseudo_labels_used"] = loss, used
        return loss, seen.scores()

    def _labelled(self, part: Batch, with_dino: bool) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        seen = self._see(part, classes=True, dino=with_dino, pseudo=False)
        loss = self.labelled_loss(seen.student.logits.float(), part["target"])
        if isinstance(self.labelled_loss, MultilabelLoss):
            loss = self.over_devices(loss, self.labelled_loss.terms(part["target"]))
        self._terms["labelled"] = loss
        return loss, seen.scores()
