"""How far are a student's views of an image from the teacher's (DINO), and what keeps them from all being alike?

Caron et al., ICCV 2021 (arXiv:2104.14294), section 3.1, as DISTL uses it (distl.md section 1.3).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cxrvl.errors import ConfigError


class DinoLoss(nn.Module):
    """Cross-entropy from each teacher view to every other student view, averaged over the pairs and the images.

    The teacher's scores are centred by `centre` (1, K), which follows the mean of its outputs by `update_centre`: the
    caller says when, after the loss of a step. Computed in float32 under autocast.
    prototypes: K. centre_momentum: share of the old centre that an update keeps, in [0, 1].
    Raises ConfigError for a temperature that is not above 0.
    """

    centre: Tensor

    def __init__(
        self,
        prototypes: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        if isinstance(prototypes, bool) or not isinstance(prototypes, int) or prototypes < 1:
            raise ConfigError(
                f"DINO loss: prototypes={prototypes}; expected a whole number of at least 1. A model without a feature head "
                "has none: task.dino=null task.dino_weight=0"
            )
        for name, value in (("student", student_temperature), ("teacher", teacher_temperature)):
            if not value > 0:
                raise ConfigError(f"DINO loss: {name}_temperature={value}; expected a number above 0")
        if not 0 <= centre_momentum <= 1:
            raise ConfigError(f"DINO loss: centre_momentum={centre_momentum}; expected 0 to 1")
        self.prototypes = prototypes
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(1, prototypes))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        teacher_views: Sequence[int] = (0, 1),
        teacher_temperature: float | None = None,
    ) -> Tensor:
        """Return the scalar loss; no gradient reaches the teacher.

        Args:
            student: scores (V*B, K) of V views, view-major.
            teacher: scores (T*B, K) of T of these views, view-major.
            teacher_views: which student views they are, T of 0..V-1.
            teacher_temperature: of this call, for a schedule; None = the loss's own.

        Raises:
            ConfigError: shapes that do not belong together, or no pair of different views.
        """
        views = list(teacher_views)
        batch, left = divmod(len(teacher), len(views)) if views else (0, 1)
        if left or not batch or len(student) % batch or max(views) >= len(student) // batch or min(views) < 0:
            raise ConfigError(
                f"DINO loss: student scores {tuple(student.shape)}, teacher scores {tuple(teacher.shape)} of the views "
                f"{views}; expected (V*B, K), (T*B, K) and T view numbers below V"
            )
        temperature = self.teacher_temperature if teacher_temperature is None else teacher_temperature
        targets = self.probabilities(teacher, temperature).unflatten(0, (len(views), batch))
        pairs = sum(view != other for view in views for other in range(len(student) // batch))
        if not pairs:
            raise ConfigError("DINO loss: the teacher's only view is the student's only view; give the student more")
        sums: Tensor = _PairSum.apply(student, targets, tuple(views), self.student_temperature)
        return sums / (pairs * batch)

    @torch.no_grad()
    def probabilities(self, teacher: Tensor, temperature: float | None = None) -> Tensor:
        """Return the teacher's centred and sharpened probabilities (T*B, K) of its scores (T*B, K)."""
        centred = _at_least_single(teacher) - self.centre
        return centred.div_(self.teacher_temperature if temperature is None else temperature).softmax(-1)

    @torch.no_grad()
    def update_centre(self, teacher: Tensor) -> None:
        """Move the centre towards the mean of the teacher's scores (T*B, K), over all processes."""
        mean = teacher.mean(0, keepdim=True, dtype=self.centre.dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(mean)
            mean /= torch.distributed.get_world_size()
        self.centre.lerp_(mean, 1 - self.centre_momentum)


def _at_least_single(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


class _PairSum(torch.autograd.Function):
    """Sum over the pairs and images of the cross-entropy, one view at a time, keeping the scores and nothing as large.

    The cross-entropy is linear in the target, so a view meets the sum of the targets it is compared with once. Plain
    autograd would keep two more arrays of the scores' size, in float32, for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, targets: Tensor, views: tuple[int, ...], temperature: float) -> Tensor:
        ctx.save_for_backward(student, targets)
        ctx.views, ctx.temperature = views, temperature
        total = targets.new_zeros(())
        every = targets.sum(0)
        for view, scores in enumerate(student.unflatten(0, (-1, targets.shape[1]))):
            target, _ = _target(targets, every, views, view)
            if target is not None:
                total -= (_at_least_single(scores).div(temperature).log_softmax(-1) * target).sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        student, targets = ctx.saved_tensors
        result = torch.zeros_like(student)
        every = targets.sum(0)
        by_view = zip(
            student.unflatten(0, (-1, targets.shape[1])), result.unflatten(0, (-1, targets.shape[1])), strict=True
        )
        for view, (scores, out) in enumerate(by_view):
            target, weight = _target(targets, every, ctx.views, view)
            if target is not None:
                own = _at_least_single(scores).div(ctx.temperature).softmax(-1)
                out.copy_(own.mul_(weight).sub_(target).mul_(gradient / ctx.temperature))
        return result, None, None, None


def _target(targets: Tensor, every: Tensor, views: tuple[int, ...], view: int) -> tuple[Tensor | None, int]:
    """Return the sum of the targets (B, K) that a student view is compared with, and how many they are."""
    others = [i for i, teacher_view in enumerate(views) if teacher_view != view]
    if len(others) == len(views):
        return every, len(views)
    return (targets[others].sum(0) if others else None), len(others)
