"""What else lies on the film, whatever the patient has? Lines, pacemakers, electrodes, frame and side marker."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cxrvl.data.phantom.cohort import LEFT, RIGHT, Cohort
from cxrvl.data.phantom.detector import EQUIPMENT
from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray
from cxrvl.data.phantom.geometry import smooth
from cxrvl.data.phantom.grid import Grid, Image, ramp
from cxrvl.data.phantom.scene import Scene

_LETTERS = {
    LEFT: ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    RIGHT: ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
}
_GLYPHS = {side: np.array([[cell == "1" for cell in line] for line in lines]) for side, lines in _LETTERS.items()}


@dataclass(frozen=True)
class Devices:
    """Devices, frame and marker of N images, drawn without a look at any finding.

    `pacemaker`, `line`, `tube`, `electrodes` (N,) bool; `device_side` (N,) RIGHT or LEFT; `marker` (N,) side of the
    letter, -1 for none; `frame` (N, 4) width of the black border at top, bottom, left and right, in image widths;
    `bright`, `place`, `course` (N,) free numbers in [0, 1).
    """

    pacemaker: BoolArray
    line: BoolArray
    tube: BoolArray
    electrodes: BoolArray
    device_side: IntArray
    marker: IntArray
    frame: FloatArray
    bright: FloatArray
    place: FloatArray
    course: FloatArray

    @classmethod
    def draw(cls, cohort: Cohort) -> Self:
        """Draw the devices: a pacemaker stays with its patient, everything else changes from image to image."""
        people, images = Draws(cohort.seed, cohort.patient), Draws(cohort.seed, cohort.index)
        marker = images.chance("marker/side", 0.5).astype(np.int64)
        framed = images.uniform("frame") < np.array([equipment.frame for equipment in EQUIPMENT])[cohort.hospital]
        frame = np.stack([images.between(f"frame/{edge}", 0.0, 0.045) for edge in range(4)], axis=1)
        return cls(
            pacemaker=people.chance("pacemaker", 0.08),
            line=images.chance("line", 0.15),
            tube=images.chance("tube", 0.05),
            electrodes=images.chance("electrodes", 0.12),
            device_side=np.where(people.chance("device/side", 0.75), LEFT, RIGHT),
            marker=np.where(images.chance("marker", 0.8), marker, -1),
            frame=np.where(framed[:, None], frame, 0.0),
            bright=images.uniform("device/bright"),
            place=images.uniform("device/place"),
            course=images.uniform("device/course"),
        )


def add_devices(depth: Image, scene: Scene, devices: Devices, row: int) -> None:
    """Add one image's devices to the attenuation."""
    points, midline = scene.points, scene.midline
    place, course = float(devices.place[row]), float(devices.course[row])
    sign = 1.0 if devices.device_side[row] == LEFT else -1.0
    if devices.pacemaker[row]:
        _add_pacemaker(depth, scene, sign, place)
    if devices.line[row]:
        end = 0.34 + 0.14 * place
        y = points.y[points.span(0.0, end)]
        bow = 0.035 + 0.1 * course
        _add_curve(depth, points, 0.0, end, midline.x(y) - 0.03 - bow * (1.0 - smooth(y / 0.24)), 0.0028, 0.28)
    if devices.tube[row]:
        end = 0.24 + 0.1 * place
        y = points.y[points.span(0.0, end)]
        for side in (-1.0, 1.0):
            _add_curve(depth, points, 0.0, end, midline.x(y) - 0.004 + side * 0.009, 0.0022, 0.16)
    if devices.electrodes[row]:
        for lead in range(3):
            _add_electrode(depth, points, lead, place, course)


def _add_pacemaker(depth: Image, scene: Scene, sign: float, place: float) -> None:
    points, midline, heart = scene.points, scene.midline, scene.heart
    x0, y0 = midline.mid + sign * (0.235 + 0.05 * place), 0.215 + 0.05 * place
    rows, columns = points.span(y0 - 0.06, y0 + 0.06), points.span(x0 - 0.06, x0 + 0.06)
    across, down = (points.x[columns] - x0) / 0.048, (points.y[rows] - y0) / 0.042
    across, down = across * across, down * down
    can = ramp((1.0 - across * across - down * down) * 4.0)
    depth[rows, columns] += can * (0.75 - 0.25 * ramp(0.4 - down - across))
    top, end = y0 - 0.05, heart.bottom - 0.07
    y = points.y[points.span(top, end)]
    along = (y - top) / (end - top)
    # From the can over the subclavian vein to the cava, then down and across to the right ventricle's apex.
    lead = midline.x(y) - 0.035 + (x0 - sign * 0.04 - midline.mid + 0.035) * (1.0 - smooth(along / 0.2))
    lead = lead + (0.45 * heart.left + 0.035) * smooth((along - 0.55) / 0.45)
    _add_curve(depth, points, top, end, lead, 0.0028, 0.35)


def _add_curve(depth: Image, points: Grid, top: float, end: float, x: Image, half: float, amount: float) -> None:
    """Add a thin wire that runs down the image: x (h, 1) for the rows between `top` and `end`."""
    rows, columns = points.span(top, end), points.span(float(x.min()) - 0.02, float(x.max()) + 0.02)
    wide = max(half, 0.5 / points.size)
    # A steep run crosses more of each row; measure off the wire, not along the row.
    slope = np.gradient(x[:, 0])[:, None] * points.size if x.shape[0] > 1 else np.zeros_like(x)
    off = np.abs(points.x[columns] - x) / np.sqrt(1.0 + slope * slope)
    wire = ramp(1.5 - off / wide)
    depth[rows, columns] += (amount * half / wide) * wire


def _add_electrode(depth: Image, points: Grid, lead: int, place: float, course: float) -> None:
    x0 = (0.22, 0.77, 0.72)[lead] + 0.1 * (place - 0.5)
    y0 = (0.24, 0.27, 0.68)[lead] + 0.12 * (course - 0.5)
    rows, columns = points.span(y0 - 0.025, y0 + 0.025), points.span(x0 - 0.025, x0 + 0.025)
    off: Image = np.sqrt((points.x[columns] - x0) ** 2 + (points.y[rows] - y0) ** 2)
    depth[rows, columns] += 0.22 * ramp(2.2 - np.abs(off - 0.010) / 0.004)
    end = 0.98
    y = points.y[points.span(y0 + 0.01, end)]
    drift = 0.1 * (course - 0.5) + 0.05 * (lead - 1)
    _add_curve(depth, points, y0 + 0.01, end, x0 + drift * smooth((y - y0) / (end - y0)), 0.002, 0.12)


def add_frame(image: Image, points: Grid, devices: Devices, row: int) -> None:
    """Blacken what the collimator cut off the finished image."""
    top, bottom, left, right = (int(width * points.size) for width in devices.frame[row].tolist())
    image[:top] = 0.02
    image[points.size - bottom :] = 0.02
    image[:, :left] = 0.02
    image[:, points.size - right :] = 0.02


def add_marker(image: Image, points: Grid, devices: Devices, row: int) -> None:
    """Print the side letter L or R on its side of the finished image."""
    side = int(devices.marker[row])
    if side < 0:
        return
    tall, wide = 0.055, 0.036
    x0 = 0.9 + 0.05 * float(devices.course[row]) if side == LEFT else 0.02 + 0.05 * float(devices.course[row])
    y0 = 0.03 + 0.06 * float(devices.place[row])
    glyph = _GLYPHS[side]
    rows, columns = points.span(y0, y0 + tall), points.span(x0, x0 + wide)
    lines = np.clip(((points.y[rows, 0] - y0) * (7 / tall)).astype(int), 0, 6)
    cells = np.clip(((points.x[columns] - x0) * (5 / wide)).astype(int), 0, 4)
    ink = glyph[np.ix_(lines, cells)] * np.float32(0.6 + 0.4 * float(devices.bright[row]))
    part = image[rows, columns]
    np.maximum(part, ink, out=part)
