"""How does a grey radiograph enter a network that was made for colour photographs?"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError, DataError

_IMAGE_AXES = 4


class Expecting(Protocol):
    """What a backbone says of the images it was made for."""

    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class GreyInput(nn.Module):
    """Base of the models that take grey images (B, 1, H, W) in [0, 1], which they repeat and normalise.

    backbone: says what it expects. in_channels must be the backbone's: with 3 the grey channel is repeated; with 1 a
    pretrained stem is summed over RGB. mean and std: normalisation per channel; None takes the backbone's own, averaged
    over RGB for one channel. The numbers are not saved: the config has them.
    Raises ConfigError for settings that do not fit.
    """

    WHAT: ClassVar[str] = "model"
    READY: ClassVar[bool] = False
    """Whether images (B, in_channels, H, W) are taken beside grey ones."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Expecting, in_channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> None:
        super().__init__()
        if backbone.in_channels != in_channels:
            raise ConfigError(
                f"{self.WHAT}: in_channels={in_channels} but the backbone takes {backbone.in_channels}; set both alike"
            )
        self.in_channels = in_channels
        for name, values, default in (("mean", mean, backbone.mean), ("std", std, backbone.std)):
            channels = self._per_channel(name, values if values is not None else default, values is None)
            if name == "std" and not min(channels) > 0:
                raise ConfigError(f"{self.WHAT}: std={channels}; every value must be above 0")
            self.register_buffer(name, torch.tensor(channels).view(1, -1, 1, 1), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Return what the backbone takes, (B, in_channels, H, W), of images (B, 1, H, W) in [0, 1].

        Raises:
            DataError: images of another shape.
        """
        if images.ndim != _IMAGE_AXES or images.shape[1] not in {1, self.in_channels if self.READY else 1}:
            ready = f" or (B, {self.in_channels}, H, W)" if self.READY and self.in_channels != 1 else ""
            raise DataError(
                f"{self.WHAT}: images of shape {tuple(images.shape)}; expected grey images (B, 1, H, W){ready}"
            )
        normalised = (images - self.mean) / self.std
        if self.std.dtype in (torch.float16, torch.bfloat16):  # trainer.precision=bf16-true: the weights are half too
            normalised = normalised.to(self.std.dtype)
        return normalised

    def _per_channel(self, name: str, values: Sequence[float], may_average: bool) -> list[float]:
        """Return one value per channel, averaging RGB defaults for a single channel."""
        channels = [float(value) for value in values]
        if may_average and self.in_channels == 1:
            return [torch.tensor(channels, dtype=torch.float32, device="cpu").mean().item()]
        if len(channels) != self.in_channels:
            raise ConfigError(f"{self.WHAT}: {name} has {len(channels)} values for {self.in_channels} input channels")
        return channels
