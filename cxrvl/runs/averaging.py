"""Which weights are judged where the last ones are noisy? An exponential moving average of those that were on the way."""

from functools import partial

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from cxrvl.errors import ConfigError


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights: what is validated, kept as best and final, and used.

    Unlike Lightning's own, it leaves alone what cannot be averaged: whole numbers (hashes and scales that checkpoints
    carry as bytes, index tables, counters) are taken over as they are, and weights that do not change stay exact.

    Args:
        decay: share of the average that a step leaves, above 0 and below 1.
        use_buffers: average the buffers, such as running statistics, too; false = take them over.

    Raises:
        ConfigError: a decay outside its range.
    """

    def __init__(self, decay: float = 0.999, use_buffers: bool = True) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"callbacks.ema.decay={decay}; expected above 0 and below 1")
        super().__init__(use_buffers=use_buffers, avg_fn=partial(averaged, decay=decay))


@torch.no_grad()
def averaged(average: Tensor, current: Tensor, _: Tensor, decay: float) -> Tensor:
    """Return the average after one more step: decay * average + (1 - decay) * current, exactly equal ones as they are."""
    return average.lerp(current.to(average.dtype), 1 - decay) if average.is_floating_point() else current
