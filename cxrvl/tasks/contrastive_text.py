"""How do reports that say the same come to lie near each other? By contrast with other reports and with wrong ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.losses.contrastive import HardNegativeLoss
from cxrvl.models.text.chunks import encode_in_chunks
from cxrvl.tasks.base import Batch, StepOutput
from cxrvl.tasks.text import TextTask


class ContrastiveText(TextTask):
    """Supervised contrastive learning on triplets (papers/llm2clip4cxr.md, section 1.4): stage 2 of LLM2VEC4CXR.

    Args:
        loss: called with (query, positive, negative, keys, negative_keys), see `HardNegativeLoss`.
        chunk: texts whose activations are held at once, for large batches (GradCache); 0 = all.
        options: of `Task`.

    Validation logs `val/found`, the share of queries whose positive is nearest to them among those of their batch and
    the hard negatives, and the same by task.

    Raises:
        ConfigError: a negative chunk; (on fitting) nothing to train, see `TextTask`.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: HardNegativeLoss,
        optimizer: Callable[..., Any],
        scheduler: Callable[..., Any] | None = None,
        chunk: int = 0,
        monitor: str = "val/found",
        monitor_mode: str = "max",
        decay_norm_and_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, optimizer, scheduler, monitor=monitor, monitor_mode=monitor_mode,
            decay_norm_and_bias=decay_norm_and_bias, seed=seed,
        )  # fmt: skip
        if chunk < 0:
            raise ConfigError(f"task.chunk is {chunk}; expected a number of texts, or 0 for the whole batch at once")
        self.loss, self.chunk = loss, chunk

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Embed the texts of one batch and contrast them."""
        documents = self.encoder.tokenize([*batch["positive"], *batch["negative"]]).to(self.device)
        query = encode_in_chunks(self.encoder, self.tokens(batch), self.chunk)
        embedded = encode_in_chunks(self.encoder, documents, self.chunk)
        count = len(query)
        positive, negative = embedded[:count], embedded[count:] if len(embedded) > count else None
        keys = (batch["keys"], batch["negative_keys"] if negative is not None else None)
        loss = self.loss(query, positive, negative, *keys, alone=stage != "train")
        outputs = {}
        if stage != "train":
            outputs = {"found": found_first(query, positive, negative, *keys)}
        return StepOutput(loss, count, {}, outputs)

    def validation_metrics(self, outputs: dict[str, Tensor]) -> dict[str, float]:
        """Return the share of queries that find their positive first."""
        return {"found": float(outputs["found"].float().mean())}


def found_first(
    query: Tensor, positive: Tensor, negative: Tensor | None, keys: Tensor, negative_keys: Tensor | None
) -> Tensor:
    """Which queries lie nearer to their own positive than to any document that is none, (B,) bool; a tie is none."""
    loss = HardNegativeLoss(scale=1.0)
    logits, right = loss.logits(query, positive, negative, keys, negative_keys, alone=True)
    own = logits.gather(1, right[:, None])
    others = logits.scatter(1, right[:, None], float("-inf"))
    return torch.as_tensor(own[:, 0] > others.max(dim=1).values)
