"""How does the learning rate move over a run?"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cxrvl.errors import ConfigError


def cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> LambdaLR:
    """Return a linear warm-up followed by a half cosine, stepped once per optimiser step.

    Args:
        total_steps: optimiser steps of the whole run, given by the task.
        warmup_steps: steps of the linear rise; step 0 already learns at 1 / warmup_steps of the peak.
        final: learning rate at the end, as a fraction of the peak, in [0, 1].

    Raises:
        ConfigError: a warm-up longer than the run, or a fraction outside [0, 1].
    """
    if not 0 <= final <= 1:
        raise ConfigError(f"task.scheduler.final={final} is a fraction of the peak learning rate; expected 0 to 1")
    if warmup_steps >= total_steps and warmup_steps:
        raise ConfigError(f"task.scheduler.warmup_steps={warmup_steps} fills the whole run of {total_steps} steps")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
