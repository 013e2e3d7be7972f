"""How is a batch embedded that is too large to keep its activations? In chunks, each computed again for its gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cxrvl.errors import ConfigError
from cxrvl.models.batch_statistics import uses_batch_statistics


def in_chunks(encode: Callable[[Any], Tensor], parts: Sequence[Any]) -> Tensor:
    """Return the embeddings (B, D) of the parts of a batch, with the gradients of the whole and the memory of one part.

    This is GradCache (Gao et al., arXiv:2101.06983) by checkpointing: the loss sees all embeddings at once, the
    activations behind them are made anew part after part, under the same dropout.
    """
    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([encode(part) for part in parts])
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])


def refuse_batch_statistics(tower: nn.Module, what: str) -> None:
    """Refuse chunks for a network whose answer to one row depends on the others of its batch.

    Raises:
        ConfigError: naming the first layer that learns by its batch's statistics.
    """
    for name, module in tower.named_modules():
        if uses_batch_statistics(module) and module.training:
            raise ConfigError(
                f"{what}: {name} normalises by the statistics of its batch, which chunks would change: set task.chunk=0, "
                f"freeze the tower (model.freeze=[{what}]), or keep its statistics fixed (model.fixed_statistics=true)"
            )


def checked_chunk(chunk: int) -> int:
    """Return the option `task.chunk`; ConfigError where it is negative."""
    if chunk < 0:
        raise ConfigError(f"task.chunk is {chunk}; expected a number of rows, or 0 for the whole batch at once")
    return chunk
