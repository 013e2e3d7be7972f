"""What may go wrong with a radiograph on its way to a network? Seven corruptions at five severities, batched.

Strengths are those a reader of radiographs meets: severity 1 is hardly seen, at 3 the picture is poor, at 5 it would be
taken again, but large findings can still be named. Widths and shifts are shares of the side, so that a severity looks
alike at any resolution. Chance (noise, direction, place) is drawn once per image: the severities of one corruption are
steps of one change, and the same for every model.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import box_matrix, needed, probability
from cxrvl.data.transforms.intensity import GaussianBlur, GaussianNoise
from cxrvl.data.transforms.resample import resample
from cxrvl.data.transforms.warps import affine_matrix
from cxrvl.errors import ConfigError

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One way of spoiling images: `change(images, level, draw)`, and its level at each of the severities 1 to 5.

    levels are in the unit named by `unit`.
    """

    change: Callable[[Tensor, float, Draw], Tensor]
    levels: tuple[float, float, float, float, float]
    unit: str


def _noise(images: Tensor, std: float, draw: Draw) -> Tensor:
    """Quantum and electronic noise: too low a dose, a portable device."""
    return GaussianNoise((std, std))(images, draw)


def _blur(images: Tensor, share: float, draw: Draw) -> Tensor:
    """Motion, a coarse detector, an upscaled copy."""
    sigma = share * min(images.shape[-2:])
    return GaussianBlur((sigma, sigma))(images, draw)


def _contrast(images: Tensor, factor: float, draw: Draw) -> Tensor:
    """Scatter without a grid, a large patient, too wide a window: grey values move towards the image's mean."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0.0, 1.0)


def _gamma(images: Tensor, power: float, draw: Draw) -> Tensor:
    """Over- or underexposure, another display curve: half of the images become darker, half brighter."""
    darker = draw.uniform("direction", 1)[:, 0] < 0.5
    powers = torch.where(darker, images.new_tensor(power), images.new_tensor(1 / power))
    return images.pow(powers.view(-1, 1, 1, 1))


def _jpeg(images: Tensor, quality: float, draw: Draw) -> Tensor:
    """Images sent through messengers and slides: 8-bit grey JPEG at the network's resolution."""
    pixels = (images[:, 0].clamp(0.0, 1.0) * 255).round().to(torch.uint8).cpu().numpy()
    back = np.stack([_through_jpeg(image, int(quality)) for image in pixels])
    return torch.from_numpy(back)[:, None].to(images.device, torch.float32).div_(255.0)


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))


def _rotation(images: Tensor, degrees: float, draw: Draw) -> Tensor:
    """A patient lying askew: to the left or to the right, air comes in at the corners."""
    side = torch.where(draw.uniform("direction", 1)[:, 0] < 0.5, -1.0, 1.0).to(torch.float64)
    zero, height, width = torch.zeros_like(side), *images.shape[-2:]
    matrix = affine_matrix(side * degrees, zero, zero, zero + 1, zero, width / height)
    return resample(images, matrix, (height, width))


def _crop(images: Tensor, share: float, draw: Draw) -> Tensor:
    """Collimated too tightly, off centre: a part with this share of both sides fills the picture."""
    place = draw.uniform("place", 2).to(torch.float64) * (1 - share)
    x0, y0 = place.unbind(1)
    return resample(images, box_matrix(x0, y0, x0 + share, y0 + share), tuple(images.shape[-2:]))


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption(_noise, (0.01, 0.02, 0.035, 0.055, 0.085), "standard deviation in shares of full scale"),
    "blur": Corruption(_blur, (0.003, 0.0045, 0.0065, 0.0095, 0.014), "standard deviation in shares of the side"),
    "contrast": Corruption(_contrast, (0.8, 0.65, 0.5, 0.38, 0.28), "factor about the mean"),
    "gamma": Corruption(_gamma, (1.2, 1.4, 1.7, 2.1, 2.6), "power, or its inverse"),
    "jpeg": Corruption(_jpeg, (50, 30, 20, 14, 10), "quality from 1 to 100"),
    "rotation": Corruption(_rotation, (3, 6, 10, 15, 20), "degrees to either side"),
    "crop": Corruption(_crop, (0.95, 0.9, 0.85, 0.8, 0.74), "share of each side that is left"),
}


def corrupt(images: Tensor, name: str, severity: int, draw: Draw) -> Tensor:
    """Spoil images in one way.

    Args:
        images: (B, 1, H, W) float32 in [0, 1].
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        draw: keys of the B images; the same draw gives the same noise, direction and place at every severity.

    Returns:
        The same shape and range; one image's result does not depend on the others.

    Raises:
        ConfigError: no such corruption or severity.
    """
    checked([name], [severity])
    kind = CORRUPTIONS[name]
    return kind.change(images, kind.levels[severity - 1], draw.scope(f"corruption/{name}")).clamp_(0.0, 1.0)


def checked(names: Sequence[str], severities: Sequence[int]) -> None:
    """Refuse, as ConfigError, an unknown corruption or severity, one named twice, and an empty list of either."""
    for name in names:
        if name not in CORRUPTIONS:
            raise ConfigError(
                f"there is no corruption {name!r}{did_you_mean(str(name), CORRUPTIONS)}; expected some of "
                f"{', '.join(CORRUPTIONS)}"
            )
    if not set(severities) <= set(SEVERITIES):
        raise ConfigError(f"corruption severities are {list(severities)}; expected some of 1 to 5")
    for what, given in (("corruptions", names), ("severities", severities)):
        if not given or len(set(given)) < len(given):
            raise ConfigError(f"{what} are {list(given)}; expected at least one, none of them twice")


class RandomCorruption:
    """Spoil a share `p` of the images, each by one of the corruptions at one of the severities, drawn evenly."""

    def __init__(
        self,
        p: float,
        corruptions: Sequence[str] = tuple(CORRUPTIONS),
        severities: Sequence[int] = SEVERITIES,
    ) -> None:
        checked(corruptions, severities)
        self.p = probability(p, "RandomCorruption")
        self.corruptions, self.severities = tuple(corruptions), tuple(severities)

    def told(self) -> str:
        """What is done, for notes."""
        return (
            f"a share of {self.p:g} by {', '.join(self.corruptions)} at severity {', '.join(map(str, self.severities))}"
        )

    def chosen(self, draw: Draw) -> list[tuple[str, int] | None]:
        """What happens to each image of a draw: (corruption, severity), or None."""
        u = draw.uniform("choice", 3).tolist()
        return [
            (self.corruptions[math.floor(a * len(self.corruptions))], self.severities[math.floor(b * len(self.severities))])
            if share < self.p
            else None
            for share, a, b in u
        ]  # fmt: skip

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same."""
        draw = needed(draw, self)
        groups: dict[tuple[str, int], list[int]] = {}
        for row, what in enumerate(self.chosen(draw)):
            if what is not None:
                groups.setdefault(what, []).append(row)
        for (name, severity), members in groups.items():
            rows = torch.tensor(members, device=images.device)
            images = images.index_copy(0, rows, corrupt(images[rows], name, severity, draw.take(rows)))
        return images
