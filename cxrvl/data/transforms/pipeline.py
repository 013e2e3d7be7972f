"""How do steps become one transform? In order, with geometric neighbours composed and resampled once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import CenterCrop, Geometric, Resize, needed
from cxrvl.data.transforms.resample import resample
from cxrvl.errors import ConfigError

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
# On a CPU so many images go through all steps before the next ones: their intermediate results stay in the caches.
CPU_SLICE = 8


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
    once: crops and mirrors exactly and antialiased, anything turned or sheared by one bilinear sampling. In evaluation
    each step is carried out as torchvision would. Every step draws under its own name, `RandomAffine.0`,
    `RandomAffine.1`, so adding a step of another kind leaves the others' draws as they were.
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)
        seen: Counter[str] = Counter()
        self._named: list[tuple[str, Transform]] = []
        for step in self.steps:
            kind = type(step).__name__
            self._named.append((f"{kind}.{seen[kind]}", step))
            seen[kind] += 1

    def __call__(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        """(B, 1, H, W), float32 in [0, 1] or stored pixels (see `to_float`), to (B, 1, h, w) float32 in [0, 1]."""
        if images.dim() != 4 or len(images) == 0:
            raise ConfigError(f"transforms take images as (B, 1, H, W), got {tuple(images.shape)}")
        if draw is not None and len(draw.keys) != len(images):
            raise ConfigError(f"a draw for {len(draw.keys)} samples was given with {len(images)} images")
        step = CPU_SLICE if images.device.type == "cpu" else len(images)
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
        if images.dtype != torch.float32:
            images = to_float(images)
        if draw is None:
            for step in self.steps:
                images = step(images, None)
            return images
        for geometric, group in groupby(self._named, key=lambda named: isinstance(named[1], Geometric)):
            steps = list(group)
            if geometric and len(steps) > 1:
                images = _warp(images, steps, draw)
            else:
                for name, step in steps:
                    images = step(images, draw.scope(name))
        return images

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


def _warp(images: Tensor, steps: Sequence[tuple[str, Transform]], draw: Draw) -> Tensor:
    height, width = images.shape[-2:]
    total: Tensor | None = None
    for name, step in steps:
        assert isinstance(step, Geometric)
        matrix = step.matrix(len(images), height, width, draw.scope(name))
        total = matrix if total is None else total @ matrix
        height, width = step.size(height, width)
    assert total is not None
    return resample(images, total, (height, width))
