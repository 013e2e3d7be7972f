"""How is contrast stretched by what an image itself holds? Autocontrast and equalisation, as PIL does on 8 bits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.bands import Blurs
from cxrvl.data.transforms.geometry import needed, probability

LEVELS = 256


class ToneCurve(ABC):
    """A step that maps grey levels by a curve made from the image's own histogram, with probability p.

    Curves have 256 entries, as PIL's. Images of other types than bytes are rounded to 256 levels first where, and only
    where, the step changes them: at most 1/510 of full scale is lost. Inside a `Pipeline` neighbouring curves are
    composed and applied once.
    """

    def __init__(self, p: float = 1.0) -> None:
        self.p = probability(p, type(self).__name__)

    @abstractmethod
    def curves(self, counts: Tensor) -> Tensor:
        """New levels (B, 256) int64 for images with these histograms, (B, 256) int64."""

    def chosen(self, draw: Draw) -> Tensor:
        """Which images are changed, (B,) bool."""
        return draw.uniform("chosen", 1)[:, 0] < self.p

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) uint8, or float32 in [0, 1], to float32 in [0, 1]."""
        return apply_curves(images, [(self, needed(draw, self))])


class RandomAutocontrast(ToneCurve):
    """Stretch grey values so that the darkest pixel is black and the brightest white, as PIL's autocontrast."""

    def curves(self, counts: Tensor) -> Tensor:
        level = torch.arange(LEVELS, device=counts.device, dtype=torch.float64)[None]
        there = counts > 0
        low = there.to(torch.int8).argmax(dim=1, keepdim=True).to(torch.float64)
        high = LEVELS - 1 - there.flip(1).to(torch.int8).argmax(dim=1, keepdim=True).to(torch.float64)
        # Not 255 / tensor: PyTorch takes that as 255 times the reciprocal, which is rounded twice.
        scale = torch.full_like(low, LEVELS - 1) / (high - low)
        stretched = (level * scale - low * scale).clamp(0, LEVELS - 1)
        return torch.where(high > low, stretched, level).to(torch.int64)


class RandomEqualize(ToneCurve):
    """Spread grey values evenly over the whole range, as PIL's equalize: changes what exposure and density mean."""

    def curves(self, counts: Tensor) -> Tensor:
        level = torch.arange(LEVELS, device=counts.device)[None]
        below = counts.cumsum(dim=1) - counts
        brightest = LEVELS - 1 - (counts > 0).flip(1).to(torch.int8).argmax(dim=1, keepdim=True)
        step = below.gather(1, brightest) // (LEVELS - 1)
        spread = ((step // 2 + below) // step.clamp(min=1)).clamp(max=LEVELS - 1)
        return torch.where(step > 0, spread, level)


def apply_curves(images: Tensor, steps: Sequence[tuple[ToneCurve, Draw]], blurs: Blurs | None = None) -> Tensor:
    """Apply curves one after the other, then blurs, to (B, 1, H, W) uint8, or float32 in [0, 1]; float32 in [0, 1]."""
    chosen = [step.chosen(draw) for step, draw in steps]
    changed = torch.nonzero(torch.stack(chosen).any(dim=0))[:, 0]
    if images.dtype == torch.uint8:
        return _look_up(images, _composed(images, steps, chosen, changed), changed, blurs)
    if len(changed):
        some = images.index_select(0, changed).mul_(LEVELS - 1).add_(0.5).to(torch.uint8)
        every = torch.arange(len(changed), device=images.device)
        curves = _composed(some, steps, [which[changed] for which in chosen], every)
        images = images.index_copy(0, changed, _look_up(some, curves, every))
    elif blurs is not None:
        images = images.clone()
    return images if blurs is None else blurs.blur_(images)


def _composed(
    images: Tensor, steps: Sequence[tuple[ToneCurve, Draw]], chosen: Sequence[Tensor], changed: Tensor
) -> Tensor:
    """The curve (B, 256) int64 of each of these bytes; `changed` (n,) are the rows that any step has `chosen`."""
    level = torch.arange(LEVELS, device=images.device)
    curves = level.repeat(len(images), 1)
    if not len(changed):
        return curves
    counts = _counts(images, changed)
    total = curves[changed]
    for (step, _), which in zip(steps, chosen, strict=True):
        curve = torch.where(which[changed, None], step.curves(counts), level)
        total = curve.gather(1, total)
        # The image itself need not be counted again: its levels go where the curve sends them.
        counts = torch.zeros_like(counts).scatter_add_(1, curve, counts)
    return curves.index_copy_(0, changed, total)


def _counts(images: Tensor, rows: Tensor) -> Tensor:
    """Histograms (n, 256) int64 of some of the bytes, rows (n,)."""
    if images.device.type == "cpu":
        flat = images.flatten(1).unbind()
        return torch.stack([torch.bincount(flat[i], minlength=LEVELS) for i in rows.tolist()])
    return torch.bincount(_places(images.index_select(0, rows)), minlength=len(rows) * LEVELS).view(-1, LEVELS)


def _look_up(images: Tensor, curves: Tensor, changed: Tensor, blurs: Blurs | None = None) -> Tensor:
    """Bytes through their curves (B, 256), to float32 in [0, 1], and blurred; all but `changed` (n,) have no curve."""
    values = curves.to(torch.float32).div_(LEVELS - 1)
    out = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    if images.device.type != "cpu":
        torch.index_select(values.view(-1), 0, _places(images), out=out.view(-1))
        return out if blurs is None else blurs.blur_(out)
    looked_up = set(changed.tolist())
    blurred = {} if blurs is None else {row: i for i, row in enumerate(blurs.rows.tolist())}
    for i, (image, value, made) in enumerate(zip(images.flatten(1), values, out, strict=True)):
        flat = blurs.source if blurs is not None and i in blurred else made.view(-1)
        # A core divides in a fraction of the time it looks up.
        if i in looked_up:
            torch.index_select(value, 0, image.to(torch.int32), out=flat)
        else:
            flat.copy_(image).div_(LEVELS - 1)
        # At once, while the image is in the cache.
        if blurs is not None and i in blurred:
            blurs.into(blurred[i], made)
    return out


def _places(images: Tensor) -> Tensor:
    """Index (B * H * W,) int32 of each pixel's level in a table of B x 256 levels."""
    start = torch.arange(len(images), device=images.device, dtype=torch.int32) * LEVELS
    return images.to(torch.int32).add_(start.view(-1, 1, 1, 1)).view(-1)
