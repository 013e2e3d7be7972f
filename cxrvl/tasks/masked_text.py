"""How does a language model learn to read both ways? By predicting masked tokens of reports."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError
from cxrvl.losses.masked_prediction import IGNORED, masked_prediction
from cxrvl.models.text import Tokens
from cxrvl.tasks.base import Batch, StepOutput
from cxrvl.tasks.text import TextTask

REPLACEMENTS = ("bert", "all_mask")
KEPT, RANDOM = 0.1, 0.1
"""Shares of chosen tokens that stay, or become any other, in BERT's scheme (Devlin et al., section 3.1)."""


class MaskedText(TextTask):
    """Masked next-token prediction (papers/llm2clip4cxr.md, section 1.3): stage 1 of LLM2VEC4CXR.

    Chosen are tokens of the report, never of its instruction. Decoders predict a token from the state before it, as they
    were trained to; encoders from its own.

    Args:
        mask_rate: chance of a token to be chosen, in (0, 1].
        mask_token: as it is written, such as "_"; null = the tokenizer's own mask token.
        replacement: bert (80 % masked, 10 % another token, 10 % left) | all_mask.
        chunk: masked tokens whose logits are held at once; 0 = all of the batch.
        options: of `Task`.

    Training and validation log `accuracy`, the share of chosen tokens predicted. Which tokens are chosen is a function
    of seed, epoch and report alone.

    Raises:
        ConfigError: options that cannot be right; no such token; a language model without a head.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Any],
        scheduler: Callable[..., Any] | None = None,
        mask_rate: float = 0.2,
        mask_token: str | None = None,
        replacement: str = "bert",
        chunk: int = 0,
        monitor: str = "val/loss",
        monitor_mode: str = "min",
        decay_norm_and_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, optimizer, scheduler, monitor=monitor, monitor_mode=monitor_mode,
            decay_norm_and_bias=decay_norm_and_bias, seed=seed,
        )  # fmt: skip
        if not 0 < mask_rate <= 1 or chunk < 0:
            raise ConfigError(
                f"task.mask_rate={mask_rate}, task.chunk={chunk}; expected a rate above 0 and at most 1, and no negative "
                "number of tokens"
            )
        if replacement not in REPLACEMENTS:
            raise ConfigError(f"task.replacement is '{replacement}'{did_you_mean(replacement, REPLACEMENTS)}")
        self.mask_rate, self.replacement, self.chunk = mask_rate, replacement, chunk
        self.mask_id = mask_id(self.encoder.tokenize.backend, mask_token)
        self.head = self.encoder.language_head()
        self.shift = 1 if self.encoder.body.decoder else 0

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: those of every text task, and `head`, which predicts tokens."""
        return super().parts() | {"head": "head."}

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Mask and predict one batch."""
        tokens = self.tokens(batch)
        draw = Draw(self.seed, self.current_epoch if stage == "train" else 0, batch["index"].to(self.device))
        masked, labels = mask_tokens(
            tokens, draw, self.mask_rate, self.mask_id, self.encoder.body.vocabulary, self.replacement, self.shift
        )
        found = masked_prediction(self.encoder.hidden(masked), labels, self.head, self.shift, self.chunk)
        loss, right = found.loss, found.right / found.scored.clamp(min=1)
        if stage == "train":
            loss = self.over_devices(loss, found.scored)
            right = self.over_devices(right.float(), found.scored)
        # In validation, means over batches weigh each by its scored tokens, so that they are means over tokens.
        size = len(labels) if stage == "train" else int(found.scored)
        return StepOutput(loss, size, {"accuracy": right})


def mask_id(tokenizer: Any, token: str | None) -> int:
    """Return the id of the token that stands for a masked one.

    Raises:
        ConfigError: the tokenizer has none of its own, or what is named is not one of its tokens.
    """
    if token is None:
        if tokenizer.mask_token_id is None:
            raise ConfigError("the tokenizer has no mask token of its own; name a rare one: task.mask_token=_")
        return int(tokenizer.mask_token_id)
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ConfigError(f"task.mask_token={token!r} is no token of the tokenizer; name one of its vocabulary")
    return int(found)


def mask_tokens(
    tokens: Tokens, draw: Draw, rate: float, mask: int, vocabulary: int, replacement: str, shift: int
) -> tuple[Tokens, Tensor]:
    """Mask tokens of the reports.

    Args:
        tokens: a batch.
        draw: one key per text.
        rate: chance of a token to be chosen.
        mask: id that takes its place.
        vocabulary: random tokens are drawn below this number.
        replacement: bert | all_mask.
        shift: tokens at the beginning that nothing predicts.

    Returns:
        The batch with its chosen tokens replaced, and labels (B, L): their true ids, -100 elsewhere. Which tokens are
        chosen does not depend on the padding.
    """
    ids, pooled = tokens.input_ids, tokens.pool_mask.bool()
    place = (tokens.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    count = int(place.max()) + 1

    def number(name: str) -> Tensor:
        return draw.uniform(name, count).to(ids.device).gather(1, place)

    chosen = pooled & (number("chosen") < rate) & (place >= shift)
    labels = ids.masked_fill(~chosen, IGNORED)
    new = torch.full_like(ids, mask)
    if replacement == "bert":
        how = number("how")
        any_token = (number("token") * vocabulary).long().clamp(max=vocabulary - 1)
        new = torch.where(how < RANDOM, any_token, new)
        new = torch.where(how >= 1 - KEPT, ids, new)
    return tokens._replace(input_ids=torch.where(chosen, new, ids)), labels
