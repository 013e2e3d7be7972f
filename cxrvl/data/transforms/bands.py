"""How are some images of a batch blurred, each with its own kernel? As products with narrow bands, borders included."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.data.transforms.pil_nearest import chunk
from cxrvl.errors import ConfigError

# A blur is a matrix product with a narrow band: cut into tiles of so many pixels, most of the product is band. On a
# CPU that is several times faster than convolutions with a kernel per image, whose speed hangs on the batch size.
TILE = 32


def placed(pixels: Tensor) -> Tensor:
    """Where parts of a kernel fall: (K, n) int64 pixels to (K, n * n) float64, 1 where part k of row i is on pixel j."""
    return F.one_hot(pixels, pixels.shape[1]).flatten(1).to(torch.float64)


def blur_(images: Tensor, rows: Tensor, weights: Tensor, what: str) -> Tensor:
    """Blur some images down and across, in place.

    images: (B, 1, H, W) float32; rows: (n,) which; weights: (n, reach + 1, 2 * reach + 1): row i < reach says what the
    i-th pixel from a border becomes of the first pixels there, row `reach` what a pixel further inside becomes of its
    neighbours. ConfigError where an image is not larger than the kernel; `what` names the step.
    """
    height, width = images.shape[-2:]
    kernel = weights.shape[2]
    if min(height, width) < kernel:
        raise ConfigError(f"{what} is too wide for images of {height} x {width}: its kernel has {kernel} pixels")
    some = chunk(len(rows), (height, width), images.device)
    weights = weights.to(images.dtype)
    down = [(pixels, band.split(some)) for pixels, band in _bands(weights, height)]
    across = [(pixels, band.split(some)) for pixels, band in _bands(weights, width)]
    for i, part in enumerate(rows.split(some)):
        mine = images.index_select(0, part)[:, 0]
        mine = torch.cat([torch.bmm(bands[i], mine[:, pixels]) for pixels, bands in down], dim=1)
        mine = torch.cat([torch.bmm(mine[:, :, pixels], bands[i].mT) for pixels, bands in across], dim=2)
        images.index_copy_(0, part, mine.clamp_(0.0, 1.0)[:, None])
    return images


def _bands(weights: Tensor, length: int) -> list[tuple[slice, Tensor]]:
    """Cut an axis into tiles: which input pixels each needs, and the blur of these, (n, pixels of the tile, pixels).

    weights: (n, reach + 1, 2 * reach + 1), see `blur_`; length: pixels, more than 2 * reach.
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
