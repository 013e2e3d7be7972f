"""How do the hidden states of a report's tokens become one vector?"""

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError


class Pooling(nn.Module):
    """Base of all poolings: called with hidden states (B, L, D), pool_mask and attention_mask (B, L) -> (B, D).

    Every row has at least one pooled token. Sums are taken in float32 or wider; the result is of that type.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        raise NotImplementedError


def _wide(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)


class Mean(Pooling):
    """Mean over the report's tokens."""

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        # Selected, not multiplied by the mask: padding may hold anything, also NaN.
        chosen = hidden.to(_wide(hidden)).masked_fill(~pool_mask.bool()[..., None], 0)
        return chosen.sum(dim=1) / pool_mask.sum(dim=1, keepdim=True)


class WeightedMean(Pooling):
    """Mean over the report's tokens, weighted by their place among them: 1, 2, ..., n."""

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        mask = pool_mask.bool()
        weights = (pool_mask.cumsum(dim=1) * mask).to(_wide(hidden))
        chosen = hidden.to(_wide(hidden)).masked_fill(~mask[..., None], 0)
        return torch.einsum("bl,bld->bd", weights / weights.sum(dim=1, keepdim=True), chosen)


class Last(Pooling):
    """The last token that is no padding, such as the end token where the tokenizer adds one."""

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        length = attention_mask.shape[1]
        return _at(hidden, length - 1 - attention_mask.flip(1).argmax(dim=1))


class Cls(Pooling):
    """The first token that is no padding: [CLS], or begin-of-text."""

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        return _at(hidden, attention_mask.argmax(dim=1))


class LatentAttention(Pooling):
    """Tokens attend to learnt latents, go through an MLP, and are averaged (papers/llm2clip4cxr.md, 1.6).

    Tokens are the queries, the latents keys and values; no residual, no norm. Since tokens never attend to one another,
    only those that are pooled are computed, of all texts at once; and since the MLP ends in a linear layer, their mean is
    taken before it, not after.

    Args:
        width: of the hidden states, D; divisible by heads.
        latents: how many, K.
        heads: of the attention.

    Raises:
        ConfigError: a width that the heads do not divide.
    """

    def __init__(self, width: int, latents: int = 512, heads: int = 8) -> None:
        super().__init__(width)
        if latents < 1 or heads < 1 or width % heads:
            raise ConfigError(f"model.pooling: width {width} with latents={latents}, heads={heads}; expected at least "
                              "one of each, and heads that divide the width")  # fmt: skip
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, hidden: Tensor, pool_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool a batch."""
        mask = pool_mask.bool()
        tokens = hidden[mask][None].to(self.latents.dtype)
        latents = self.latents[None]
        attended, _ = self.multihead_attn(tokens, latents, latents, need_weights=False)
        first, activation, last = self.mlp
        values = activation(first(attended))[0]
        values = values.to(_wide(values))
        summed = values.new_zeros(len(mask), self.width).index_add(0, mask.nonzero()[:, 0], values)
        pooled = last((summed / mask.sum(dim=1, keepdim=True)).to(last.weight.dtype))
        return pooled.to(_wide(pooled))


def _at(hidden: Tensor, places: Tensor) -> Tensor:
    """Hidden states (B, L, D) at one place (B,) of each row."""
    return hidden[torch.arange(len(hidden), device=hidden.device), places].to(_wide(hidden))
