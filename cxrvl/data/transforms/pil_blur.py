"""How does PIL blur? By three box filters in a row, here as one kernel per image, borders included."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import interval, needed, probability
from cxrvl.errors import ConfigError

PASSES = 3


class RandomGaussianBlur:
    """PIL's GaussianBlur with a radius (its standard deviation, in output pixels) from a range, with probability p.

    PIL approximates the Gaussian by three boxes with fractional edges, and extends border pixels before each. Results
    equal PIL's up to its rounding to whole grey levels after each pass. `GaussianBlur` is the Gaussian itself.
    """

    def __init__(self, radius: tuple[float, float] | list[float] = (0.1, 2.0), p: float = 0.5) -> None:
        self.radius = interval(radius, "RandomGaussianBlur.radius", above=0.0)
        self.p = probability(p, "RandomGaussianBlur")
        # Pixels to each side that the widest box reaches, and three of them in a row.
        self.box = int(_box_radius(torch.tensor([self.radius[1]], dtype=torch.float64)).ceil())
        self.reach = PASSES * self.box

    def chosen(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Which images are blurred, (B,) bool, and by which radius, (B,) float64."""
        u = draw.uniform("blur", 2)
        low, high = self.radius
        return u[:, 1] < self.p, u[:, 0].to(torch.float64) * (high - low) + low

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same; H and W must exceed the kernel's width."""
        chosen, radius = self.chosen(needed(draw, self))
        rows = torch.nonzero(chosen)[:, 0]
        if not len(rows):
            return images
        if min(images.shape[-2:]) <= 2 * self.reach:
            raise ConfigError(
                f"RandomGaussianBlur: radius {self.radius[1]} is too wide for images of {tuple(images.shape[-2:])}; "
                f"expected more than {2 * self.reach} pixels"
            )
        weights = self.weights(radius[rows]).to(images.dtype)
        some = _blur_rows(images[rows, 0], weights)
        some = _blur_rows(some.transpose(1, 2), weights).transpose(1, 2)
        return images.index_copy(0, rows, some[:, None].clamp_(0.0, 1.0))

    def weights(self, radius: Tensor) -> Tensor:
        """The first reach + 1 rows of the blur along one axis, (n, reach + 1, 2 * reach + 1) float64.

        Row i < reach gives the i-th pixel from a border, row `reach` any pixel further inside.
        """
        boxes = _box_radius(radius)
        width = 2 * self.reach + 1
        offset = torch.arange(-self.box, self.box + 1, device=radius.device)
        # A box of radius r weighs whole pixels 1 and the ones at its edges by what it covers of them.
        box = (boxes[:, None] - offset.abs() + 1).clamp(0.0, 1.0) / (2 * boxes[:, None] + 1)
        once = torch.zeros(len(radius), width, width, dtype=radius.dtype, device=radius.device)
        pixel = torch.arange(width, device=radius.device)
        for shift, share in zip(range(-self.box, self.box + 1), box.unbind(1), strict=True):
            once[:, pixel, (pixel + shift).clamp(0, width - 1)] += share[:, None]
        return (once @ once @ once)[:, : self.reach + 1]


def _box_radius(sigma: Tensor) -> Tensor:
    """The radius of each of three boxes whose variances add up to sigma's; float64."""
    variance = sigma**2 / PASSES
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + rest


def _blur_rows(images: Tensor, weights: Tensor) -> Tensor:
    """Blur (n, H, W) along its last axis: a convolution inside, products with the first rows at both borders."""
    reach = weights.shape[1] - 1
    n, edge = len(images), weights[:, :reach].transpose(1, 2)
    inside = F.conv2d(images[None], weights[:, reach].reshape(n, 1, 1, -1), groups=n)[0]
    first = images[:, :, : 2 * reach + 1] @ edge
    last = images[:, :, -2 * reach - 1 :] @ edge.flip(1, 2)
    return torch.cat([first, inside, last], dim=2)
