"""How does a student learn from few labelled and many unlabelled images, with a teacher that follows it?

DISTL (Park et al., Nature Communications 2022): self-distillation (DINO), self-training on a teacher's pseudo-labels
and correction by labels, generation after generation.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError
from cxrvl.losses.dino import DinoLoss
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.losses.pseudo_labels import PseudoLabelLoss
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.teacher import make_teacher
from cxrvl.tasks.base import Batch, StepOutput, Task, device_count
from cxrvl.tasks.classification import mean_auroc
from cxrvl.tasks.gradients import clip_each
from cxrvl.tasks.inspection import stop_if_not_finite
from cxrvl.tasks.optimizer_memory import OptimizerMemory
from cxrvl.tasks.released import ReleasedSchedule
from cxrvl.tasks.self_training_checks import check_losses, check_single_images, check_sizes
from cxrvl.tasks.self_training_parts import Roles, Seen, StudentAndTeacher, Views, single
from cxrvl.tasks.teacher_schedules import ramp as ramp_in
from cxrvl.tasks.teacher_schedules import teacher_temperature
from cxrvl.tasks.teaching import Momentum, Teaching, checksums
from cxrvl.tasks.watching import CollapseWatch, PseudoLabelWatch, spread

log = logging.getLogger(__name__)
LABELLED, UNLABELLED = "labelled", "unlabelled"


class SelfTraining(Task):
    """One generation of self-training, or supervised training of the same network (generation 0 of the data).

    With unlabelled images U and labelled ones L in a step, the loss is

        dino_weight * D(U) + self_training_weight * a(e) * S(U) + labelled_weight * C(L)

    where D is the DINO loss over all views, S the loss against pseudo-labels, C the cross-entropy against labels and
    a(e) = ramp * (e + 1) / E in epoch e of E. A stream that a step does not hold contributes nothing. The three weights
    are independent: with dino_weight=1 and self_training_weight=0 the labels are still learnt. The released lambda is
    dino_weight = lambda and the two others 1 - lambda, with dino_on_labelled.

    A batch is that of `SelfTrainingDataModule`; schedules count the steps its `clock` names: the unlabelled ones, or, in
    generation 0, the labelled ones. The teacher follows the student after these alone.

    Args:
        model: the student; the teacher is a copy of it.
        views: draws the views of stored images, by name.
        roles: pseudo_label and classes, a view each, and teacher, a list of views; see `Roles`.
        labelled_loss: callable (logits, targets) -> scalar over the known labels.
        teacher_momentum: (step, steps of the generation) -> share of the teacher's weights kept.
        pseudo_labels: loss against pseudo-labels; may be None where self_training_weight is 0.
        pseudo_label_source: teacher | student, who makes them.
        dino: DINO loss with its centre; may be None where dino_weight is 0.
        dino_weight, self_training_weight, labelled_weight: at least 0.
        dino_on_labelled: D includes the labelled images, as released.
        ramp: of a(e), see above; None = no ramp, a(e) = 1.
        classes_only_from: epoch from which the loss is a(e) S + C alone, unweighted (the release's ssl_epoch).
        teacher_buffers: the teacher averages running statistics too.
        schedule: learning rate and weight decay by step of the clock, as released; instead of `scheduler`.
        clip_each: largest gradient norm of each parameter by itself, as released; None = trainer.gradient_clip_val.
        freeze_prototypes: epochs in which the last layer of the feature head does not learn.
        decay_tokens: decay class token and position table of a transformer too, as released.
        keep_optimizer: offer the moments of Adam as the part `optimizer`, which the next generation may start from; False,
            as released: every generation begins without.
        teacher_temperature_warmup: start and epochs: the teacher's temperature goes from start to dino's own over so many
            epochs, as DINO's; None = dino's own throughout, as the released DISTL.
        options: of `Task`.

    Raises:
        ConfigError: settings that leave the labels untaught, contradict each other, or name no view.
    """

    def __init__(
        self,
        model: SelfTrainingNetwork,
        views: Views,
        roles: Mapping[str, Any],
        optimizer: Callable[..., Optimizer],
        labelled_loss: Callable[[Tensor, Tensor], Tensor],
        teacher_momentum: Momentum,
        pseudo_labels: PseudoLabelLoss | None = None,
        pseudo_label_source: str = "teacher",
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
        keep_optimizer: bool = False,
        teacher_temperature_warmup: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, optimizer, **options)
        self.model: SelfTrainingNetwork = model
        self.views, self.roles = views, Roles.of(roles, views.names)
        self.labelled_loss, self.pseudo_labels, self.dino = labelled_loss, pseudo_labels, dino
        self.dino_weight, self.self_training_weight = dino_weight, self_training_weight
        self.labelled_weight, self.pseudo_label_source = labelled_weight, pseudo_label_source
        self.dino_on_labelled, self.ramp, self.classes_only_from = dino_on_labelled, ramp, classes_only_from
        self.schedule, self.clip_each_at, self.freeze_prototypes = schedule, clip_each, freeze_prototypes
        self.decay_tokens, self.temperature_warmup = decay_tokens, teacher_temperature_warmup
        check_losses(self)
        check_sizes(self)
        if model.feature_head is not None and not dino_weight:
            model.feature_head.requires_grad_(False)  # no loss reaches it
        self.teacher: SelfTrainingNetwork = make_teacher(model)  # type: ignore[assignment]
        self.optimizer_memory = OptimizerMemory(model) if keep_optimizer else None
        self.teaching = Teaching(teacher_momentum, teacher_buffers)
        self.clock, self.clock_steps = UNLABELLED, 0
        self.collapse = CollapseWatch(dino.prototypes) if dino is not None and dino_weight else None
        self.watch = PseudoLabelWatch()
        self._view_sets: dict[frozenset[str], Views] = {}
        self._initial = checksums(model), checksums(self.teacher)
        self._continued = self._ticks = False
        self.labelled_images, self._one_pass = 0, 1
        self._terms: dict[str, Tensor] = {}
        self._shown: dict[str, Tensor] = {}
        self._teacher_means: list[Tensor] = []

    LIGHT: ClassVar[bool] = True
    OUTPUTS: ClassVar[tuple[str, ...]] = StudentAndTeacher._fields

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: student and teacher, whole and in pieces, the centre of the DINO loss, the optimiser's moments.

        Handing a generation over to the next is a map of them: `each` is {student: student, teacher: teacher}, `teacher`
        {student: teacher, teacher: teacher}, `student` {student: student, teacher: student}; {centre: centre} keeps the
        centre, which starts at 0 otherwise, and {optimizer: optimizer} the moments, where both have `keep_optimizer`.
        `backbone` and `teacher_backbone` are the networks inside the encoders: what a dual tower's `image_tower` takes.
        """
        pieces = ("encoder", "class_head", "feature_head")
        return {
            "student": "model.", "teacher": "teacher.", "centre": "dino.centre", "optimizer": "optimizer_memory.",
            **{name: f"model.{name}." for name in pieces},
            **{f"teacher_{name}": f"teacher.{name}." for name in pieces},
            "backbone": "model.encoder.backbone.", "teacher_backbone": "teacher.encoder.backbone.",
        }  # fmt: skip

    # One step.

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Compute one batch: a training step of one or two streams, or one batch of an evaluation."""
        if stage == "train":
            return self._train(batch)
        said = self.predict_step(batch, 0)
        loss = self.labelled_loss(said.logits, batch["target"])
        outputs = {"logits": said.logits, "teacher_logits": said.teacher_logits, "targets": batch["target"]}
        return StepOutput(loss, len(said.logits), {}, outputs)

    def predict_step(self, batch: Batch, batch_idx: int) -> StudentAndTeacher:
        """Return what student and teacher say of one batch of an evaluation."""
        student, teacher = self.model(batch["image"]), self.teacher(batch["image"])
        return StudentAndTeacher(single(student.logits), single(teacher.logits))

    def validation_metrics(self, outputs: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean AUROC of the student, of the teacher, and over how many labels."""
        targets = outputs["targets"].float().numpy()
        found = mean_auroc(outputs["logits"].float().numpy(), targets)
        found["teacher_auroc"] = mean_auroc(outputs["teacher_logits"].float().numpy(), targets)["auroc"]
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Run and log one training step; a loss that is no number ends the training, with its batch saved."""
        loss = super().training_step(batch, batch_idx)
        where = f"epoch {self.current_epoch}, batch {batch_idx}, rank {self.global_rank}"
        stop_if_not_finite(loss, self._terms, batch, Path(self.trainer.default_root_dir), where)
        return loss

    def _train(self, batch: Batch) -> StepOutput:
        unlabelled, labelled = batch.get(UNLABELLED), batch.get(LABELLED)
        only_classes = self.classes_only_from is not None and self.current_epoch >= self.classes_only_from
        distil = bool(self.dino_weight) and not only_classes
        teach, correct = (1.0, 1.0) if only_classes else (self.self_training_weight, self.labelled_weight)
        losses: list[Tensor] = []
        seen: list[Seen] = []
        self._terms = {}
        if unlabelled is not None:
            seen.append(self._see(unlabelled, classes=bool(teach), dino=distil, pseudo=True))
            if teach:
                losses.append(teach * self._ramp() * self._self_training(seen[-1]))
        if labelled is not None and (correct or (distil and self.dino_on_labelled)):
            seen.append(self._see(labelled, classes=bool(correct), dino=distil and self.dino_on_labelled, pseudo=False))
            if correct:
                losses.append(correct * self._correction(labelled, seen[-1]))
        distilled = [one for one in seen if one.scores is not None]
        if distilled:
            losses.append(self.dino_weight * self._distillation(distilled))
        if not losses:
            raise ConfigError(
                f"a step holds {', '.join(batch)} images, and no loss has a weight for them; set task.dino_weight or "
                "task.self_training_weight above 0, or train on labels alone with data.generation=0"
            )
        self._shown |= {name: value.detach() for name, value in self._terms.items()}
        shown = {"labelled_images": self.labelled_images, "corrections": self.labelled_images / self._one_pass}
        self._shown |= {name: torch.tensor(float(value)) for name, value in shown.items()}
        main = unlabelled if unlabelled is not None else batch[LABELLED]
        return StepOutput(torch.stack(losses).sum(), len(main["index"]), dict(self._shown))

    def _self_training(self, seen: Seen) -> Tensor:
        """Return the loss against pseudo-labels."""
        assert self.pseudo_labels is not None
        assert seen.pseudo_labels is not None
        loss, count = self.pseudo_labels(seen.logits, seen.pseudo_labels, seen.known)
        loss = self.over_devices(loss, count)
        self._terms |= {"self_training": loss, "pseudo_labels_used": count / seen.logits.numel()}
        return loss

    def _correction(self, part: Batch, seen: Seen) -> Tensor:
        """Return the loss against labels."""
        loss = self.labelled_loss(single(seen.logits), part["target"])
        self.labelled_images += len(part["target"]) * device_count()
        if self.pseudo_labels is not None:
            self.pseudo_labels.observe_labels(part["target"])
        if isinstance(self.labelled_loss, MultilabelLoss):
            loss = self.over_devices(loss, self.labelled_loss.terms(part["target"]))
        self._terms["labelled"] = loss
        return loss

    def _distillation(self, seen: Sequence[Seen]) -> Tensor:
        """Return the DINO loss, the mean over all images, and keep what the centre is to follow."""
        assert self.dino is not None
        places = [self.views.names.index(name) for name in self.roles.teacher]
        total, temperature = sum(one.images for one in seen), self._teacher_temperature()
        losses, teachers = [], []
        for one in seen:
            assert one.scores is not None
            student, teacher = one.scores
            losses.append(self.dino(student, teacher, places, temperature) * (one.images / total))
            teachers.append(teacher)
        scores = torch.cat(teachers)
        self._teacher_means.append(scores.mean(dim=0, keepdim=True, dtype=self.dino.centre.dtype))
        loss = torch.stack(losses).sum()
        self._terms["dino"] = loss
        if self._logs_are_due():
            embeddings = torch.cat([one.embeddings for one in seen])
            state = spread(scores, self.dino.centre, temperature, embeddings)
            self._terms |= state
            if self.collapse is not None:
                self.collapse.see(state, self.trainer.global_step)
        return loss

    def _see(self, part: Batch, *, classes: bool, dino: bool, pseudo: bool) -> Seen:
        """Draw the views of a stream and show them to student and teacher, to each what is asked of it.

        Args:
            classes: the student is to name labels; dino: both are to give scores; pseudo: pseudo-labels are wanted.
        """
        roles, every = self.roles, self.views.names
        wanted = set(every if dino else ()) | {roles.classes if classes else "", roles.pseudo_label if pseudo else ""}
        views = self._drawn(part, frozenset(wanted & set(every)))
        shown = list(every) if dino else [roles.classes] if classes else []
        seen = Seen(len(part["index"]), known=part.get("known"))
        student = None
        if shown:
            student = self.model.views([views[n] for n in shown], [shown.index(roles.classes)] if classes else [], dino)
            seen.logits, seen.embeddings = student.logits, student.embeddings
        by_teacher = pseudo and self.pseudo_label_source == "teacher"
        asked = list(roles.teacher) if dino else []
        asked += [roles.pseudo_label] if by_teacher and roles.pseudo_label not in asked else []
        with torch.no_grad():
            if asked:
                place = [asked.index(roles.pseudo_label)] if by_teacher else []
                taught = self.teacher.views([views[n] for n in asked], place, range(len(roles.teacher)) if dino else ())
                if student is not None and student.features is not None and taught.features is not None:
                    seen.scores = student.features, taught.features
                seen.pseudo_labels = taught.logits if by_teacher else None
            if pseudo and not by_teacher:
                seen.pseudo_labels = self.model.views([views[roles.pseudo_label]], [0], False).logits
        if seen.pseudo_labels is not None:
            self.watch.see(seen.pseudo_labels, part["withheld"])
        return seen

    def _drawn(self, part: Batch, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted views, and others of their kind, by name."""
        if wanted not in self._view_sets:
            self._view_sets[wanted] = self.views.only(wanted)
        views = self._view_sets[wanted]
        # Counted in steps, not epochs: the labelled images come up several times in one.
        draw = Draw(self.seed, self.trainer.global_step, part["index"])
        return dict(zip(views.names, views(part["image"], draw), strict=True))

    def drawn_views(self, batch: Batch, count: int, step: int) -> tuple[Batch, dict[str, Tensor]]:
        """Return one stream of a batch and all views of its first `count` images at an optimiser step, for pictures.

        Drawing again what a step drew is no cost to the training's randomness: views are a function of the place alone.
        """
        part = batch[UNLABELLED] if UNLABELLED in batch else batch[LABELLED]
        draw = Draw(self.seed, step, part["index"][:count])
        return part, dict(zip(self.views.names, self.views(part["image"][:count], draw), strict=True))

    def _ramp(self) -> float:
        """Return a(e)."""
        return 1.0 if self.ramp is None else ramp_in(self.current_epoch, self.trainer.max_epochs or 1, self.ramp)

    def _teacher_temperature(self) -> float:
        """Return the teacher's temperature in this epoch."""
        assert self.dino is not None
        own = self.dino.teacher_temperature
        if self.temperature_warmup is None:
            return own
        return teacher_temperature(
            self.current_epoch, self.temperature_warmup["start"], own, self.temperature_warmup["epochs"]
        )

    def _logs_are_due(self) -> bool:
        trainer: Any = self.trainer  # Lightning sets the period by name
        return bool((trainer.global_step + 1) % trainer.log_every_n_steps == 0)

    # What Lightning calls around a step.

    def on_fit_start(self) -> None:
        """Learn what schedules count, and refuse a teacher that was forgotten at the start.

        Raises:
            ConfigError: weights were given to the student alone, a ramp without epochs, labels that are to be learnt and
                are never shown, or batches too small for the network.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.clock, self.clock_steps = data.clock()
        if (self.trainer.max_epochs or -1) < 1:
            raise ConfigError("task=self_training counts epochs; set trainer.max_epochs, not trainer.max_steps alone")
        self._check_labels(data)
        check_single_images(self, data)
        if not self._continued:
            self._refuse_forgotten()

    def _refuse_forgotten(self) -> None:
        (student, teacher), (own, taught) = self._initial, (checksums(self.model), checksums(self.teacher))
        forgotten = [name for name in own if own[name] != student[name] and taught[name] == teacher[name]]
        if forgotten:
            raise ConfigError(
                f"init_from gives weights to the student and none to its teacher ({', '.join(forgotten)}), which would "
                "teach what it was drawn with; give both, by overrides as ~init_from.parts "
                "'+init_from.parts={student: student, teacher: student}', or a part of theirs, "
                f"'+init_from.parts={{{forgotten[0]}: {forgotten[0]}, teacher_{forgotten[0]}: {forgotten[0]}}}'"
            )

    def _check_labels(self, data: Any) -> None:
        """Refuse a training that is to learn labels and never shows any; warn of one that shows them at rate 0 alone."""
        epochs = self.trainer.max_epochs or 1
        shown, self._one_pass, corrections = data.shown(epochs)
        if not self.labelled_weight and self.classes_only_from is None:
            return
        steps = epochs * self.clock_steps
        if not shown:
            raise ConfigError(
                f"data.ratio={data.ratio} gives no labelled part in the {steps} steps of this training, so that no label is "
                f"learnt with task.labelled_weight={self.labelled_weight}; set data.ratio to at least {1 / steps:.2g}, or "
                "task.labelled_weight=0"
            )
        if self.schedule is not None and self.schedule.warmup_epochs and corrections == 1:
            log.warning(
                "the only labelled pass of this training follows its first step, where the learning rate is 0: no label is "
                "learnt from; data.correction_every=%s is more than its %d steps", data.correction_every, steps,
            )  # fmt: skip

    def heads_take_turns(self, data: Any) -> bool:
        """Return whether some step's loss leaves out a head that other steps train."""
        if not self.dino_weight:
            return False  # the feature head never learns, the class head in every step
        if self.classes_only_from is not None:
            return True
        teach, correct = bool(self.self_training_weight), bool(self.labelled_weight)
        for streams in data.streams:
            unlabelled, labelled = UNLABELLED in streams, LABELLED in streams
            classes = (unlabelled and teach) or (labelled and correct)
            features = unlabelled or (labelled and self.dino_on_labelled)
            if not (classes and features):
                return True
        return False

    def train(self, mode: bool = True) -> "SelfTraining":
        """Train the student; the teacher never normalises by its batch."""
        super().train(mode)
        self.teacher.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's pseudo-labels; Lightning does not come here where a run continues inside an epoch."""
        self.watch.empty()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step, and set the rates of the released schedule."""
        super().on_train_batch_start(batch, batch_idx)
        self._ticks = self.clock in batch
        if self.schedule is not None:
            step = self.teaching.step if self._ticks else max(self.teaching.step - 1, 0)
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.schedule.apply(optimizer, step, self.clock_steps, self._steps())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keep the prototypes from learning in the first epochs."""
        if self.current_epoch < self.freeze_prototypes and self.model.feature_head is not None:
            last_layer: Any = self.model.feature_head.last_layer
            for parameter in last_layer.parameters():
                parameter.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip every parameter by itself where the task says so; else as the trainer says."""
        if self.clip_each_at is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            clip_each(self.model.parameters(), self.clip_each_at)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let centre and teacher follow: here, since a resume point is taken before any later hook."""
        super().optimizer_step(*args, **kwargs)
        if self._teacher_means:
            assert self.dino is not None
            self.dino.update_centre(torch.cat(self._teacher_means))
            self._teacher_means = []
        if self._ticks:
            self.teaching.follow(self.teacher, self.model, self._steps())
        own = {"teacher_momentum": self.teaching.last, "teacher_retention": self.teaching.kept}
        self._shown |= {name: torch.tensor(value) for name, value in own.items()}

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule, the optimiser with the moments that were handed over."""
        configured = super().configure_optimizers()
        if self.optimizer_memory is not None:
            optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
            self.optimizer_memory.give(optimizer, self.model)
        return configured

    def on_validation_start(self) -> None:
        """Remember the moments: the best weights are written after a validation."""
        self._remember_moments()

    def _remember_moments(self) -> None:
        if self.optimizer_memory is not None and self.trainer.state.fn == TrainerFn.FITTING:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.optimizer_memory.take(optimizer, self.model)

    def on_train_epoch_end(self) -> None:
        """Log how good the epoch's pseudo-labels were, where the labels are known."""
        counts = self.watch.counts
        if counts is not None:
            if device_count() > 1:
                counts = counts.clone()
                torch.distributed.all_reduce(counts)
            self.log_dict({f"train/{name}": value for name, value in self.watch.scores(counts).items()})
        self._remember_moments()
        super().on_train_epoch_end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the place in the generation, and what was logged last."""
        super().on_save_checkpoint(checkpoint)
        shown = {name: value.cpu() for name, value in self._shown.items()}
        checkpoint["self_training"] = {
            "teaching": self.teaching.state_dict(), "shown": shown, "watch": self.watch.state(),
            "labelled_images": self.labelled_images,
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take all that up again."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint["self_training"]
        self.teaching.load_state_dict(state["teaching"])
        self.watch.load_state(state["watch"])
        self.labelled_images = state.get("labelled_images", 0)  # resume points of old do not count them
        self._shown, self._continued = dict(state["shown"]), True

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters with and without weight decay; the tokens of a transformer by `decay_tokens`."""
        tokens = set() if self.decay_tokens else {"cls_token", "pos_embed", "reg_token"}
        if self.decay_norm_and_bias or not tokens:
            return super().parameter_groups()
        decayed: list[torch.nn.Parameter] = []
        kept: list[torch.nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (kept if parameter.ndim < 2 or name.rpartition(".")[2] in tokens else decayed).append(parameter)
        return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]

    def _steps(self) -> int:
        """Return the steps of the clock in this generation."""
        return self.clock_steps * (self.trainer.max_epochs or 1)
