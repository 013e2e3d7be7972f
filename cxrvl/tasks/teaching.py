"""How fast does the teacher follow the student, and how much of what it started with is left?"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.models.teacher import update_teacher
from cxrvl.tasks.teacher_schedules import Shape, momentum_for_retention, released_cosine

Momentum = Callable[[int, int], float]
"""(step, steps of the generation) -> share of the teacher's weights that this step keeps, in [0, 1]."""


class CosineMomentum:
    """A momentum from start to end on a half cosine, as released (.9995 to 1); start = end for a constant one.

    Raises:
        ConfigError: a momentum outside [0, 1].
    """

    def __init__(self, start: float = 0.9995, end: float = 1.0) -> None:
        if not (0 <= start <= 1 and 0 <= end <= 1):
            raise ConfigError(f"task.teacher_momentum: start={start}, end={end}; expected shares of 0 to 1")
        self.start, self.end = start, end

    def __call__(self, step: int, steps: int) -> float:
        return released_cosine(step, steps, self.start, self.end)


class Retention:
    """A momentum that leaves a stated share of the teacher's first weights at the end, however many steps there are.

    Args:
        share: above 0 and at most 1; 1 freezes the teacher.
        shape: constant, or cosine (slower and slower, as the release's).
    """

    def __init__(self, share: float = 0.1, shape: Shape = "constant") -> None:
        momentum_for_retention(share, 1, shape)  # refuses what cannot be
        self.share, self.shape = share, shape
        self._starts: dict[int, float] = {}

    def __call__(self, step: int, steps: int) -> float:
        if steps not in self._starts:
            self._starts[steps] = momentum_for_retention(self.share, steps, self.shape)
        start = self._starts[steps]
        return start if self.shape == "constant" else released_cosine(step, steps, start, 1.0)


class Teaching:
    """Counts the steps that the teacher follows and moves it after each.

    Args:
        momentum: see `Momentum`.
        buffers: average running statistics too; the release averages parameters alone.
    """

    def __init__(self, momentum: Momentum, buffers: bool) -> None:
        self.momentum, self.buffers = momentum, buffers
        self.step, self.kept, self.last = 0, 1.0, 1.0

    def follow(self, teacher: nn.Module, student: nn.Module, steps: int) -> None:
        """Move the teacher after a step of a generation of `steps`."""
        self.last = self.momentum(self.step, steps)
        if self.last < 1:
            update_teacher(teacher, student, self.last, self.buffers)
        self.kept *= self.last
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the generation as plain values."""
        return {"step": self.step, "kept": self.kept, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place in the generation."""
        self.step, self.kept, self.last = state["step"], state["kept"], state["last"]


def checksum(module: nn.Module) -> float:
    """Return a number that other weights do not have: to tell whether any were loaded."""
    return math.fsum(float(value.double().sum()) for value in module.state_dict().values())


def checksums(network: nn.Module) -> dict[str, float]:
    """Return the checksum of each piece of a network that has weights: encoder, class head, feature head."""
    return {name: checksum(piece) for name, piece in network.named_children() if piece.state_dict()}
