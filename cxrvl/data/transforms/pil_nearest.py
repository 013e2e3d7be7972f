"""Which pixel does PIL take for each pixel of a turned image? The nearest, counted in its fixed point, for whole batches."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# PIL counts in 16.16 fixed point when it takes nearest pixels.
BITS = 16
FIXED = 2.0**BITS
# 32-bit fixed point holds coordinates below 2**15 pixels.
NARROW = 2**15
# Pixels with two 4-byte numbers each that a core's own cache holds.
CACHED = 2**17


def nearest(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Show at each output pixel the input pixel that its middle falls on, as PIL's NEAREST does; 0 outside.

    images: (B, 1, H, W) of any type; matrix: (B, 3, 3) float64, output to input coordinates in shares of the sides;
    size: height and width of the output. Counted in PIL's fixed point, so that the same pixels are taken.
    """
    fixed = _fixed(matrix, images.shape, size)
    return _framed(images, fixed, size) if images.device.type == "cpu" else _clipped(images, fixed, size)


def _fixed(matrix: Tensor, shape: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Where in the input, across and down, the first output pixel's middle lies, and PIL's steps: (n, 2, 3) int64."""
    units = torch.tensor([[shape[-1]], [shape[-2]]], dtype=torch.float64, device=matrix.device)
    steps = matrix[:, :2] * units
    steps = torch.stack([steps[:, :, 0] / size[1], steps[:, :, 1] / size[0], steps[:, :, 2]], dim=2)
    # The middle of the first pixel; each further pixel adds a rounded step.
    steps[:, :, 2] += (steps[:, :, 0] + steps[:, :, 1]) * 0.5
    return (steps * FIXED + 0.5).floor().to(torch.int64)


def _clipped(images: Tensor, fixed: Tensor, size: tuple[int, int]) -> Tensor:
    """All images at once, as a GPU does best; a frame of air takes what lies outside: coordinates are clipped to it."""
    n, _, high, wide = images.shape
    # A turned image's corners lie outside it.
    whole = torch.int32 if max(high, wide, *size) <= NARROW // 4 else torch.int64
    row, column = (torch.arange(length, device=images.device, dtype=whole) for length in size)
    fixed = fixed.to(whole)
    x, y = (
        (fixed[:, k, 0, None, None] * column + (fixed[:, k, 1, None] * row + fixed[:, k, 2, None])[:, :, None])
        .bitwise_right_shift_(BITS)
        .clamp_(-1, length)
        for k, length in enumerate((wide, high))
    )
    start = torch.arange(n, device=images.device, dtype=whole).view(n, 1, 1) * ((high + 2) * (wide + 2)) + (wide + 3)
    place = x.add_(y, alpha=wide + 2).add_(start)
    return F.pad(images[:, 0], (1, 1, 1, 1)).view(-1).index_select(0, place.view(-1)).view(n, 1, *size)


def _framed(images: Tensor, fixed: Tensor, size: tuple[int, int]) -> Tensor:
    """The same in pieces that stay in a core's cache, in frames as wide as the corners reach: nothing is clipped."""
    n, _, high, wide = images.shape
    some = chunk(n, size, images.device)
    ends = fixed[:, :, :2] * torch.tensor([size[1] - 1, size[0] - 1])
    left, top = ((fixed[:, :, 2] + ends.clamp(max=0).sum(2)).amin(0) >> BITS).clamp(max=0).neg().tolist()
    right, bottom = ((fixed[:, :, 2] + ends.clamp(min=0).sum(2)).amax(0) >> BITS).tolist()
    across, down = left + max(wide, right + 1), top + max(high, bottom + 1)
    # Images of a piece lie below each other; 32-bit fixed point holds coordinates below 2**15.
    whole = torch.int32 if max(across, down * some) <= NARROW else torch.int64
    fixed[:, 0, 2] += left << BITS
    fixed[:, 1, 2] += (torch.arange(n) % some * down + top) << BITS
    fixed = fixed.to(whole)
    row, column = (torch.arange(length, dtype=whole) for length in size)
    fixed = fixed.transpose(0, 1)
    columns = (fixed[:, :, 0, None] * column)[:, :, None, :]
    rows = (fixed[:, :, 1, None] * row + fixed[:, :, 2, None])[..., None]
    places = torch.empty(2, some, *size, dtype=whole)
    frames = images.new_zeros(some, down, across)
    inner = frames[:, top : top + high, left : left + wide]
    out = images.new_empty(n, 1, *size)
    parts = (images[:, 0].split(some), columns.split(some, 1), rows.split(some, 1), out.flatten(1).split(some))
    for image, column, row, made in zip(*parts, strict=True):
        k = len(image)
        inner[:k].copy_(image)
        x, y = torch.add(column, row, out=places[:, :k]).bitwise_right_shift_(BITS)
        torch.index_select(frames.view(-1), 0, x.add_(y, alpha=across).view(-1), out=made.view(-1))
    return out


def chunk(n: int, size: Sequence[int], device: torch.device) -> int:
    """How many of n images of this size to work on at once: on a CPU so few that numbers per pixel stay in its cache."""
    return max(1, min(n, CACHED // (size[0] * size[1]))) if device.type == "cpu" else n
