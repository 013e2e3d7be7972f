"""How is one attention map drawn over a radiograph with its boxes, and what is written below it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.attention import (
    BOX_COLOUR,
    COLOURS,
    Box,
    above_uniform,
    coverage,
    mass_in_boxes,
    oracle_group,
    sharpest_group,
)
from cxrvl.tables.cells import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

GREY = "#555555"
COLOUR = "Colour: attention above the uniform level, each map up to its own maximum."
SCALE = f"Yellow: ground-truth box. {COLOUR}"


@dataclass(frozen=True)
class Example:
    """One image with its boxes and the maps of each side, such as K and Q: (G, h, w), summing to 1 per group."""

    image: NDArray[np.float64]
    boxes: Sequence[Box]
    title: str
    maps: dict[str, NDArray[np.float64]]

    def mass(self, attention: NDArray[np.float64]) -> float:
        """Attention of one map (h, w) inside the boxes; NaN without a box."""
        return float(mass_in_boxes(attention[None, None], [self.boxes])[0, 0])

    @property
    def chance(self) -> float:
        """The share of the image that the boxes cover: what attention spread evenly puts into them."""
        return float(coverage(self.boxes, *next(iter(self.maps.values())).shape[1:]).mean())

    @property
    def aspect(self) -> float:
        """Height over width, so that nothing is stretched."""
        return self.image.shape[0] / self.image.shape[1]

    def sharpest(self, side: str) -> int:
        """The label-free choice of a group."""
        return int(sharpest_group(self.maps[side][None])[0])

    def oracle(self, side: str) -> int:
        """The choice that knows the box; -1 without one."""
        return int(oracle_group(self.maps[side][None], [self.boxes])[0])


def check_boxes(boxes: Sequence[Sequence[Box]]) -> None:
    """Refuse, as DataError, boxes that are not x0 < x1, y0 < y1 within [0, 1]."""
    for drawn in boxes:
        for x0, y0, x1, y1 in drawn:
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise DataError(f"box {(x0, y0, x1, y1)} is not x0 < x1, y0 < y1 within [0, 1] of the shown image")


def draw_image(axes: "Axes", example: Example, thin: bool = False) -> None:
    """Show the image with its boxes outlined."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    axes.set_axis_off()
    axes.imshow(
        example.image, cmap="gray", vmin=0, vmax=1, extent=(0, 1, 1, 0), aspect=example.aspect, interpolation="bilinear"
    )
    axes.set(xlim=(0, 1), ylim=(1, 0))
    line = 0.8 if thin else 1.3
    for x0, y0, x1, y1 in example.boxes:
        halo = [withStroke(linewidth=line + 1.2, foreground="black")]
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=BOX_COLOUR, linewidth=line, path_effects=halo)
        )


def overlay(axes: "Axes", example: Example, attention: NDArray[np.float64], side: str, thin: bool = False) -> None:
    """Show the image, an attention map (h, w) over it in its side's colour, and the boxes."""
    draw_image(axes, example, thin)
    strength = above_uniform(attention)
    axes.imshow(
        strength, cmap=_fade(side), vmin=0, vmax=1, extent=(0, 1, 1, 0), aspect=example.aspect, interpolation="bilinear"
    )


def _fade(side: str) -> "Colormap":
    """From nothing to the side's colour: the image stays visible where the map is low."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    return LinearSegmentedColormap.from_list(side, [(*to_rgb(COLOURS[side]), 0.0), (*to_rgb(COLOURS[side]), 0.85)])


def frame(axes: "Axes", colour: str, style: str) -> None:
    """Outline the whole axes."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (0, 0),
            1,
            1,
            fill=False,
            edgecolor=colour,
            linewidth=2.6,
            linestyle=style,
            transform=axes.transAxes,
            zorder=9,
        )
    )


def told(example: Example, attention: NDArray[np.float64], group: int | None, kind: str = "group") -> str:
    """Which group of the maps (None: their mean), and how much of it lies in the boxes, with chance in brackets."""
    who = f"all {kind}s" if group is None else f"{kind} {group}"
    return f"{who}: {share(example.mass(attention))} ({share(example.chance)})" if example.boxes else who


def share(value: float) -> str:
    """A share as whole percent; NaN as a dash."""
    return NOTHING if np.isnan(value) else f"{100 * value:.0f} %"
