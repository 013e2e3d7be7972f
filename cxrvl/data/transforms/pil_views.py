"""What would PIL draw? The views of `ViewSet` image by image, as the released code makes them: the reference."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import RandomHorizontalFlip, Resize
from cxrvl.data.transforms.pil_blur import RandomGaussianBlur
from cxrvl.data.transforms.pipeline import to_float
from cxrvl.data.transforms.resample import Sampling
from cxrvl.data.transforms.tone import RandomAutocontrast, RandomEqualize
from cxrvl.data.transforms.views import ViewSet, check_batch
from cxrvl.data.transforms.warps import RandomResizedCrop, RandomRotation
from cxrvl.errors import ConfigError

FILTERS: dict[Sampling | None, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
Change = Callable[[Image.Image], Image.Image]


class PilViewSet(ViewSet):
    """The same views with the same chance, each step carried out by PIL on one 8-bit image after the other.

    Every step rounds to whole grey levels and no two are composed. Slow, on the CPU, whatever device the batch is on:
    for faithful repetitions and as what `ViewSet` is tested against.
    """

    def __call__(self, images: Tensor, draw: Draw) -> list[Tensor]:
        """Draw all views of (B, 1, H, W) uint8 images; one (B, 1, h, w) float32 in [0, 1] per name.

        Raises:
            ConfigError: images that are not bytes, or a step that PIL does not have.
        """
        check_batch(images, draw)
        if images.dtype != torch.uint8:
            raise ConfigError(f"PIL draws views from 8-bit images, got {images.dtype}; set data.store.bits=8")
        pictures = [Image.fromarray(image) for image in images[:, 0].cpu().numpy()]
        draw = replace(draw, keys=draw.keys.cpu())
        views: list[Tensor] = []
        for name, view in self.groups.items():
            copies = draw.scope(f"view.{name}").copies(view.count) if view.count else draw
            drawn = list(pictures) * view.count
            for scope, step in view.pipeline.named if drawn else ():
                width, height = drawn[0].size
                changes = _changes(step, copies.scope(scope), (height, width))
                drawn = [change(picture) for change, picture in zip(changes, drawn, strict=True)]
            for copy in range(view.count):
                mine = drawn[copy * len(images) : (copy + 1) * len(images)]
                stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in mine]))[:, None]
                views.append(to_float(stacked).to(images.device))
        return views


def _changes(step: object, draw: Draw, size: tuple[int, int]) -> list[Change]:
    """What a step does to each of the images, which are of this height and width."""
    n = len(draw.keys)
    if isinstance(step, Resize):
        height, width = step.size(*size)
        return [lambda picture: picture.resize((width, height), FILTERS["bilinear"])] * n
    if isinstance(step, RandomResizedCrop):
        return [_crop(box, step) for box in step.boxes(*size, draw).tolist()]
    if isinstance(step, RandomHorizontalFlip):
        return [ImageOps.mirror if flip else _same for flip in step.flips(draw).tolist()]
    if isinstance(step, RandomRotation):
        return [_turn(angle, step) for angle in step.angles(draw).tolist()]
    if isinstance(step, RandomAutocontrast | RandomEqualize):
        change = cast(Change, ImageOps.autocontrast if isinstance(step, RandomAutocontrast) else ImageOps.equalize)
        return [change if chosen else _same for chosen in step.chosen(draw).tolist()]
    if isinstance(step, RandomGaussianBlur):
        pairs = zip(*(part.tolist() for part in step.chosen(draw)), strict=True)
        return [_blur(radius) if chosen else _same for chosen, radius in pairs]
    raise ConfigError(
        f"PIL has no {type(step).__name__} as this project draws it; expected Resize, RandomResizedCrop, "
        "RandomHorizontalFlip, RandomRotation, RandomAutocontrast, RandomEqualize and RandomGaussianBlur"
    )


def _same(picture: Image.Image) -> Image.Image:
    return picture


def _crop(box: list[int], step: RandomResizedCrop) -> Change:
    x, y, width, height = box
    size = (step.target[1], step.target[0])
    return lambda picture: picture.crop((x, y, x + width, y + height)).resize(size, FILTERS[step.sampling])


def _turn(angle: float, step: RandomRotation) -> Change:
    return lambda picture: picture.rotate(angle, FILTERS[step.sampling], fillcolor=0)


def _blur(radius: float) -> Change:
    return lambda picture: picture.filter(ImageFilter.GaussianBlur(radius))
