"""How are some images of a batch blurred, each with its own kernel? As products with narrow bands, borders included."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.errors import ConfigError

# A blur is a matrix product with a narrow band: cut into tiles of so many pixels, most of the product is band. On a
# CPU that is several times faster than convolutions with a kernel per image, whose speed hangs on the batch size.
TILE = 32


def placed(pixels: Tensor) -> Tensor:
    """Where parts of a kernel fall: (K, n) int64 pixels to (K, n * n) float64, 1 where part k of row i is on pixel j."""
    return F.one_hot(pixels, pixels.shape[1]).flatten(1).to(torch.float64)


class Blurs:
    """The blurs of some images of a batch, down and across, in memory that serves all of them.

    rows: (n,) which images; weights: (n, reach + 1, 2 * reach + 1): row i < reach says what the i-th pixel from a
    border becomes of the first pixels there, row `reach` what a pixel further inside becomes of its neighbours;
    size: height and width. ConfigError where an image is not larger than the kernel; `what` names the step.
    """

    def __init__(self, rows: Tensor, weights: Tensor, size: tuple[int, int], what: str) -> None:
        kernel = weights.shape[2]
        if min(size) < kernel:
            raise ConfigError(f"{what} is too wide for images of {size[0]} x {size[1]}: its kernel has {kernel} pixels")
        self.rows, (self.height, self.width), self.reach = rows, size, kernel // 2
        weights = weights.to(torch.float32)
        self.down = _bands(weights, self.height)
        self.across = self.down if self.width == self.height else _bands(weights, self.width)
        # On a CPU image after image stays in the cache; a GPU takes all at once.
        self.together = 1 if rows.device.type == "cpu" else len(rows)
        # The first and the last tile reach over the images: what lies there is weighed zero, but has to be a number.
        (_, tiles, tile, _), (_, tiles_across, tile_across, _) = self.down.shape, self.across.shape
        before, pixels = self.reach * self.width, self.together * self.height * self.width
        after = (tiles * tile - self.height + self.reach) * self.width
        self._images = weights.new_zeros(before + pixels + after)
        self.source = self._images[before : before + pixels]
        """Where images to be blurred are put, as flat float32 pixels: one on a CPU, all on a GPU."""
        pixels = self.together * tiles * tile * self.width
        self._between = weights.new_zeros(self.reach + pixels + tiles_across * tile_across - self.width + self.reach)

    def into(self, first: int, out: Tensor) -> None:
        """Blur what `source` holds as the blurs from the `first` on do, into `out` (together, H, W)."""
        n, part = self.together, slice(first, first + self.together)
        down, across = self.down[part].flatten(0, 1), self.across[part].flatten(0, 1)
        tile, wide = down.shape[1:]
        high, width, tiles = len(down) // n * tile, self.width, len(across) // n
        # Tiles overlap by the reach of the kernel; images of a batch lie one after the other, as tiles do.
        strides = (self.height * width, tile * width, width, 1)
        tall = self._images.as_strided((n, len(down) // n, wide, width), strides).flatten(0, 1)
        between = self._between[self.reach : self.reach + n * high * width].view(-1, tile, width)
        torch.bmm(down, tall, out=between)
        tile, wide = across.shape[1:]
        broad = self._between.as_strided((n, tiles, high, wide), (high * width, tile, width, 1)).flatten(0, 1)
        done = torch.bmm(broad, across.mT).view(n, tiles, high, tile).transpose(1, 2)
        torch.clamp(done.reshape(n, high, -1)[:, : self.height, :width], 0.0, 1.0, out=out)

    def blur_(self, images: Tensor) -> Tensor:
        """Overwrite those of (B, 1, H, W) float32 images that are blurred; the same images."""
        for first, part in enumerate(self.rows.split(self.together)):
            shape = (len(part), 1, self.height, self.width)
            torch.index_select(images, 0, part, out=self.source.view(shape))
            if self.together == 1:
                self.into(first, images[int(part)])
            else:
                out = torch.empty(shape, device=images.device)
                self.into(0, out[:, 0])
                images.index_copy_(0, part, out)
        return images


def _bands(weights: Tensor, length: int) -> Tensor:
    """The blurs of an axis in tiles, (n, tiles, pixels of a tile, these and `reach` more to each side).

    weights: (n, reach + 1, 2 * reach + 1), see `Blurs`; length: pixels, more than 2 * reach. Rows of the last tile
    that are over the end are zero.
    """
    n, reach = len(weights), weights.shape[1] - 1
    tile = -(-length // max(1, length // TILE))
    tiles = -(-length // tile)
    # Where row i begins at pixel i - reach, not at the border.
    weights = F.pad(weights, (reach, 0))
    start = weights.as_strided((n, reach + 1, 2 * reach + 1), (weights.stride(0), 3 * reach + 2, 1))
    rows = weights.new_zeros(n, tiles * tile, 2 * reach + 1)
    rows[:, :reach] = start[:, :reach]
    rows[:, reach : length - reach] = start[:, reach:]
    rows[:, length - reach : length] = start[:, :reach].flip(1, 2)
    # Each row begins a pixel after the one above: rows of a number too many, one after the other, cut at their width.
    wide = tile + 2 * reach
    return F.pad(rows.view(n, tiles, tile, -1), (0, tile)).flatten(2)[..., : tile * wide].view(n, tiles, tile, wide)
