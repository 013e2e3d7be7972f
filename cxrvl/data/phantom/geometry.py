"""Where are the edges of lungs, diaphragm and heart? Closed forms that serve tables, masks and pixels alike.

Coordinates: x to the image's right, y down, both in [0, 1] of the square image. `r` is the distance from the midline
towards one side of the patient, so that one formula draws both lungs. Only + - * / and square roots occur: they are
exactly rounded everywhere, so boxes built on them do not depend on the machine.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

# An image shows a field of 40 cm: lungs about 28 cm wide, nodules of 12 to 30 mm.
FIELD_MM = 400.0

# A float64 array per image (tables), or one Python float (rendering one image); formulas take either.
Number = Any


def quarter(z: Number) -> Number:
    """Rise like a quarter of an ellipse from 0 at z = 0 to 1 at z = 1; flat beyond."""
    z = np.clip(z, 0.0, 1.0)
    return np.sqrt(z * (2.0 - z))


def smooth(z: Number) -> Number:
    """Rise smoothly from 0 at z <= 0 to 1 at z >= 1."""
    z = np.clip(z, 0.0, 1.0)
    return z * z * (3.0 - 2.0 * z)


@dataclass(frozen=True)
class Shape:
    """A record of numbers per image."""

    def at(self, row: int) -> Self:
        """Take one image's numbers as Python floats."""
        return type(self)(**{field.name: float(getattr(self, field.name)[row]) for field in fields(self)})

    def rows(self, chosen: Number) -> Self:
        """Take some images' numbers as blocks (n, 1, 1), ready to meet a grid of coordinates."""
        return type(self)(**{field.name: getattr(self, field.name)[chosen][:, None, None] for field in fields(self)})


@dataclass(frozen=True)
class Midline(Shape):
    """The spine's course: x at mid height, its tilt, its bend (scoliosis)."""

    mid: Number
    tilt: Number
    bend: Number

    def x(self, y: Number) -> Number:
        """Say where the midline is at height y."""
        z = y - 0.5
        return self.mid + (self.tilt + self.bend * z) * z


@dataclass(frozen=True)
class Lung(Shape):
    """One lung's outline, in distances from the midline.

    `apex_x`, `apex_y` top; `width` largest distance of the chest wall; `base_y` costophrenic angle; `dome_x`, `dome_y`
    top of the diaphragm; `medial` distance of the mediastinal edge.
    """

    apex_x: Number
    apex_y: Number
    width: Number
    base_y: Number
    dome_x: Number
    dome_y: Number
    medial: Number

    def height(self) -> Number:
        """Measure from apex to costophrenic angle."""
        return self.base_y - self.apex_y

    def depth(self, y: Number) -> Number:
        """Say how far down the lung y is: 0 at the apex, 1 at the costophrenic angle."""
        return (y - self.apex_y) / self.height()

    def lateral(self, y: Number) -> Number:
        """Distance of the chest wall at height y."""
        return self.apex_x + (self.width - self.apex_x) * quarter(self.depth(y) * 1.4)

    def inner(self, y: Number) -> Number:
        """Distance of the mediastinal edge at height y."""
        return self.apex_x - (self.apex_x - self.medial) * quarter(self.depth(y) * 6.0)

    def dome(self, r: Number) -> Number:
        """Height of the diaphragm at distance r: steep towards the chest wall, shallow towards the heart."""
        lateral = np.clip((r - self.dome_x) / (self.width - self.dome_x), 0.0, 1.2)
        medial = np.clip((self.dome_x - r) / self.dome_x, 0.0, 1.0)
        fall = lateral * lateral * (0.45 + 0.55 * lateral * lateral) + 0.4 * medial * medial
        return self.dome_y + (self.base_y - self.dome_y) * fall

    def contains(self, r: Number, y: Number) -> Number:
        """Tell which points (r, y) lie in the lung."""
        inside = (y > self.apex_y) & (r > self.inner(y)) & (r < self.lateral(y))
        return inside & (y < self.dome(r))


@dataclass(frozen=True)
class Heart(Shape):
    """The heart's outline as two edges: `right` and `left` largest distances from the (shifted) midline."""

    shift: Number
    right: Number
    left: Number
    top: Number
    bottom: Number
    apex: Number

    def edges(self, y: Number) -> tuple[Number, Number]:
        """Distances (right, left) of the two borders from the shifted midline; 0 above and below the heart."""
        z = (y - self.top) / (self.bottom - self.top)
        inside = (z > 0.0) & (z < 1.0)
        atrium = (z - 0.62) / 0.66
        right = self.right * np.sqrt(np.clip(1.0 - atrium * atrium, 0.0, 1.0))
        rise = np.clip(z / self.apex, 0.0, 1.0)
        ventricle = 0.26 + 0.74 * rise * (0.3 + 0.7 * rise * (3.0 - 2.0 * rise))
        below = np.clip((z - self.apex) / (1.12 - self.apex), 0.0, 1.0)
        left = self.left * np.minimum(ventricle, np.sqrt(1.0 - below * below))
        return np.where(inside, right, 0.0), np.where(inside, left, 0.0)
