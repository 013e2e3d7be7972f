"""How does PIL blur? By three box filters in a row, here as one kernel per image, borders included."""

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.bands import Blurs, placed
from cxrvl.data.transforms.geometry import interval, needed, probability

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
        # Borders are extended: what lies outside is the border pixel.
        pixel = torch.arange(2 * self.reach + 1) + torch.arange(-self.box, self.box + 1)[:, None]
        self.placed = placed(pixel.clamp(0, 2 * self.reach))

    def chosen(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Which images are blurred, (B,) bool, and by which radius, (B,) float64."""
        u = draw.uniform("blur", 2)
        low, high = self.radius
        return u[:, 1] < self.p, u[:, 0].to(torch.float64) * (high - low) + low

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same; H and W must exceed the kernel's width."""
        blurs = self.blurs(needed(draw, self), (images.shape[-2], images.shape[-1]))
        return images.clone() if blurs is None else blurs.blur_(images.clone())

    def blurs(self, draw: Draw, size: tuple[int, int]) -> Blurs | None:
        """What becomes of the chosen of a batch of images of this height and width; None if there are none."""
        chosen, radius = self.chosen(draw)
        rows = torch.nonzero(chosen)[:, 0]
        return Blurs(rows, self.weights(radius[rows]), size, "RandomGaussianBlur") if len(rows) else None

    def weights(self, radius: Tensor) -> Tensor:
        """The first reach + 1 rows of the blur along one axis, (n, reach + 1, 2 * reach + 1) float64.

        Row i < reach gives the i-th pixel from a border, row `reach` any pixel further inside.
        """
        boxes = _box_radius(radius)[:, None]
        offset = torch.arange(-self.box, self.box + 1, device=radius.device)
        # A box of radius r weighs whole pixels 1 and the ones at its edges by what it covers of them.
        box = (boxes - offset.abs() + 1).clamp(0.0, 1.0) / (2 * boxes + 1)
        width = 2 * self.reach + 1
        once = (box @ self.placed.to(radius.device)).view(-1, width, width)
        return (once @ once @ once)[:, : self.reach + 1]


def _box_radius(sigma: Tensor) -> Tensor:
    """The radius of each of three boxes whose variances add up to sigma's; float64."""
    variance = sigma**2 / PASSES
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + rest
