"""Which pixel does PIL take for each pixel of a turned image? The nearest, counted in its fixed point, for whole batches."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# PIL counts in 16.16 fixed point when it takes nearest pixels.
FIXED = 65536.0
# 32-bit fixed point holds coordinates up to 2**15 pixels; a turned image's corners lie outside it.
NARROW = 8192
# Pixels with two 4-byte numbers each that a core's own cache holds.
CACHED = 2**17


def nearest(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Show at each output pixel the input pixel that its middle falls on, as PIL's NEAREST does; 0 outside.

    images: (B, 1, H, W) of any type; matrix: (B, 3, 3) float64, output to input coordinates in shares of the sides;
    size: height and width of the output. Counted in PIL's fixed point, so that the same pixels are taken.
    """
    n, _, high, wide = images.shape
    whole = torch.int32 if max(high, wide, *size) <= NARROW else torch.int64
    units = torch.tensor([[wide], [high]], dtype=torch.float64, device=matrix.device)
    steps = matrix[:, :2] * units
    steps = torch.stack([steps[:, :, 0] / size[1], steps[:, :, 1] / size[0], steps[:, :, 2]], dim=2)
    # The middle of the first pixel; each further pixel adds a rounded step.
    steps[:, :, 2] += (steps[:, :, 0] + steps[:, :, 1]) * 0.5
    fixed = (steps * FIXED + 0.5).floor().to(whole)
    column = torch.arange(size[1], device=images.device, dtype=whole)
    row = torch.arange(size[0], device=images.device, dtype=whole)
    across, down = fixed[:, :, 0, None] * column, fixed[:, :, 1, None] * row + fixed[:, :, 2, None]
    # A frame of air around the images takes what lies outside: coordinates are clipped to it.
    framed = F.pad(images[:, 0], (1, 1, 1, 1))
    start = torch.arange(n, device=images.device, dtype=whole).view(n, 1, 1) * ((high + 2) * (wide + 2)) + (wide + 3)
    some = chunk(n, size, images.device)
    x, y = (torch.empty(some, *size, dtype=whole, device=images.device) for _ in range(2))
    out = images.new_empty(n, 1, *size)
    for i in range(0, n, some):
        part = slice(i, min(i + some, n))
        x, y = x[: part.stop - i], y[: part.stop - i]
        torch.add(across[part, 0, None, :], down[part, 0, :, None], out=x).bitwise_right_shift_(16).clamp_(-1, wide)
        torch.add(across[part, 1, None, :], down[part, 1, :, None], out=y).bitwise_right_shift_(16).clamp_(-1, high)
        place = x.add_(y, alpha=wide + 2).add_(start[part])
        torch.index_select(framed.view(-1), 0, place.view(-1), out=out[part].view(-1))
    return out


def chunk(n: int, size: Sequence[int], device: torch.device) -> int:
    """How many of n images of this size to work on at once: on a CPU so few that numbers per pixel stay in its cache."""
    return max(1, min(n, CACHED // (size[0] * size[1]))) if device.type == "cpu" else n
