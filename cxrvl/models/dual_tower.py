"""How do a radiograph and a report become vectors of one space?"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.models.backbones import Backbone
from cxrvl.models.batch_statistics import uses_batch_statistics
from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.text.tokens import Tokens
from cxrvl.models.timm_image import PooledBackbone
from cxrvl.models.vit import Vit

TOWERS = ("image_tower", "text_tower")
SIMILARITIES = ("cosine", "dot")
LARGEST_SCALE = 100.0
Projection = Callable[[int, int], nn.Module]


class TextTower(Protocol):
    """What a text tower promises: `cxrvl.models.text.TextEncoder`, or an open_clip tower."""

    width: int

    def tokenize(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tokens:
        """Tokenise texts, of which the characters in `bodies` are the report."""

    def encode(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tensor:
        """Return features (B, width) of texts."""


class DualTower(nn.Module):
    """An image tower and a text tower, each with a projection into the space they share.

    Args:
        image_tower: images (B, 1, H, W) in [0, 1] -> features (B, num_features).
        text_tower: `Tokens` -> features (B, width); see `TextTower`.
        image_projection, text_projection: features -> (B, dim).
        logit_scale: temperature at the start, as its inverse: 1 / 0.07 is CLIP's, 10 SigLIP's.
        logit_bias: added to the logits, at the start; None = there is none. SigLIP starts at -10.
        similarity: cosine: embeddings have length 1, and the scale is the exponential of what is learnt. dot: embeddings
            as they come, and what is learnt is the scale itself: as the released LLM2CLIP4CXR was trained, for its
            weights alone (papers/llm2clip4cxr.md, B1).
        freeze: towers that never learn: image_tower, text_tower. They stay in evaluation mode, and in the state dict.
        fixed_statistics: batch normalisation of the towers uses its running statistics in training too.

    Raises:
        ConfigError: an unknown similarity or tower, a scale that training would not keep, towers that end in other spaces.
    """

    def __init__(
        self,
        image_tower: ImageEncoder,
        text_tower: nn.Module,
        image_projection: nn.Module,
        text_projection: nn.Module,
        logit_scale: float = 1 / 0.07,
        logit_bias: float | None = None,
        similarity: str = "cosine",
        freeze: Sequence[str] = (),
        fixed_statistics: bool = False,
    ) -> None:
        super().__init__()
        if similarity not in SIMILARITIES:
            raise ConfigError(
                f"model.similarity is '{similarity}'{did_you_mean(similarity, SIMILARITIES)}; expected one of {SIMILARITIES}"
            )
        if not 1 <= logit_scale <= LARGEST_SCALE:
            raise ConfigError(
                f"model.logit_scale={logit_scale}; expected from 1 to {LARGEST_SCALE:g}, within which training keeps it"
            )
        for name in freeze:
            if name not in TOWERS:
                raise ConfigError(f"model.freeze names '{name}'{did_you_mean(name, TOWERS)}; expected {TOWERS}")
        self.image_tower, self.text_tower = image_tower, text_tower
        self.image_projection, self.text_projection = image_projection, text_projection
        self.logit_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.similarity, self.frozen, self.fixed_statistics = similarity, tuple(freeze), fixed_statistics
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.dim = self._checked_dim()
        self.train(self.training)

    def train(self, mode: bool = True) -> "DualTower":
        """Set the mode; a tower that never learns drops nothing, and counts no statistics."""
        super().train(mode)
        for name in TOWERS:
            tower = self.get_submodule(name)
            if self.is_frozen(name):
                tower.eval()
            elif self.fixed_statistics:
                for module in tower.modules():
                    if uses_batch_statistics(module):
                        module.eval()
        return self

    def is_frozen(self, tower: str) -> bool:
        """Return whether nothing in a tower learns."""
        return not any(parameter.requires_grad for parameter in self.get_submodule(tower).parameters())

    # Features of the towers, and what becomes of them.

    def image_features(self, images: Tensor) -> Tensor:
        """Return what the image tower makes of images (B, 1, H, W) in [0, 1]: (B, F)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen("image_tower")):
            features: Tensor = self.image_tower(images)
        return features

    def text_features(self, tokens: Tokens) -> Tensor:
        """Return what the text tower makes of tokenised texts: (B, F)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen("text_tower")):
            features: Tensor = self.text_tower(tokens)
        return features

    def project_image(self, features: Tensor) -> Tensor:
        """Return embeddings (B, D) of the image tower's features (B, F)."""
        return self._compared(self.image_projection(features))

    def project_text(self, features: Tensor) -> Tensor:
        """Return embeddings (B, D) of the text tower's features (B, F)."""
        return self._compared(self.text_projection(features))

    def encode_image(self, images: Tensor) -> Tensor:
        """Return embeddings (B, D) of images (B, 1, H, W) in [0, 1], of length 1 unless `similarity` is dot."""
        return self.project_image(self.image_features(images))

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return embeddings (B, h, w, D) of the places of images (B, 1, H, W), each as an image would be compared.

        Raises:
            ConfigError: the image tower keeps no grid of places.
        """
        return self.project_image(self.image_tower.places(images))

    def encode_text(self, tokens: Tokens) -> Tensor:
        """Return embeddings (B, D) of tokenised texts, of length 1 unless `similarity` is dot."""
        return self.project_text(self.text_features(tokens))

    def tokenize(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tokens:
        """Tokenise texts as the text tower reads them; bodies: (B, 2) characters of the report in each."""
        tower: Any = self.text_tower
        tokens: Tokens = tower.tokenize(texts, bodies)
        return tokens

    def forward(self, images: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return the embeddings of both, each (B, D)."""
        return self.encode_image(images), self.encode_text(tokens)

    # How they are compared.

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by, scalar."""
        return self.logit_scale if self.similarity == "dot" else self.logit_scale.exp()

    @torch.no_grad()
    def bound_scale(self) -> None:
        """Keep the scale where CLIP keeps it: what is learnt in [0, ln 100]."""
        self.logit_scale.clamp_(0.0, math.log(LARGEST_SCALE))

    def similarities(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the similarity of every image embedding (B, D) with every text embedding (N, D): (B, N)."""
        return image @ text.T

    def _compared(self, projected: Tensor) -> Tensor:
        wide = projected.to(torch.promote_types(projected.dtype, torch.float32))
        return wide if self.similarity == "dot" else normalize(wide, dim=-1)

    def _checked_dim(self) -> int:
        """Both projections on a zero vector: what they take must be what the towers give, what they give the same."""
        ends = {}
        for name, projection, width in (
            ("image", self.image_projection, self.image_tower.num_features),
            ("text", self.text_projection, int(getattr(self.text_tower, "width"))),  # noqa: B009
        ):
            try:
                with torch.no_grad():
                    ends[name] = projection.eval()(torch.zeros(1, width)).shape[-1]
            except RuntimeError as error:
                raise ConfigError(
                    f"the {name} tower gives features of width {width}, which model.{name}_projection does not take "
                    f"({' '.join(str(error).split())}); build it for that width"
                ) from error
        if ends["image"] != ends["text"]:
            raise ConfigError(f"the projections end in {ends['image']} (image) and {ends['text']} (text) dimensions; "
                              "set one model.dim for both")  # fmt: skip
        return int(ends["image"])


def dual_tower(
    backbone: Callable[..., Backbone | Vit | PooledBackbone],
    text_tower: nn.Module,
    image_projection: Projection,
    text_projection: Projection,
    dim: int = 512,
    in_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    logit_scale: float = 1 / 0.07,
    logit_bias: float | None = None,
    similarity: str = "cosine",
    freeze: Sequence[str] = (),
    fixed_statistics: bool = False,
    context: Callable[..., nn.Module] | Mapping[str, Any] | None = None,
) -> DualTower:
    """Build a `DualTower`.

    backbone: factory called with `in_channels`, and with `context` where one is given, as a classifier's backbone is.
    text_tower: a `TextEncoder` (model=text_...), or an open_clip text tower.
    image_projection, text_projection: factories called with (width of the tower, dim).
    mean, std: see `ImageEncoder`. Raises ConfigError.
    """
    options = {"context": context} if callable(context) else {}
    try:
        network = backbone(in_channels=in_channels, **options)
    except TypeError as error:
        raise ConfigError(f"model.backbone cannot be built: {error}") from error
    images = ImageEncoder(network, in_channels, mean, std)
    width = int(getattr(text_tower, "width", 0))
    if not width or not hasattr(text_tower, "tokenize"):
        raise ConfigError(
            f"model.text_tower is a {type(text_tower).__name__}; expected a text encoder (a config model/text_...) or an "
            "open_clip text tower"
        )
    return DualTower(
        images, text_tower, image_projection(images.num_features, dim), text_projection(width, dim),
        logit_scale, logit_bias, similarity, freeze, fixed_statistics,
    )  # fmt: skip
