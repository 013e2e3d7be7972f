"""How does a language model give hidden states in which every token has read the whole text?"""

import inspect
from typing import Any

from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.text.hugging_face import LoadedBase
from cxrvl.models.text.leaks import check_attention
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.omission import omit_frozen


class Body(nn.Module):
    """A language model without its head.

    Args:
        base: the model as it was read.
        bidirectional: let a decoder's tokens see those behind them (papers/llm2clip4cxr.md, 5.1); encoders always do, and
            refuse false.
        lora: adapters to train instead of the model's own weights.
        freeze: train nothing in here; with `lora`, that is the adapters alone.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.

    Attributes:
        commit: of a hub, that the model was read at; None where it comes from elsewhere.

    Weights that never learn are not in the state dict; `fingerprint`, the hash of the base, is, and is checked on loading;
    so is `lora_scale`, the alpha / rank of adapters.

    Raises:
        ConfigError: the attention test fails (`cxrvl.models.text.leaks`), a LoRA target matches nothing, or an encoder is
            to be causal.
    """

    fingerprint: Tensor

    def __init__(
        self,
        base: LoadedBase,
        bidirectional: bool = True,
        lora: Lora | None = None,
        freeze: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        network: Any = base.network
        if not (bidirectional or base.decoder):
            raise ConfigError(
                f"model.bidirectional=false, but a {network.config.model_type} is an encoder, which always reads both ways; "
                "set it to true, or choose a decoder as model.base"
            )
        self.decoder, self.bidirectional, self.commit = base.decoder, bidirectional, base.commit
        self.hidden_size, self.vocabulary = (
            int(network.config.hidden_size),
            network.get_input_embeddings().num_embeddings,
        )
        if base.decoder:
            # An attribute of the config: `from_pretrained(..., is_causal=False)` would be ignored without a word.
            network.config.is_causal = not bidirectional
        accepted = inspect.signature(network.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in accepted else {}
        self._takes_positions = "position_ids" in accepted
        self._first_position = first_position(network)
        if gradient_checkpointing:
            if not network.supports_gradient_checkpointing:
                raise ConfigError(f"{type(network).__name__} has no gradient checkpointing; set it to false")
            _checkpoint_activations(network)
        if lora is not None:
            network = lora.into(network)
        elif freeze:
            network.requires_grad_(False)
        self.network = network
        self._flash = base.config._attn_implementation == "flash_attention_2"
        self._tested = False
        omit_frozen(self, base.fingerprint, None if lora is None else lora.scale)
        if not self._flash:
            self.check_attention()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last hidden states (B, L, H); those of padding mean nothing."""
        if not self._tested:
            self.check_attention()
        return self._states(input_ids, attention_mask)

    def _states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        options: dict[str, Any] = dict(self._options)
        if self._takes_positions:
            # Counted from the first real token, so that padding moves nothing, whatever kind of positions these are.
            places = (attention_mask.cumsum(dim=1) - 1).clamp(min=0) + self._first_position
            options["position_ids"] = places
        return self.network(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state

    def check_attention(self) -> None:
        """Run the attention test; flash attention has no CPU form, so there it waits for the first batch on a GPU."""
        self._tested = True
        training = self.training
        self.eval()
        try:
            check_attention(self._states, self.vocabulary, self.bidirectional, next(self.parameters()).device)
        finally:
            self.train(training)

    @property
    def plain(self) -> nn.Module:
        """The Hugging Face model, adapters (if any) still inside."""
        network: Any = self.network
        return network.get_base_model() if hasattr(network, "get_base_model") else network


def _checkpoint_activations(network: Any) -> None:
    """Not the reentrant kind: behind a frozen embedding it would leave adapters without a gradient, without a word."""
    if hasattr(network, "activation_checkpointing_enable"):  # its name since transformers 5.20
        network.activation_checkpointing_enable({"use_reentrant": False})
    else:
        network.gradient_checkpointing_enable({"use_reentrant": False})


def first_position(network: Any) -> int:
    """Return the position of a text's first token: RoBERTa counts them from behind the padding token's."""
    embeddings = getattr(network, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1
