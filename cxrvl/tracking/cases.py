"""Which radiographs of a validation are worth a look? Those whose least well predicted label costs most."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Case:
    """One radiograph as a network saw it.

    Attributes:
        row: of the study table.
        image: (C, H, W) float32 in [0, 1], on the CPU.
        fov: (4,) the rectangle of the native image that the input covers; None where augmentation moved it.
        loss: cross-entropy of the worst label in nats, NaN where none was asked for.
        label: number of that label, -1 where none was asked for.
        probability, target: of that label.
    """

    row: int
    image: Tensor
    fov: Tensor
    loss: float = math.nan
    label: int = -1
    probability: float = math.nan
    target: float = math.nan

    @classmethod
    def of(cls, batch: Mapping[str, Any], number: int, image: Tensor, **scores: Any) -> "Case":
        """Return one image of a batch; its field of view is kept as the batch states it."""
        return cls(int(batch["index"][number]), image, batch["fov"][number].float().cpu(), **scores)


def label_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each label alone (B, L), -inf where the target is uncertain or not stated."""
    known = (targets == 0) | (targets == 1)
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, targets, 0.0).float(), reduction="none"
    )
    return torch.where(known, losses, -math.inf)


def worst(kept: list[Case], batch: Mapping[str, Any], logits: Tensor, targets: Tensor, count: int) -> list[Case]:
    """Return the `count` worst cases of those kept and those of a batch, worst first, each image once.

    logits, targets: (B, L). Images are copied from the device only if they are among the worst.
    """
    values, labels = label_losses(logits.detach(), targets).max(dim=1)
    values, labels = values.cpu(), labels.cpu()
    order = values.argsort(descending=True, stable=True)[:count].tolist()
    bar = kept[-1].loss if len(kept) == count and kept else -math.inf
    new = [
        Case.of(
            batch, number, batch["image"][number].detach().float().cpu(),
            loss=float(values[number]), label=int(labels[number]),
            probability=float(logits[number, labels[number]].float().sigmoid()),
            target=float(targets[number, labels[number]]),
        )
        for number in order
        if values[number] > bar
    ]  # fmt: skip
    return sorted([*kept, *new], key=lambda case: -case.loss)[:count]
