"""Which settings of self-training make sense, and do the views fit the network?"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from cxrvl.config.numbers import number, whole
from cxrvl.errors import ConfigError
from cxrvl.losses.pseudo_labels import AlignedPseudoLabels
from cxrvl.models.vit import Vit

if TYPE_CHECKING:
    from cxrvl.tasks.self_training import SelfTraining

SOURCES = ("teacher", "student")
LABELLED_SIZE = "data.labelled_batch_size"
_LARGE = (4096, 4160)
"""Two sizes of stored images: a view that has the same size for both does not depend on them."""


def check_losses(task: "SelfTraining") -> None:
    """Refuse settings of the losses that cannot be meant.

    Raises:
        ConfigError: as said.
    """
    _check_weights(task)
    _check_numbers(task)
    _check_heads(task)
    if task.pseudo_label_source not in SOURCES:
        raise ConfigError(f"task.pseudo_label_source is {task.pseudo_label_source!r}; expected teacher or student")
    if task.schedule is not None and task.make_scheduler is not None:
        raise ConfigError("task.schedule and task.scheduler both set the learning rate; set one of them to null")
    if task.dino_weight and not task.roles.teacher:
        raise ConfigError(
            f"task.roles.teacher is empty with task.dino_weight={task.dino_weight}: the teacher sees no view to learn from; "
            "name its views, such as [original, global], or set task.dino_weight=0"
        )
    if task.dino_weight and len(task.views.names) == 1:
        raise ConfigError(
            f"task.views has the view '{task.views.names[0]}' alone with task.dino_weight={task.dino_weight}: teacher and "
            "student are compared in different views; give another, or set task.dino_weight=0"
        )


def _check_weights(task: "SelfTraining") -> None:
    weights = {
        "dino_weight": (task.dino_weight, task.dino, "dino"),
        "self_training_weight": (task.self_training_weight, task.pseudo_labels, "pseudo_labels"),
        "labelled_weight": (task.labelled_weight, task.labelled_loss, "labelled_loss"),
    }
    for name, (weight, loss, needed) in weights.items():
        number(f"task.{name}", weight, least=0)
        if weight and loss is None:
            raise ConfigError(f"task.{name} is {weight}, but task.{needed} is null; give the loss, or the weight 0")
    if not (task.self_training_weight or task.labelled_weight):
        raise ConfigError(
            "task.self_training_weight and task.labelled_weight are both 0, so nothing teaches the labels; "
            "DINO alone with labels is task.self_training_weight=0"
        )


def _check_numbers(task: "SelfTraining") -> None:
    whole("task.freeze_prototypes", task.freeze_prototypes, least=0)
    if task.classes_only_from is not None:
        whole("task.classes_only_from", task.classes_only_from, least=0)
    for name, value in (("ramp", task.ramp), ("clip_each", task.clip_each_at)):
        if value is not None:
            number(f"task.{name}", value, above=0)
    warmup = task.temperature_warmup
    if warmup is not None:
        if set(warmup) != {"start", "epochs"}:
            raise ConfigError(
                f"task.teacher_temperature_warmup has the keys {sorted(warmup)}; expected start and epochs"
            )
        number("task.teacher_temperature_warmup.start", warmup["start"], above=0)
        whole("task.teacher_temperature_warmup.epochs", warmup["epochs"], least=0)


def _check_heads(task: "SelfTraining") -> None:
    if task.dino_weight and task.model.feature_head is None:
        raise ConfigError(
            f"task.dino_weight is {task.dino_weight}, but model.feature_head is null; give one (model/feature_head=dino_8k), "
            "or train without self-distillation: task.dino=null task.dino_weight=0"
        )
    if task.dino is not None and task.model.feature_head is not None:
        have = task.model.feature_head.prototypes
        if task.dino.prototypes != have:
            raise ConfigError(
                f"task.dino.prototypes is {task.dino.prototypes}, model.feature_head.prototypes {have}; "
                "set both alike: task.dino.prototypes=${model.feature_head.prototypes}"
            )
    if isinstance(task.pseudo_labels, AlignedPseudoLabels):
        labels = getattr(task.model.class_head, "num_labels", None)
        counted = task.pseudo_labels.labelled.shape[1]
        if labels is not None and counted != labels:
            raise ConfigError(
                f"task.pseudo_labels.num_labels is {counted}, but the class head names {labels} label(s); "
                "set task.pseudo_labels.num_labels=${count:${data.labels}}"
            )


def check_sizes(task: "SelfTraining") -> None:
    """Refuse views whose sides the patch of a vision transformer does not divide, as far as stored images do not matter.

    Raises:
        ConfigError: as said.
    """
    backbone = task.model.encoder.backbone
    if not isinstance(backbone, Vit):
        return
    small, large = (task.views.sizes(side, side) for side in _LARGE)
    for name, size, other in zip(task.views.names, small, large, strict=True):
        if size == other and any(side % patch for side, patch in zip(size, backbone.patch_size, strict=True)):
            height, width = backbone.patch_size
            raise ConfigError(
                f"task.views: the view '{name}' has {size[0]} x {size[1]} px; expected multiples of the network's patch, "
                f"{height} x {width} px: set the size of its group (or data.input_size), or model.backbone.patch_size"
            )


def check_single_images(task: "SelfTraining", data: Any) -> None:
    """Refuse streams of one image per device where a BatchNorm would be left with one value to normalise.

    Args:
        data: a `SelfTrainingDataModule`.

    Raises:
        ConfigError: as said.
    """
    lonely = [key for key, images in data.images_per_device().items() if images == 1]
    if not lonely or not any(isinstance(module, _BatchNorm) for module in task.model.modules()):
        return
    sizes = dict(zip(task.views.names, task.views.sizes(data.spec.size, data.spec.size), strict=True))
    distil = task.dino_weight and (lonely[-1] != LABELLED_SIZE or task.dino_on_labelled)
    groups: dict[tuple[int, int], int] = {}
    for name in task.views.names if distil else [task.roles.classes]:
        groups[sizes[name]] = groups.get(sizes[name], 0) + 1
    shapes: Any = (
        copy.deepcopy(task.model).to("meta").train()
    )  # shapes alone: no statistics change, nothing is computed
    for (height, width), count in groups.items():
        try:
            shapes.views([torch.zeros(1, 1, height, width, device="meta")] * count, [0], False)
        except ValueError as error:
            raise ConfigError(
                f"{lonely[-1]} leaves one image per device, of which a BatchNorm of the network sees one value at "
                f"{height} x {width} px and cannot normalise it ({error}); raise {lonely[-1]}, use fewer devices or "
                "accumulated parts, or a network without BatchNorm"
            ) from error
