"""How does PIL take pixels? Bicubic crops with its antialiasing, and turns to the nearest pixel, for whole batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

# PIL counts in 16.16 fixed point when it takes nearest pixels.
FIXED = 65536.0
# Keys' cubic with a = -1/2 reaches two pixels to each side.
REACH = 2.0
# 32-bit fixed point holds coordinates up to 2**15 pixels; a turned image's corners lie outside it.
NARROW = 8192


def bicubic_crops(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut out each image's rectangle and resize it as PIL's BICUBIC does.

    images: (B, 1, H, W) uint8, or float32 in [0, 1]; matrix: (B, 3, 3) float64 of crops with edges on pixels, mirrored
    or not; size: height and width of the output. Bytes are rounded and clipped after each axis as PIL rounds them
    (equal to it within one grey level); floats are not rounded and clipped once, at the end.
    """
    height, width = images.shape[-2:]
    starts = torch.stack([matrix[:, 0, 2] * width, matrix[:, 1, 2] * height], dim=1)
    spans = torch.stack([matrix[:, 0, 0] * width, matrix[:, 1, 1] * height], dim=1)
    x, y = starts.round().unbind(1)
    w, h = spans.round().unbind(1)
    if images.device.type != "cpu":
        return _bicubic_products(images, (x, w), (y, h), size)
    boxes = torch.stack([torch.minimum(x, x + w), y, w.abs(), h, (w < 0).to(x)], dim=1).to(torch.int64).tolist()
    out = images.new_empty(len(images), 1, *size)
    for i, (x0, y0, wide, high, mirrored) in enumerate(boxes):
        piece = images[i : i + 1, :, y0 : y0 + high, x0 : x0 + wide]
        piece = F.interpolate(piece, size, mode="bicubic", align_corners=False, antialias=True)
        out[i] = piece[0].flip(-1) if mirrored else piece[0]
    return out if out.dtype == torch.uint8 else out.clamp_(0.0, 1.0)


def _bicubic_products(
    images: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """The same as two matrix products per image: one launch for a batch on a GPU, and nothing waits for its boxes."""
    as_bytes = images.dtype == torch.uint8
    pixels = images[:, 0].to(torch.float32)
    pixels = pixels @ bicubic_weights(*across, images.shape[-1], size[1]).to(torch.float32).transpose(1, 2)
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
    x = (across[:, 0, None, :] + down[:, 0, :, None]).bitwise_right_shift_(16).clamp_(-1, wide)
    y = (across[:, 1, None, :] + down[:, 1, :, None]).bitwise_right_shift_(16).clamp_(-1, high)
    place = y.mul_(wide + 2).add_(x).view(n, -1)
    start = torch.arange(n, device=images.device, dtype=whole)[:, None] * ((high + 2) * (wide + 2)) + (wide + 3)
    return framed.view(-1).index_select(0, place.add_(start).view(-1)).view(n, 1, *size)
