"""How do the two towers of an open_clip model serve as an image tower and as a text tower here?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, DataError, WeightsError
from cxrvl.models.text.tokens import Tokens
from cxrvl.models.timm_image import PooledBackbone, embedding_width


class OpenClipImage(PooledBackbone):
    """The image tower of an open_clip model, its projection included.

    Args:
        name: open_clip's, such as EVA02-L-14-336, or with a schema: local-dir:<folder>, hf-hub:<owner/name>.
        weights: None; a tag of open_clip such as merged2b_s6b_b61k; or a local file. Of a schema: "own" loads what lies
            there, None draws them.
        image_size: pixels; None = the name's own.
        gradient_checkpointing: compute activations again in the backward pass.
        options: keys of the model's `vision_cfg` to change, such as width; only without a schema.

    Raises:
        ConfigError: no such model. WeightsError: no such weights, or they do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        image_size: int | None = None,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if in_channels != len("RGB"):
            raise ConfigError(f"OpenClipImage: in_channels={in_channels}; open_clip's towers take 3: set in_channels=3")
        model = _created(name, weights, image_size, {"vision_cfg": options or {}})
        self.name, self.in_channels = name, in_channels
        self.network: Any = model.visual
        if gradient_checkpointing:
            self.network.set_grad_checkpointing(True)
        described = open_clip.get_model_preprocess_cfg(model)
        self.mean, self.std = tuple(described["mean"]), tuple(described["std"])
        size = self.network.image_size
        self.num_features = embedding_width(self.network, in_channels, size if isinstance(size, int) else size[0])

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, num_features) of normalised images (B, 3, H, W)."""
        return self.network(images)


class OpenClipText(nn.Module):
    """The text tower of an open_clip model, its projection included, with the interface of `TextEncoder`.

    An instruction is part of the text: these towers pool one place (the end of the text), not the report's tokens.

    Args:
        name, weights: as `OpenClipImage`. freeze: train nothing in here.
        options: keys of the model's `text_cfg` to change; only without a schema.

    Raises:
        ConfigError: no such model. WeightsError: no such weights, or they do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        freeze: bool = False,
        gradient_checkpointing: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        model = _created(name, weights, None, {"text_cfg": options or {}})
        self.name = name
        self.network: Any = model.text
        if gradient_checkpointing:
            self.network.set_grad_checkpointing(True)
        self.context = int(self.network.context_length)
        self.read = open_clip.get_tokenizer(name, context_length=self.context)
        self.filler = int(self.read([""])[0, -1])
        with torch.no_grad():
            training = self.network.training
            self.width = int(self.network.eval()(self.read(["a"])).shape[-1])
            self.network.train(training)
        if freeze:
            self.network.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.parameters()).device

    def tokenize(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tokens:
        """Tokenise texts to the length of the context; what is longer is cut, as open_clip does.

        Args:
            texts: B texts.
            bodies: (B, 2) characters [start, end) of the report in each; None = the whole text.

        Raises:
            DataError: no text, or an empty report.
        """
        if not texts:
            raise DataError("there is no text to tokenise; expected at least one")
        spans = [(0, len(text)) for text in texts] if bodies is None else np.asarray(bodies).tolist()
        for number, (text, (start, end)) in enumerate(zip(texts, spans, strict=True)):
            if not text[start:end].strip():
                raise DataError(
                    f"text {number} of the batch has no token to pool: nothing is in its characters {start} to {end}; "
                    "leave empty reports out (data.empty=skip)"
                )
        ids = self.read(list(texts))
        padding = (ids.flip(1) == self.filler).cumprod(dim=1).flip(1)  # the run of fillers at the end
        mask = 1 - padding
        return Tokens(ids, mask, mask.clone())

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the embeddings (B, width) of tokenised texts."""
        ids = tokens.input_ids
        short = self.context - ids.shape[1]
        if short > 0:  # `Tokens.take` leaves out columns of padding, which these towers want
            ids = torch.cat([ids, ids.new_full((len(ids), short), self.filler)], dim=1)
        features: Tensor = self.network(ids)
        return features.to(torch.promote_types(features.dtype, torch.float32))

    def encode(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tensor:
        """Return the embeddings (B, width) of texts, see `tokenize`."""
        return self.forward(self.tokenize(texts, bodies).to(self.device))


def _created(name: str, weights: str | None, size: int | None, changed: Mapping[str, Mapping[str, Any]]) -> Any:
    """A whole open_clip model, of which one tower is then taken; always built with its text tower apart."""
    schema = ":" in name
    changes = {key: dict(value) for key, value in changed.items() if value}
    if not schema:
        config = open_clip.get_model_config(name)
        if config is None:
            raise ConfigError(f"open_clip has no model '{name}'{did_you_mean(name, open_clip.list_models())}")
        changes = {key: {**config[key], **value} for key, value in changes.items()}
    elif changes:
        raise ConfigError(f"{name} brings its own architecture; leave options out")
    elif weights not in (None, "own"):
        raise WeightsError(f"weights={weights!r} of {name}: it brings its own; set weights=own, or null to draw them")
    if size is not None and "vision_cfg" in changes:
        changes["vision_cfg"]["image_size"] = size
    try:
        return open_clip.create_model(
            name, pretrained=None if schema else weights, load_weights=weights is not None, force_image_size=size,
            force_custom_text=True, pretrained_text=False, **changes,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"open_clip cannot build {name} with weights={weights}: {reason}") from error
