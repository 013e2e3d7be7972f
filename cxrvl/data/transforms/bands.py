"""How are some images of a batch blurred, each with its own kernel? As products with narrow bands, borders included."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.errors import ConfigError

# A blur is a matrix product with a narrow band: cut into tiles of so many pixels, most of the product is band. On a
# CPU that is several times faster than convolutions with a kernel per image, whose speed hangs on the batch size.
TILE = 16


def placed(pixels: Tensor) -> Tensor:
    """Where parts of a kernel fall: (K, n) int64 pixels to (K, n * n) float64, 1 where part k of row i is on pixel j."""
    return F.one_hot(pixels, pixels.shape[1]).flatten(1).to(torch.float64)


class Blurs:
    """The blurs of some images of a batch, down and across, in memory that serves all of them.

    rows: (n,) which images; weights: (n, reach + 1, 2 * reach + 1): row i < reach says what the i-th pixel from a
    border becomes of the first pixels there, row `reach` what a pixel further inside becomes of its neighbours;
    size: height and width; together: all images at once, as a GPU does best, or one after the other, so that each stays
    in a core's cache. ConfigError where an image is not larger than the kernel; `what` names the step.
    """

    def __init__(
        self, rows: Tensor, weights: Tensor, size: tuple[int, int], what: str, *, together: bool | None = None
    ) -> None:
        kernel = weights.shape[2]
        if min(size) < kernel:
            raise ConfigError(f"{what} is too wide for images of {size[0]} x {size[1]}: its kernel has {kernel} pixels")
        self.rows, (self.height, self.width), self.reach = rows, size, kernel // 2
        weights = weights.to(torch.float32)
        self.down = _bands(weights, self.height)
        self.across = self.down if self.width == self.height else _bands(weights, self.width)
        together = rows.device.type != "cpu" if together is None else together
        n = self.together = len(rows) if together else 1
        (_, down, tile, wide), (_, across, tile_across, wide_across) = self.down.shape, self.across.shape
        high, long = down * tile, across * tile_across
        # The first and the last tile reach over the images: what lies there is weighed zero, but has to be a number.
        before, pixels = self.reach * self.width, n * self.height * self.width
        first = weights.new_zeros(before + pixels + (high - self.height + self.reach) * self.width)
        second = weights.new_zeros(n * high * self.width + long - self.width + 2 * self.reach)
        self.source = first[before : before + pixels]
        """Where images to be blurred are put, as flat float32 pixels: one on a CPU, all on a GPU."""
        # Tiles overlap by the reach of the kernel; images of a batch lie one after the other, as tiles do.
        tall = first.as_strided(
            (n, down, wide, self.width), (self.height * self.width, tile * self.width, self.width, 1)
        )
        self._between = second[self.reach : self.reach + n * high * self.width].view(-1, tile, self.width)
        broad = second.as_strided((n, across, high, wide_across), (high * self.width, tile_across, self.width, 1))
        self._done = weights.new_empty(n * across, high, tile_across)
        self._image = self._done.view(n, across, high, tile_across).transpose(1, 2)[:, : self.height]
        # One image's tiles are a view of it; several images' are copied first.
        self._tall, self._broad = (tall[0], broad[0]) if n == 1 else (tall, broad)
        self._whole = long == self.width
        kernels = (bands.flatten(0, 1).split(n * bands.shape[1]) for bands in (self.down, self.across.mT))
        self._kernels = list(zip(*kernels, strict=True))

    def into(self, first: int, out: Tensor) -> None:
        """Blur what `source` holds as the blurs from the `first` on do, into `out`: contiguous, of as many pixels."""
        down, across = self._kernels[first]
        torch.bmm(down, self._tall if self.together == 1 else self._tall.flatten(0, 1), out=self._between)
        torch.bmm(self._broad if self.together == 1 else self._broad.flatten(0, 1), across, out=self._done)
        if self._whole:
            torch.clamp(self._image, 0.0, 1.0, out=out.view(self._image.shape))
        else:
            torch.clamp(self._image.flatten(2)[..., : self.width], 0.0, 1.0, out=out.view(-1, self.height, self.width))

    def blur_(self, images: Tensor) -> Tensor:
        """Overwrite those of (B, 1, H, W) float32 images that are blurred; the same images."""
        for first, part in enumerate(self.rows.split(self.together)):
            shape = (len(part), 1, self.height, self.width)
            torch.index_select(images, 0, part, out=self.source.view(shape))
            if self.together == 1:
                self.into(first, images[int(part)])
            else:
                out = torch.empty(shape, device=images.device)
                self.into(0, out)
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
