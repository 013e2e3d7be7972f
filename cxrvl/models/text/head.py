"""How do hidden states become logits over the vocabulary?"""

from typing import Any

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.text.omission import omit_frozen

_SCALED = ("logit_scale", "logits_scaling")


class LanguageHead(nn.Module):
    """The last layer of a language model, with the soft cap that Gemma 2 puts on its logits.

    Args:
        layer: from hidden states (..., H) to logits (..., V); its weight may be that of the embedding.
        config: of the language model.
        learns: whether it is trained; else it stays out of the state dict.
        fingerprint: of the base.

    Raises:
        ConfigError: an architecture that scales its logits in a way that is not known here.
    """

    def __init__(self, layer: nn.Module, config: Any, learns: bool, fingerprint: str) -> None:
        super().__init__()
        scaled = [name for name in _SCALED if getattr(config, name, None) not in (None, 1, 1.0)]
        if scaled:
            raise ConfigError(f"{config.model_type} scales its logits ({scaled[0]}), which is not supported here")
        self.layer = layer
        self.cap = getattr(config, "final_logit_softcapping", None)
        layer.requires_grad_(learns)
        omit_frozen(self, fingerprint)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (N, V) of hidden states (N, H)."""
        logits = self.layer(hidden)
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)
