"""How fast does the teacher follow the student, and how much of what it started with is left?"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from cxrvl.models.teacher import update_teacher

Momentum = Callable[[int, int], float]
"""(step, total steps of the generation) -> share of the teacher's weights that this step keeps, in [0, 1]."""


class Teaching:
    """Counts the steps that the teacher follows and moves it after each.

    Args:
        momentum: see `Momentum`.
        buffers: average running statistics too; the release averages parameters alone.
    """

    def __init__(self, momentum: Momentum, buffers: bool) -> None:
        self.momentum, self.buffers = momentum, buffers
        self.step, self.kept = 0, 1.0
        self.last = math.nan

    def follow(self, teacher: nn.Module, student: nn.Module, total: int) -> None:
        """Move the teacher after a step."""
        self.last = self.momentum(self.step, total)
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
