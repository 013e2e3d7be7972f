"""How do learning rate, teacher momentum, teacher temperature and the self-training ramp move over a generation?

Those of the release are functions of the step or epoch (distl.md sections 1.3 and 2), and one teacher momentum is
chosen by what it should do (section 1.4).
"""

import math
from typing import Literal

from scipy.optimize import brentq

from cxrvl.errors import ConfigError

Shape = Literal["constant", "cosine"]
_SHAPES = ("constant", "cosine")


def released_cosine(step: int, steps: int, start: float, end: float, warmup: int = 0) -> float:
    """Return a value of DINO's schedule: a linear warm-up from 0, then a half cosine from start to end.

    The warm-up includes both ends, so that step 0 has 0 and `start` comes twice, and the cosine never quite reaches
    `end`; both are the release's.

    Args:
        step: 0 to steps - 1.
        steps: of the whole schedule.
        warmup: steps of the warm-up, at most `steps`.

    Raises:
        ConfigError: a step or a warm-up outside the schedule.
    """
    if not 0 <= warmup <= steps or not 0 <= step < steps:
        raise ConfigError(f"schedule: step {step} of {steps} with a warm-up of {warmup} steps; expected them in order")
    if step < warmup:
        return start * step / (warmup - 1) if warmup > 1 else 0.0
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def ramp(epoch: int, epochs: int, end: float = 2.0) -> float:
    """Return the weight a(e) of self-training in an epoch, 0 to epochs - 1: from end / epochs in equal steps to end."""
    return end * (epoch + 1) / epochs


def teacher_temperature(epoch: int, start: float, end: float, warmup: int) -> float:
    """Return the teacher's temperature in an epoch: linear from start to end over the epochs of a warm-up, then end."""
    if epoch >= warmup:
        return end
    return start + (end - start) * epoch / (warmup - 1) if warmup > 1 else start


def retained(momentum: float, steps: int, shape: Shape = "constant") -> float:
    """Return the share of the teacher's first weights that is left after some steps, in [0, 1].

    Args:
        momentum: at the start, in [0, 1].
        shape: constant, or cosine: the momentum rises to 1 as the release's does.
    """
    if shape == "constant":
        return momentum**steps
    return math.prod(released_cosine(step, steps, momentum, 1.0) for step in range(steps))


def momentum_for_retention(retention: float, steps: int, shape: Shape = "constant") -> float:
    """Return the teacher momentum at the start with which a share of its first weights is left after some steps.

    A momentum fixed beforehand leaves the teacher almost frozen on small data (distl.md section 1.4); a share does not
    depend on how many steps a generation has.

    Args:
        retention: share, above 0 and at most 1.
        steps: updates of the teacher, at least 1.
        shape: as of `retained`.

    Raises:
        ConfigError: a share or a number of steps that cannot be.
    """
    if shape not in _SHAPES:
        raise ConfigError(f"teacher momentum: shape={shape!r} is unknown; expected one of {', '.join(_SHAPES)}")
    if not 0 < retention <= 1 or steps < 1:
        raise ConfigError(f"teacher momentum: retention={retention} over {steps} steps; expected (0, 1] and 1 or more")
    if shape == "constant" or retention == 1:
        return float(retention ** (1 / steps))
    return float(brentq(lambda momentum: retained(momentum, steps, shape) - retention, 0.0, 1.0, xtol=1e-15))
