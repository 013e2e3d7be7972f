"""How are gradients bounded tensor by tensor, as the released DISTL does, and not all together?"""

from collections.abc import Iterable

import torch
from torch import nn

EPSILON = 1e-6


def clip_each(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale every gradient whose norm exceeds `most` down to it, each by itself: min(1, most / (norm + 1e-6)).

    In a few fused operations and without waiting for the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        factors = torch._foreach_norm(gradients)
        torch._foreach_add_(factors, EPSILON)
        torch._foreach_reciprocal_(factors)
        torch._foreach_mul_(factors, most)
        torch._foreach_clamp_max_(factors, 1.0)
        torch._foreach_mul_(gradients, factors)
