"""Which views of an image does a self-training step compare? Named groups, each drawn from the stored batch at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import Size
from cxrvl.data.transforms.pipeline import Pipeline, Transform
from cxrvl.data.transforms.resample import Sampling
from cxrvl.data.transforms.warps import RandomResizedCrop
from cxrvl.errors import ConfigError


@dataclass(frozen=True)
class View:
    """One kind of view: how it is drawn and how many of them; 0 leaves the kind out."""

    pipeline: Pipeline
    count: int = 1


def crop_view(
    size: int | tuple[int, int] | list[int],
    scale: tuple[float, float] | list[float],
    steps: Sequence[Transform] = (),
    count: int = 1,
    ratio: tuple[float, float] | list[float] = (3 / 4, 4 / 3),
    interpolation: Sampling = "bilinear",
) -> View:
    """Build a view that is a random crop, then other steps; what multi-crop recipes vary can be named in a config.

    Args:
        size: pixels of the view.
        scale: range of the crop's share of the image's area.
        steps: what follows the crop; geometric steps are composed with it unless it is bicubic.
        count: views of this kind.
        ratio: range of the crop's width / height.
        interpolation: see `RandomResizedCrop`.
    """
    return View(Pipeline([RandomResizedCrop(size, scale, ratio, interpolation), *steps]), count)


class ViewSet:
    """Views of every image of a batch, in stacking order: group after group, in each its copies.

    A group of one view is named as the group, one of several `local.0`, `local.1`, ... What a view shows is a pure
    function of (seed, epoch, the image's key, group, number of the view): other groups, counts, batches and devices
    change nothing.

    Args:
        groups: kinds of views by name, in stacking order.
    """

    def __init__(self, groups: Mapping[str, View]) -> None:
        self.groups = dict(groups)
        for name, view in self.groups.items():
            if view.count < 0:
                raise ConfigError(f"views: group '{name}' has count {view.count}, expected at least 0")
        self.names: list[str] = []
        for name, view in self.groups.items():
            self.names += [name] if view.count == 1 else [f"{name}.{i}" for i in range(view.count)]
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(f"views are {self.names or 'none'}; expected at least one, each with its own name")

    def sizes(self, height: int, width: int) -> list[Size]:
        """Height and width of each view, in stacking order, for stored images of this size."""
        return [view.pipeline.size(height, width) for view in self.groups.values() for _ in range(view.count)]

    def __call__(self, images: Tensor, draw: Draw) -> list[Tensor]:
        """Draw all views of a batch on its device.

        Args:
            images: (B, 1, H, W) uint8 or uint16 as stored, or float32 in [0, 1].
            draw: seed, epoch and the images' keys.

        Returns:
            One (B, 1, h, w) float32 in [0, 1] per name.
        """
        check_batch(images, draw)
        views: list[Tensor] = []
        for name, view in self.groups.items():
            if view.count:
                copies = images.repeat(view.count, 1, 1, 1) if view.count > 1 else images
                drawn = view.pipeline(copies, draw.scope(f"view.{name}").copies(view.count))
                views += drawn.split(len(images))
        return views


def check_batch(images: Tensor, draw: Draw) -> None:
    """ConfigError for images that are no batch of grey images, or a draw for another batch."""
    if images.dim() != 4 or images.shape[1] != 1 or len(images) == 0:
        raise ConfigError(f"views are drawn from grey images (B, 1, H, W), got {tuple(images.shape)}")
    if len(draw.keys) != len(images):
        raise ConfigError(f"a draw for {len(draw.keys)} samples was given with {len(images)} images")
