"""Does every token see what it should: all of the text if attention is bidirectional, and never the padding?"""

from collections.abc import Callable

import torch
from torch import Tensor

from cxrvl.errors import ConfigError

LENGTH, PADDED = 9, 4
SEEN = 1e-3
"""Share of the states' spread above which a change is an influence; rounding in half precision stays below."""

Hidden = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def check_attention(hidden: Hidden, vocabulary: int, bidirectional: bool, device: torch.device) -> None:
    """Try a model on a few random tokens, once, before anything is trained or embedded with it.

    Args:
        hidden: (input_ids, attention_mask), both (B, L) int64 -> last hidden states (B, L, D); in evaluation mode.
        vocabulary: ids are drawn below this number.
        bidirectional: whether the last token is to change earlier states, or must not.

    Raises:
        ConfigError: attention is causal where it should not be or the other way round, with padding or without; or what
            stands in the padding, or how much of it there is, changes a state.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (2, LENGTH), generator=generator)
    ids[1] = ids[0]
    ids[1, -1] = (ids[0, -1] + 1 + vocabulary // 2) % vocabulary
    whole = torch.ones_like(ids)
    plain = hidden(ids.to(device), whole.to(device)).float()
    _check_direction(plain[:, :-1], bidirectional, "without padding")
    for side in ("left", "right"):
        filler = torch.randint(vocabulary, (2, PADDED), generator=generator)
        parts = (filler, ids) if side == "left" else (ids, filler)
        mask_parts = (torch.zeros_like(filler), whole) if side == "left" else (whole, torch.zeros_like(filler))
        padded, mask = torch.cat(parts, dim=1), torch.cat(mask_parts, dim=1)
        kept = slice(PADDED, None) if side == "left" else slice(None, LENGTH)
        states = hidden(padded.to(device), mask.to(device)).float()[:, kept]
        _check_direction(states[:, :-1], bidirectional, f"under {side} padding")
        if _influence(states, plain) > SEEN:
            raise ConfigError(
                f"the language model lets padding in: {PADDED} tokens of {side} padding change the states of the text "
                f"by {_influence(states, plain):.1e} of their spread; use another model.attention (sdpa, eager)"
            )


def _check_direction(states: Tensor, bidirectional: bool, where: str) -> None:
    sees = _influence(states[0], states[1]) > SEEN
    if sees == bidirectional:
        return
    from transformers import __version__

    if bidirectional:
        raise ConfigError(
            f"the language model's attention is causal {where}: its last token changes no earlier state. transformers "
            f"{__version__} may be too old for this architecture (config.is_causal needs 5.2 or newer); upgrade it, "
            "set model.attention=sdpa, or model.bidirectional=false to mean it"
        )
    raise ConfigError(
        f"the language model's attention is bidirectional {where}, but model.bidirectional=false asks for a causal one; "
        "this architecture has none: set model.bidirectional=true"
    )


def _influence(one: Tensor, other: Tensor) -> float:
    """Largest change of a state, as a share of the states' spread."""
    return float((one - other).abs().max() / one.std().clamp(min=1e-12))
