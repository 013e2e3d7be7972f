"""How does the learning rate move over a run?"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cxrvl.errors import ConfigError


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> LambdaLR:
    """Return a linear warm-up followed by a half cosine, stepped once per optimiser step.

    Args:
        total_steps: optimiser steps of the whole run, given by the task.
        warmup: share of the run in which the rate rises linearly, in [0, 1); the first step already learns.
        final: learning rate at the end, as a fraction of the peak, in [0, 1].

    Raises:
        ConfigError: a share outside its range.
    """
    if not 0 <= final <= 1:
        raise ConfigError(f"task.scheduler.final={final} is a fraction of the peak learning rate; expected 0 to 1")
    if not 0 <= warmup < 1:
        raise ConfigError(f"task.scheduler.warmup={warmup} is a share of the run; expected at least 0 and less than 1")
    warmup_steps = int(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
