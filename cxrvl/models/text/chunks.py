"""How is a batch embedded that is too large to keep its activations? In chunks, each computed again for its gradient."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cxrvl.errors import ConfigError
from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.tokens import Tokens


def encode_in_chunks(encoder: TextEncoder, tokens: Tokens, chunk: int = 0) -> Tensor:
    """Return embeddings (B, D) with the gradients of the whole batch and the memory of one chunk.

    This is GradCache (Gao et al., arXiv:2101.06983) by checkpointing: the loss sees all embeddings at once, the
    activations behind them are made anew chunk after chunk, under the same dropout.

    Args:
        chunk: texts per chunk; 0 = the whole batch at once.

    Raises:
        ConfigError: a negative chunk.
    """
    if chunk < 0:
        raise ConfigError(f"task.chunk is {chunk}; expected a number of texts, or 0 for the whole batch at once")
    if not chunk or chunk >= len(tokens.input_ids) or not torch.is_grad_enabled():
        parts = tokens_in(tokens, chunk or len(tokens.input_ids))
        return torch.cat([encoder(part) for part in parts])
    return torch.cat([checkpoint(encoder, part, use_reentrant=False) for part in tokens_in(tokens, chunk)])


def tokens_in(tokens: Tokens, chunk: int) -> list[Tokens]:
    """Cut a batch into chunks, each as wide as its longest text."""
    return [tokens.take(slice(start, start + chunk)) for start in range(0, len(tokens.input_ids), chunk)]
