"""How is a multi-label classifier penalised when some labels are uncertain and some are not stated?"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.errors import ConfigError

Uncertainty = Literal["ignore", "zeros", "ones", "smoothed"]
SMOOTHED_RANGE = (0.55, 0.85)
_POLICIES = ("ignore", "zeros", "ones", "smoothed")


def resolve_targets(targets: Tensor, uncertainty: Uncertainty, smoothed: float) -> tuple[Tensor, Tensor]:
    """Return targets in [0, 1] and the mask of known entries, both shaped like targets (1, 0, -1 uncertain, NaN)."""
    known = ~targets.isnan()
    uncertain = targets == -1
    if uncertainty == "ignore":
        known = known & ~uncertain
    value = {"ignore": 0.0, "zeros": 0.0, "ones": 1.0, "smoothed": smoothed}[uncertainty]
    return torch.where(uncertain, value, targets).nan_to_num(0.0), known


class MultilabelLoss(nn.Module):
    """Binary cross-entropy with logits, averaged over the known entries of a batch.

    Targets (B, L): 1 positive, 0 negative, -1 uncertain, NaN not stated; NaN is always left out.
    uncertainty: "ignore" leaves -1 out; "zeros" and "ones" read it as absent and present; "smoothed" reads it as the
    middle of smoothed_range, 0.70 by default. Pham et al. (arXiv:1911.06475, section 3.3; U-Ones+LSR) draw from that
    range anew each time; the loss is linear in the target, so the middle is its expectation and needs no randomness.
    label_weights: a factor per label (L,). pos_weight: a factor per label (L,) on positive terms.
    Both weight the terms of the sum; the divisor stays the number of known entries.
    Without any known entry the loss is 0 with zero gradients. Computed in float32 under autocast.
    """

    label_weights: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        uncertainty: Uncertainty = "ignore",
        label_weights: Sequence[float] | None = None,
        pos_weight: Sequence[float] | None = None,
        smoothed_range: tuple[float, float] = SMOOTHED_RANGE,
    ) -> None:
        super().__init__()
        if uncertainty not in _POLICIES:
            raise ConfigError(f"loss: uncertainty={uncertainty!r} is unknown; expected one of {', '.join(_POLICIES)}")
        low, high = smoothed_range
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"loss: smoothed_range={list(smoothed_range)}; expected 0 <= low <= high <= 1")
        self.uncertainty: Uncertainty = uncertainty
        self.smoothed = (low + high) / 2
        for name, values in (("label_weights", label_weights), ("pos_weight", pos_weight)):
            self.register_buffer(name, _non_negative(name, values), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, L) against targets (B, L)."""
        for name, weights in (("label_weights", self.label_weights), ("pos_weight", self.pos_weight)):
            if weights is not None and len(weights) != logits.shape[1]:
                raise ConfigError(f"loss: {name} has {len(weights)} values for {logits.shape[1]} labels")
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        values, known = resolve_targets(targets, self.uncertainty, self.smoothed)
        terms = functional.binary_cross_entropy_with_logits(
            logits, values.to(logits.dtype), weight=self.label_weights, pos_weight=self.pos_weight, reduction="none"
        )
        return torch.where(known, terms, 0.0).sum() / known.sum().clamp(min=1)

    def terms(self, targets: Tensor) -> Tensor:
        """Return how many entries of targets (B, L) the loss is a mean over, as a scalar."""
        return resolve_targets(targets, self.uncertainty, self.smoothed)[1].sum()


def _non_negative(name: str, values: Sequence[float] | None) -> Tensor | None:
    if values is None:
        return None
    tensor = torch.tensor(tuple(values), dtype=torch.float32)
    if not bool((tensor >= 0).all() & tensor.isfinite().all()):
        raise ConfigError(f"loss: {name}={list(values)}; expected finite values of at least 0")
    return tensor
