"""How does a grey radiograph become one logit per finding?"""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.backbones import Backbone
from cxrvl.models.grey import GreyInput


class ClassifierOutput(NamedTuple):
    """logits (B, L), and maps (B, L, h, w): the class maps, in logits, that the logits were pooled from."""

    logits: Tensor
    maps: Tensor


class ImageClassifier(GreyInput):
    """A backbone and a head for grey images (B, 1, H, W) in [0, 1].

    head: factory called with (num_features, num_labels). in_channels, mean and std: as `GreyInput` says.
    Raises ConfigError for settings that do not fit, DataError for images of another shape.
    """

    WHAT: ClassVar[str] = "classifier"

    def __init__(
        self,
        backbone: Backbone,
        head: Callable[[int, int], nn.Module],
        num_labels: int,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(backbone, in_channels, mean, std)
        if num_labels < 1:
            raise ConfigError(f"classifier: num_labels={num_labels}; expected at least one label")
        self.backbone = backbone
        self.head = head(backbone.num_features, num_labels)
        self.num_labels = num_labels

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Return logits (B, L) and class maps (B, L, h, w) of grey images (B, 1, H, W) in [0, 1]."""
        return ClassifierOutput(*self.head(self.backbone(self.normalised(images))))
