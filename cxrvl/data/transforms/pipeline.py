"""How do steps become one transform? In order, with geometric neighbours composed and resampled once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import CenterCrop, Geometric, Resize, needed
from cxrvl.data.transforms.resample import Sampling, resample
from cxrvl.data.transforms.tone import ToneCurve, apply_curves
from cxrvl.errors import ConfigError

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
# On a CPU so many images, or pixels of the output, go through all steps before the next ones: their intermediate
# results stay in the caches.
CPU_SLICE = 8
CPU_PIXELS = CPU_SLICE * 256 * 256
Named = tuple[str, "Transform"]


class Transform(Protocol):
    """(B, 1, H, W) float32 in [0, 1] to another such batch; `draw` is None in evaluation, where chance is refused."""

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor: ...


def to_float(pixels: Tensor) -> Tensor:
    """Stored pixels, uint8 or uint16 of any shape, to float32 in [0, 1]; ConfigError for other types."""
    if pixels.dtype not in FULL_SCALE:
        raise ConfigError(f"pixels are {pixels.dtype}, expected float32, or uint8 or uint16 of an image store")
    return pixels.to(torch.float32).div_(FULL_SCALE[pixels.dtype])


class Pipeline:
    """Steps in order.

    In training (a draw is given) neighbouring geometric steps are composed into one matrix per image and resampled
    once: crops and mirrors exactly and antialiased, anything turned or sheared by one bilinear sampling. Steps that
    sample as PIL ("bicubic", "nearest") are composed with mirrors alone, and keep bytes as bytes, in PIL's rounding.
    Neighbouring tone curves are applied as one. In evaluation each step is carried out as torchvision would. Every step
    draws under its own name, `RandomAffine.0`, `RandomAffine.1`, so adding a step of another kind leaves the others'
    draws as they were.
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)
        seen: Counter[str] = Counter()
        self.named: list[tuple[str, Transform]] = []
        for step in self.steps:
            kind = type(step).__name__
            self.named.append((f"{kind}.{seen[kind]}", step))
            seen[kind] += 1
        self._groups = _group(self.named)

    def __call__(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        """(B, 1, H, W), float32 in [0, 1] or stored pixels (see `to_float`), to (B, 1, h, w) float32 in [0, 1]."""
        if images.dim() != 4 or len(images) == 0:
            raise ConfigError(f"transforms take images as (B, 1, H, W), got {tuple(images.shape)}")
        if draw is not None and len(draw.keys) != len(images):
            raise ConfigError(f"a draw for {len(draw.keys)} samples was given with {len(images)} images")
        step = len(images)
        if images.device.type == "cpu":
            height, width = self.size(*images.shape[-2:])
            step = max(CPU_SLICE, CPU_PIXELS // (height * width))
        if len(images) <= step:
            return self._run(images, draw)
        out: Tensor | None = None
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            done = self._run(images[part], None if draw is None else replace(draw, keys=draw.keys[part]))
            if out is None:
                out = done.new_empty(len(images), *done.shape[1:])
            out[part] = done
        assert out is not None
        return out

    def _run(self, images: Tensor, draw: Draw | None) -> Tensor:
        if draw is None:
            images = _floats(images)
            for step in self.steps:
                images = step(images, None)
            return images
        for sampling, steps in self._groups:
            if isinstance(steps[0][1], ToneCurve):
                curves = [(step, draw.scope(name)) for name, step in steps if isinstance(step, ToneCurve)]
                images = apply_curves(_at_most_bytes(images), curves)
                continue
            images = _floats(images) if sampling in (None, "bilinear") else _at_most_bytes(images)
            if len(steps) > 1:
                images = _warp(images, steps, draw, sampling or "bilinear")
            else:
                ((name, step),) = steps
                images = step(images, draw.scope(name))
        return _floats(images)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of this size."""
        for step in self.steps:
            if isinstance(step, Geometric):
                height, width = step.size(height, width)
        return height, width

    def fov(self, fov: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Field of view of an evaluation pipeline's output.

        fov: (B, 4) x0, y0, x1, y1 in shares of the native image that the input covers; size: height and width of the
        input, None for the square images of a store (then a Resize must stand before any CenterCrop).
        ConfigError for pipelines with random geometry, whose view differs from image to image.
        """
        for step in self.steps:
            if not isinstance(step, Geometric):
                continue
            if isinstance(step, CenterCrop):
                if size is None:
                    raise ConfigError(
                        "the field of view of CenterCrop depends on the image size; put a Resize before it"
                    )
                fov = step.fov_of(fov, *size)
            elif not isinstance(step, Resize):
                needed(None, step)
            size = step.size(*(size or (1, 1)))
        return fov


def _floats(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float32 else to_float(images)


def _at_most_bytes(images: Tensor) -> Tensor:
    """Bytes as they are, everything else as float32."""
    return images if images.dtype == torch.uint8 else _floats(images)


def _group(named: Sequence[Named]) -> list[tuple[Sampling | None, list[Named]]]:
    """Neighbours carried out together, with how pixels are taken: geometric ones of one sampling, tone curves."""
    groups: list[tuple[Sampling | None, list[Named]]] = []
    for name, step in named:
        sampling = step.sampling if isinstance(step, Geometric) else None
        if groups:
            before, steps = groups[-1]
            last = steps[-1][1]
            composed = isinstance(step, Geometric) and isinstance(last, Geometric) and None in (before, sampling)
            composed |= isinstance(step, Geometric) and isinstance(last, Geometric) and before == sampling == "bilinear"
            if composed or (isinstance(step, ToneCurve) and isinstance(last, ToneCurve)):
                groups[-1] = (before or sampling, [*steps, (name, step)])
                continue
        groups.append((sampling, [(name, step)]))
    return groups


def _warp(images: Tensor, steps: Sequence[Named], draw: Draw, sampling: Sampling) -> Tensor:
    height, width = images.shape[-2:]
    total: Tensor | None = None
    for name, step in steps:
        assert isinstance(step, Geometric)
        matrix = step.matrix(len(images), height, width, draw.scope(name))
        total = matrix if total is None else total @ matrix
        height, width = step.size(height, width)
    assert total is not None
    return resample(images, total, (height, width), sampling)
