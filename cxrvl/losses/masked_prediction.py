"""How well are masked tokens predicted, without ever holding logits of the tokens that are not masked?"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""Label of a token that is not scored."""


class MaskedPrediction(NamedTuple):
    """loss: mean over the scored tokens, scalar. scored: their number. right: how many were predicted, no gradient."""

    loss: Tensor
    scored: Tensor
    right: Tensor


def masked_prediction(
    hidden: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], shift: int = 1, chunk: int = 0
) -> MaskedPrediction:
    """Cross-entropy of masked tokens (papers/llm2clip4cxr.md, section 1.3).

    Args:
        hidden: (B, L, H) last hidden states.
        labels: (B, L) int64, the true id where a token is scored, -100 elsewhere.
        head: from states (N, H) to logits (N, V).
        shift: 1 scores the token at position i by the state at i - 1, as decoders were trained to (masked next-token
            prediction); 0 by its own state, as encoders were.
        chunk: states whose logits are held at once, computed again in the backward pass; 0 = all masked ones.

    Returns:
        Computed in float32 or wider; without a scored token, a loss of 0 with zero gradients.
    """
    states = hidden[:, : hidden.shape[1] - shift]
    wanted = labels[:, shift:]
    scored = wanted != IGNORED
    chosen, truth = states[scored], wanted[scored]
    if not len(truth):
        nothing = torch.zeros((), device=hidden.device)
        return MaskedPrediction(hidden.sum() * 0.0, nothing, nothing)
    parts = [(chosen, truth)]
    if chunk and len(truth) > chunk:
        parts = list(zip(chosen.split(chunk), truth.split(chunk), strict=True))

    def score(some: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(some)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return cross_entropy(logits, true, reduction="sum"), (logits.detach().argmax(dim=-1) == true).sum()

    again = len(parts) > 1
    results = [checkpoint(score, *part, use_reentrant=False) if again else score(*part) for part in parts]
    count = scored.sum()
    total = torch.stack([loss for loss, _ in results]).sum()
    right = torch.stack([hits for _, hits in results]).sum()
    return MaskedPrediction(total / count, count, right)
