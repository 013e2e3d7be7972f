"""How does PIL blur? By three box filters in a row, here as one kernel per image, borders included."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import interval, needed, probability
from cxrvl.data.transforms.pil_nearest import chunk
from cxrvl.errors import ConfigError

PASSES = 3
# Blurring is a matrix product with a narrow band: cut into tiles of so many pixels, most of the product is band.
TILE = 32


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
        # Which pixel (column) each part of a box at a pixel (row) falls on; borders are extended.
        pixel = torch.arange(2 * self.reach + 1)
        parts = [
            F.one_hot((pixel + step).clamp(0, 2 * self.reach), 2 * self.reach + 1)
            for step in range(-self.box, self.box + 1)
        ]
        self.steps = torch.stack(parts).flatten(1).to(torch.float64)

    def chosen(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Which images are blurred, (B,) bool, and by which radius, (B,) float64."""
        u = draw.uniform("blur", 2)
        low, high = self.radius
        return u[:, 1] < self.p, u[:, 0].to(torch.float64) * (high - low) + low

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same; H and W must exceed the kernel's width."""
        return self.blur_(images.clone(), needed(draw, self))

    def blur_(self, images: Tensor, draw: Draw) -> Tensor:
        """Overwrite the chosen of (B, 1, H, W) float32 images by what they become; the same images."""
        chosen, radius = self.chosen(draw)
        rows = torch.nonzero(chosen)[:, 0]
        if not len(rows):
            return images
        height, width = images.shape[-2:]
        if min(height, width) <= 2 * self.reach:
            raise ConfigError(
                f"RandomGaussianBlur: radius {self.radius[1]} is too wide for images of {height} x {width}; "
                f"expected more than {2 * self.reach} pixels"
            )
        weights = self.weights(radius[rows]).to(images.dtype)
        some = chunk(len(rows), (height, width), images.device)
        down = [(pixels, band.split(some)) for pixels, band in _bands(weights, height)]
        across = [(pixels, band.split(some)) for pixels, band in _bands(weights, width)]
        for i, part in enumerate(rows.split(some)):
            mine = images.index_select(0, part)[:, 0]
            mine = torch.cat([torch.bmm(bands[i], mine[:, pixels]) for pixels, bands in down], dim=1)
            mine = torch.cat([torch.bmm(mine[:, :, pixels], bands[i].mT) for pixels, bands in across], dim=2)
            images.index_copy_(0, part, mine.clamp_(0.0, 1.0)[:, None])
        return images

    def weights(self, radius: Tensor) -> Tensor:
        """The first reach + 1 rows of the blur along one axis, (n, reach + 1, 2 * reach + 1) float64.

        Row i < reach gives the i-th pixel from a border, row `reach` any pixel further inside.
        """
        boxes = _box_radius(radius)[:, None]
        offset = torch.arange(-self.box, self.box + 1, device=radius.device)
        # A box of radius r weighs whole pixels 1 and the ones at its edges by what it covers of them.
        box = (boxes - offset.abs() + 1).clamp(0.0, 1.0) / (2 * boxes + 1)
        width = 2 * self.reach + 1
        once = (box @ self.steps.to(radius.device)).view(-1, width, width)
        return (once @ once @ once)[:, : self.reach + 1]


def _box_radius(sigma: Tensor) -> Tensor:
    """The radius of each of three boxes whose variances add up to sigma's; float64."""
    variance = sigma**2 / PASSES
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + rest


def _bands(weights: Tensor, length: int) -> list[tuple[slice, Tensor]]:
    """Cut an axis into tiles: which input pixels each needs, and the blur of these, (n, pixels of the tile, pixels).

    weights: (n, reach + 1, 2 * reach + 1), see `RandomGaussianBlur.weights`; length: pixels, more than 2 * reach.
    """
    n, reach = len(weights), weights.shape[1] - 1
    count = max(2, length // max(TILE, reach))
    edges = [length * i // count for i in range(count + 1)]
    tile = -(-length // count)
    wide = tile + 2 * reach
    # Each row is the one above, moved by a pixel: rows of `wide` + 1 numbers, written one after the other, cut at `wide`.
    inside = F.pad(weights[:, reach], (0, tile)).repeat(1, tile)[:, : tile * wide].view(n, tile, wide)
    border = inside[:, :, reach:].clone()
    border[:, :reach] = 0.0
    border[:, :reach, : 2 * reach] = weights[:, :reach, : 2 * reach]
    bands = [(slice(0, edges[1] + reach), border[:, : edges[1], : edges[1] + reach])]
    for start, end in pairwise(edges[1:-1]):
        size = end - start
        bands.append((slice(start - reach, end + reach), inside[:, :size, : size + 2 * reach]))
    size = length - edges[-2]
    bands.append((slice(edges[-2] - reach, length), border[:, :size, : size + reach].flip(1, 2)))
    return bands
