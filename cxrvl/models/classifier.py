"""How does a grey radiograph become one logit per finding?"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.backbones import Backbone

_GREY_AXES = 4


class ClassifierOutput(NamedTuple):
    """logits (B, L), and maps (B, L, h, w): the class maps, in logits, that the logits were pooled from."""

    logits: Tensor
    maps: Tensor


class ImageClassifier(nn.Module):
    """A backbone and a head for grey images (B, 1, H, W) in [0, 1].

    head: factory called with (num_features, num_labels). in_channels must be the backbone's: with 3 the grey channel
    is repeated; with 1 a pretrained stem is summed over RGB. mean and std: normalisation per channel; None takes the
    backbone's own (ImageNet's unless its weights say otherwise), averaged over RGB for one channel.
    Raises ConfigError for settings that do not fit, DataError for images of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: Callable[[int, int], nn.Module],
        num_labels: int,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if backbone.in_channels != in_channels:
            raise ConfigError(
                f"classifier: in_channels={in_channels} but the backbone takes {backbone.in_channels}; set both alike"
            )
        if num_labels < 1:
            raise ConfigError(f"classifier: num_labels={num_labels}; expected at least one label")
        self.backbone = backbone
        self.head = head(backbone.num_features, num_labels)
        self.num_labels, self.in_channels = num_labels, in_channels
        for name, values, default in (("mean", mean, backbone.mean), ("std", std, backbone.std)):
            channels = _per_channel(name, values if values is not None else default, in_channels, values is None)
            self.register_buffer(name, channels.view(1, -1, 1, 1), persistent=False)
        if not bool((self.std > 0).all()):
            raise ConfigError(f"classifier: std={self.std.flatten().tolist()}; every value must be above 0")

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Return logits (B, L) and class maps (B, L, h, w) of grey images (B, 1, H, W) in [0, 1]."""
        if images.ndim != _GREY_AXES or images.shape[1] != 1:
            raise DataError(f"classifier: images of shape {tuple(images.shape)}; expected grey images (B, 1, H, W)")
        normalised = (images - self.mean) / self.std
        if self.std.dtype in (torch.float16, torch.bfloat16):  # trainer.precision=bf16-true: the weights are half too
            normalised = normalised.to(self.std.dtype)
        return ClassifierOutput(*self.head(self.backbone(normalised)))


def _per_channel(name: str, values: Sequence[float], channels: int, may_average: bool) -> Tensor:
    """Return one value per channel, averaging RGB defaults for a single channel."""
    tensor = torch.tensor(tuple(values), dtype=torch.float32)
    if may_average and channels == 1:
        return tensor.mean().view(1)
    if tensor.numel() != channels:
        raise ConfigError(f"classifier: {name} has {tensor.numel()} values for {channels} input channels")
    return tensor
