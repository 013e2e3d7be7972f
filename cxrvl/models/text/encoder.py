"""How does a report become one vector?"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.text.body import Body, first_position
from cxrvl.models.text.head import LanguageHead
from cxrvl.models.text.hugging_face import LoadedBase
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.pooling import Pooling
from cxrvl.models.text.tokens import ReportTokenizer, Tokens


class TextEncoder(nn.Module):
    """A language model and a pooling: tokens in, embeddings (B, D) out, not normalised.

    Args:
        base: the language model as it was read, with its tokenizer.
        pooling: factory called with `width`.
        max_length: tokens of a text at most; the report is cut, never its instruction.
        bidirectional, lora, freeze, gradient_checkpointing: see `Body`.
        padding: right | left, as the papers pad; None = right. Either is masked and moves no position; with right, a
            text's tokens lie where they lie without padding, so sums run in the same order and embeddings round alike.
        pool_specials: pool special tokens too, see `ReportTokenizer`.

    State dict: `body.network.*` (without what never learns), `body.fingerprint`, with adapters
    `body.lora_scale`, and `pooling.*`.

    Raises:
        ConfigError: as `Body`; more tokens than the language model has positions for.
    """

    def __init__(
        self,
        base: LoadedBase,
        pooling: Callable[..., Pooling],
        max_length: int = 512,
        bidirectional: bool = True,
        lora: Lora | None = None,
        freeze: bool = False,
        gradient_checkpointing: bool = False,
        padding: str | None = None,
        pool_specials: bool = False,
    ) -> None:
        super().__init__()
        places = getattr(base.config, "max_position_embeddings", None)
        if places is not None and max_length > (longest := places - first_position(base.network)):
            raise ConfigError(
                f"model.max_length={max_length}, but the language model has positions for {longest} tokens; lower it"
            )
        self.body = Body(base, bidirectional, lora, freeze, gradient_checkpointing)
        self.pooling = pooling(width=self.body.hidden_size)
        self.width = self.pooling.width
        self.tokenize = ReportTokenizer(
            base.tokenizer, max_length, "right" if padding is None else padding, pool_specials
        )
        self._head = (base.head,)  # in a tuple: no part of this model, see `language_head`

    @property
    def fingerprint(self) -> str:
        """SHA-256 hex digest of the base it stands on."""
        return bytes(self.body.fingerprint.tolist()).hex()

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.body.fingerprint.device

    def hidden(self, tokens: Tokens) -> Tensor:
        """Return the last hidden states (B, L, H)."""
        return self.body(tokens.input_ids, tokens.attention_mask)

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the embeddings (B, D) of tokenised texts, float32 or wider."""
        return self.pooling(self.hidden(tokens), tokens.pool_mask, tokens.attention_mask)

    def encode(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tensor:
        """Return the embeddings (B, D) of texts.

        Args:
            texts: B texts.
            bodies: (B, 2) characters [start, end) of the report in each; None = the whole text.

        Raises:
            DataError: as `ReportTokenizer`.
        """
        return self.forward(self.tokenize(texts, bodies).to(self.device))

    def language_head(self) -> LanguageHead:
        """Return what turns hidden states into logits over the vocabulary; it trains if the body's own weights do.

        Raises:
            ConfigError: the base came without one.
        """
        (head,) = self._head
        if head is None:
            raise ConfigError(
                "the language model came without the layer that predicts tokens, so it cannot be trained to; choose "
                "another model.base"
            )
        learns = any(p.requires_grad for p in self.body.plain.get_input_embeddings().parameters())  # type: ignore[operator]
        return LanguageHead(head, self.body.plain.config, learns, self.fingerprint)
