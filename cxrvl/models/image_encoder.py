"""How does a grey radiograph become one embedding?"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from cxrvl.errors import ConfigError
from cxrvl.models.backbones import Backbone
from cxrvl.models.grey import GreyInput
from cxrvl.models.timm_image import PooledBackbone
from cxrvl.models.vit import Vit

_MAP_AXES = 4


class ImageEncoder(GreyInput):
    """A backbone, its feature map averaged: images (B, 1, H, W) in [0, 1] become embeddings (B, num_features).

    An embedding, such as a vision transformer's, is taken as it is. in_channels, mean and std: as `GreyInput` says. Images that
    have the network's channels already, (B, in_channels, H, W) in [0, 1], are taken too.
    Raises ConfigError for settings that do not fit, DataError for images of another shape.
    """

    WHAT: ClassVar[str] = "image encoder"
    READY: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone | Vit | PooledBackbone,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(backbone, in_channels, mean, std)
        self.backbone = backbone
        self.num_features = backbone.num_features

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, num_features) of images (B, 1, H, W) in [0, 1]."""
        features: Tensor = self.backbone(self.normalised(images))
        return features.mean((2, 3)) if features.ndim == _MAP_AXES else features

    def places(self, images: Tensor) -> Tensor:
        """Return what is averaged, or attended to, for the embedding: features (B, h, w, num_features) of the places.

        Raises:
            ConfigError: a backbone that keeps no grid of places.
        """
        ready = self.normalised(images)
        if isinstance(self.backbone, Vit):
            tokens, sides = self.backbone.tokens(ready), self.backbone.patch_size
            grid = (ready.shape[-2] // sides[0], ready.shape[-1] // sides[1])
            return tokens[:, tokens.shape[1] - grid[0] * grid[1] :].unflatten(1, grid)
        if isinstance(self.backbone, PooledBackbone):
            return self.backbone.places(ready)
        features: Tensor = self.backbone(ready)
        return features.permute(0, 2, 3, 1)

    def attention(self, images: Tensor) -> Tensor:
        """Return the last block's attention (B, heads, N, N) of images (B, 1, H, W); token 0 is CLS.

        Raises:
            ConfigError: the backbone is no vision transformer.
        """
        if not isinstance(self.backbone, Vit):
            raise ConfigError(
                f"image encoder: {type(self.backbone).__name__} has no attention; choose a vision transformer"
            )
        return self.backbone.attention(self.normalised(images))
