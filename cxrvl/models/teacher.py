"""How does a teacher network follow a student without ever being trained?"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cxrvl.errors import ConfigError

_RATES = ("drop_prob", "drop_rate", "p")
"""Under these names modules of torch, torchvision and timm keep the share of what they drop while training."""
_DROPPING = ("Drop", "StochasticDepth")


def make_teacher(student: nn.Module) -> nn.Module:
    """Return a copy of a student with the same weights, no gradients and nothing dropped, in evaluation mode.

    Whoever holds it as a submodule calls `.eval()` on it after its own `.train()`: a teacher in training mode would
    normalise by the statistics of its batch.
    """
    teacher = copy.deepcopy(student).requires_grad_(False)
    for module in teacher.modules():
        _drop_nothing(module)
    return teacher.eval()


def _drop_nothing(module: nn.Module) -> None:
    dropping = any(word in type(module).__name__ for word in _DROPPING)
    for name in _RATES:
        value = getattr(module, name, None)
        if isinstance(value, float) and (dropping or name != "p"):
            setattr(module, name, 0.0)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float, buffers: bool = True) -> None:
    """Move the teacher's weights to momentum * teacher + (1 - momentum) * student, in place.

    Args:
        momentum: in [0, 1]; 1 leaves the teacher as it is.
        buffers: average the running statistics of normalisation too, and copy counters; False, as released, averages
            the parameters alone, which is the same for a network without running statistics.

    Raises:
        ConfigError: a momentum outside its range, or another network.
    """
    if not 0 <= momentum <= 1:
        raise ConfigError(f"teacher momentum is {momentum}; expected 0 to 1")
    theirs, mine = list(teacher.parameters()), list(student.parameters())
    counted = (list(teacher.buffers()), list(student.buffers())) if buffers else ([], [])
    if len(theirs) != len(mine) or len(counted[0]) != len(counted[1]):
        raise ConfigError(
            f"the teacher has {len(theirs)} weights, the student {len(mine)}; expected the same network: make_teacher makes it"
        )
    averaged: list[tuple[Tensor, Tensor]] = list(zip(theirs, mine, strict=True))
    for followed, value in zip(*counted, strict=True):
        if followed.is_floating_point():
            averaged.append((followed, value))
        else:
            followed.copy_(value)
    average: Any = get_ema_multi_avg_fn(momentum)
    average([followed for followed, _ in averaged], [value for _, value in averaged], 0)
