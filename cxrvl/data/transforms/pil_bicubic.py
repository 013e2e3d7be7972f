"""How does PIL resize a crop? Bicubic, antialiased and in whole grey levels after each axis, for batches of crops."""

import numpy as np
import torch
from torch import Tensor

# Keys' cubic with a = -1/2 reaches two pixels to each side.
REACH = 2.0
# PyTorch resizes bytes in groups of four channels; a lone channel takes as long as four.
CHANNELS = 4


def bicubic_crops(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a rectangle out of each image and resize it as PIL's BICUBIC does.

    images: (B, 1, H, W) uint8, or float32 in [0, 1]; matrix: (n, 3, 3) float64 of crops with edges on pixels, mirrored
    or not, where n is B or a multiple: crop i is of image i % B; size: height and width of the output (n, 1, *size).
    Bytes are rounded and clipped after each axis, rows first, as PIL does (equal to it within one grey level; newer
    Pillows take columns first where that is less work, which shows where white meets black pixel by pixel). Floats are
    not rounded, and clipped once, at the end.
    """
    height, width = images.shape[-2:]
    x, y = (matrix[:, 0, 2] * width).round(), (matrix[:, 1, 2] * height).round()
    w, h = (matrix[:, 0, 0] * width).round(), (matrix[:, 1, 1] * height).round()
    if images.device.type != "cpu":
        return _products(images, (x, w), (y, h), size)
    boxes = torch.stack([torch.minimum(x, x + w), y, torch.maximum(x, x + w), y + h, w], dim=1).to(torch.int64).tolist()
    if images.dtype == torch.uint8 and height % CHANNELS == 0 and size[1] % CHANNELS == 0:
        return _bytes(images[:, 0], boxes, size)
    n, pieces = len(images), []
    for i, (x0, y0, x1, y1, span) in enumerate(boxes):
        piece = _resize(images[i % n, None, :, y0:y1, x0:x1], size)
        pieces.append(piece.flip(-1) if span < 0 else piece)
    out = torch.cat(pieces)
    return out if out.dtype == torch.uint8 else out.clamp_(0.0, 1.0)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    # What F.interpolate(mode="bicubic", antialias=True) calls: its checks take as long as a small crop, twice a crop.
    return torch._C._nn._upsample_bicubic2d_aa(images, size, False, None)


def _bytes(images: Tensor, boxes: list[list[int]], size: tuple[int, int]) -> Tensor:
    """The same for bytes (B, H, W) in half the time: four neighbours along the other axis pose as channels.

    An axis is resized the same way at each place of the other one. Resizing rows first, as PIL, needs the images'
    columns one after the other; they are turned once for all crops, and each crop is turned back, and mirrored, in
    between. NumPy turns bytes in half of PyTorch's time.
    """
    n, high, wide = images.shape
    down, across = size
    turned = torch.from_numpy(np.ascontiguousarray(images.numpy().transpose(0, 2, 1)))
    done = []
    for i, (x0, y0, x1, y1, span) in enumerate(boxes):
        # Whole groups of rows, as (1, CHANNELS, x, groups); what they hold too much is dropped with the turn back.
        first, groups = y0 // CHANNELS, -(-y1 // CHANNELS) - y0 // CHANNELS
        start = ((i % n) * wide + x0) * high + first * CHANNELS
        piece = turned.as_strided((1, CHANNELS, x1 - x0, groups), (n * wide * high, 1, high, CHANNELS), start)
        columns = _resize(piece, (across, groups)).numpy().transpose(0, 2, 3, 1).reshape(across, -1)
        columns = columns[:: -1 if span < 0 else 1, y0 - first * CHANNELS : y1 - first * CHANNELS]
        rows = torch.from_numpy(np.ascontiguousarray(columns.T))
        rows = rows.as_strided((1, CHANNELS, y1 - y0, across // CHANNELS), (rows.numel(), 1, across, CHANNELS))
        done.append(_resize(rows, (down, across // CHANNELS)))
    return torch.cat(done).permute(0, 2, 3, 1).reshape(len(boxes), 1, down, across)


def _products(
    images: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """The same as two matrix products per crop: one launch for a batch on a GPU, and nothing waits for its boxes."""
    as_bytes = images.dtype == torch.uint8
    pixels = images[:, 0].to(torch.float32).repeat(len(across[0]) // len(images), 1, 1)
    pixels = pixels @ bicubic_weights(*across, images.shape[-1], size[1]).to(torch.float32).mT
    if as_bytes:
        pixels = pixels.round_().clamp_(0.0, 255.0)
    pixels = bicubic_weights(*down, images.shape[-2], size[0]).to(torch.float32) @ pixels
    if as_bytes:
        return pixels.round_().clamp_(0.0, 255.0).to(torch.uint8)[:, None]
    return pixels.clamp_(0.0, 1.0)[:, None]


def bicubic_weights(start: Tensor, span: Tensor, old: int, new: int) -> Tensor:
    """Shares of `old` input pixels in `new` output pixels along one axis, (B, new, old) float64.

    start, span: (B,) edges of the crops in pixels, whole numbers; a negative span mirrors.
    """
    low, length = torch.minimum(start, start + span)[:, None, None], span.abs()[:, None, None]
    out = torch.arange(new, device=start.device, dtype=torch.float64)[None, :, None]
    out = torch.where(span[:, None, None] < 0, new - 1 - out, out)
    scale = length / new
    stretch = scale.clamp(min=1.0)
    centre = (out + 0.5) * scale
    pixel = torch.arange(old, device=start.device, dtype=torch.float64)[None, None, :] - low
    first = (centre - REACH * stretch + 0.5).trunc().clamp(min=0.0)
    last = torch.minimum((centre + REACH * stretch + 0.5).trunc(), length)
    weights = _cubic((pixel - centre + 0.5) / stretch).masked_fill((pixel < first) | (pixel >= last), 0.0)
    return weights / weights.sum(dim=2, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2, as PIL."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1.0, near, torch.where(x < REACH, far, torch.zeros_like(x)))
