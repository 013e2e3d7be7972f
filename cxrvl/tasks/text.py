"""What do all text tasks share? Tokenising in the task, parts to hand on, embeddings as predictions."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.text import TextEncoder, Tokens
from cxrvl.models.text.embedding import embed_texts
from cxrvl.tasks.base import Batch, Task


class TextOutput(NamedTuple):
    """What a text task predicts. embedding: (B, D), not normalised."""

    embedding: Tensor


class TextTask(Task):
    """Base of the text tasks.

    Args:
        model: a `TextEncoder`.
        options: of `Task`.

    Raises:
        ConfigError: another model; (on fitting) one in which nothing is to be trained though steps are to be taken.
    """

    def __init__(self, model: nn.Module, *args: Any, **options: Any) -> None:
        if not isinstance(model, TextEncoder):
            raise ConfigError(f"a text task needs a text encoder (model=text_...), found {type(model).__name__}")
        super().__init__(model, *args, **options)

    def on_fit_start(self) -> None:
        """Refuse to train nothing: the first step would have no gradient to take.

        Raises:
            ConfigError: as said.
        """
        steps = self.trainer.max_steps != 0 and self.trainer.max_epochs != 0
        if steps and not any(parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(
                "nothing of this model is to be trained: its language model is frozen, and its pooling has no weights. Set "
                "model.freeze=false, model/lora=default or model/pooling=latent_attention; or trainer.max_steps=0 to "
                "evaluate it as it is"
            )

    @property
    def encoder(self) -> TextEncoder:
        """The model, by its own type."""
        assert isinstance(self.model, TextEncoder)
        return self.model

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: `encoder`, all of the text encoder; `body`, its language model; `pooling`."""
        return {"encoder": "model.", "body": "model.body.", "pooling": "model.pooling."}

    def tokens(self, batch: Batch) -> Tokens:
        """Tokenise the texts of a batch; their `attention_mask` goes into it, by which speed is counted in tokens."""
        tokens = self.encoder.tokenize(batch["text"], batch["body"].cpu()).to(self.device)
        batch["attention_mask"] = tokens.attention_mask
        return tokens

    def predict_step(self, batch: Batch, batch_idx: int) -> TextOutput:
        """Return the embeddings (B, D) of a batch's texts."""
        return TextOutput(embed_texts(self.encoder, batch["text"], batch["body"].cpu()))
