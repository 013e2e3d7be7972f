"""How do lungs, ribs, vessels and lung findings change the attenuation? Drawn one lung at a time, on its own part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrvl.data.phantom.cohort import LEFT
from cxrvl.data.phantom.findings import Fluid, Patch, Rim
from cxrvl.data.phantom.geometry import Lung
from cxrvl.data.phantom.grid import Image, ramp
from cxrvl.data.phantom.scene import Scene
from cxrvl.data.phantom.texture import FIELDS, TREE_FRAME, TREES

_TURN = float(2 * np.pi)


@dataclass(frozen=True)
class Field:
    """One lung's part of the image.

    `lung`, `side`; `rows`, `columns` slices; `r` (h, w) distance from the midline; `y` (h, 1); `lateral` (h, 1) edge;
    `air` (h, w) depth of the lung in [0, 1].
    """

    lung: Lung
    side: int
    rows: slice
    columns: slice
    r: Image
    y: Image
    lateral: Image
    air: Image

    @property
    def sign(self) -> float:
        """Direction of the lung from the midline: +1 for the patient's left, the image's right."""
        return 1.0 if self.side == LEFT else -1.0


def lung_field(scene: Scene, side: int, heart: Image) -> Field:
    """Measure one lung's part of the image; the heart, (size, size) depth in [0, 1], displaces its air."""
    points, midline, lung = scene.points, scene.midline, scene.lungs[side]
    sign = 1.0 if side == LEFT else -1.0
    rows = points.span(lung.apex_y - 0.01, lung.base_y + 0.03)
    middle = 0.5 * (midline.x(lung.apex_y) + midline.x(lung.base_y))
    spread = abs(midline.x(lung.apex_y) - middle) + 0.02
    near, far = middle - sign * spread, middle + sign * (lung.width + 0.025 + spread)
    columns = points.span(min(near, far), max(near, far))
    y = points.y[rows]
    r = sign * (points.x[columns] - midline.x(y))
    lateral, inner = lung.lateral(y), lung.inner(y)
    dome = lung.dome(sign * (points.x[columns] - midline.x(lung.dome_y)))
    air = (lateral - r) * (r - inner)
    air *= 6.0 / ((lateral - inner) ** 2 + 1e-3)
    ramp(air)
    np.sqrt(air, out=air)
    # The recess behind the dome still holds a little lung.
    air *= 0.9 * ramp((dome - y) * (0.45 * points.size)) + 0.1 * ramp((dome - y) * 9.0 + 1.0)
    # Little lung lies under the apex, between the first ribs.
    air *= 0.72 + 0.28 * ramp(lung.depth(y) * 4.0)
    air *= 1.0 - 0.62 * heart[rows, columns]
    return Field(lung, side, rows, columns, r, y, lateral, air)


def add_lung(depth: Image, scene: Scene, field: Field, fluid: Fluid | None, rim: Rim | None) -> Image:
    """Take the lung's air out of the attenuation and put vessels, markings, pleural air and fluid in.

    Changes `field.air` where scars or fluid displace air. Returns the lung that is left for its markings, (h, w) in
    [0, 1].
    """
    body = scene.body
    part, air = depth[field.rows, field.columns], field.air
    air *= 1.0 + body.zone * (0.5 - ramp(field.lung.depth(field.y)))
    if body.blunt > 0:
        _flood(field, Fluid(height=body.blunt, rise=0.07, density=0.6))
    if fluid is not None:
        _flood(field, fluid)
    tissue = air if rim is None else _add_rim(part, scene, field, rim)
    part -= (body.air * (1.0 + 0.07 * field.sign * scene.pose.rotation)) * air
    marks = _tree(scene, field)
    marks += (body.texture * 0.35) * _mottle(scene, field, body.vessel_left * 0.5 + 0.25 * field.side, fine=True)
    marks *= tissue
    part += marks
    return tissue


def _flood(field: Field, fluid: Fluid) -> None:
    wet = ramp(0.5 + (field.y - fluid.surface(field.lung, field.r)) * 36.0)
    wet *= -fluid.density
    wet += 1.0
    field.air[...] *= wet


def _add_rim(part: Image, scene: Scene, field: Field, rim: Rim) -> Image:
    """Darken the pleural air, draw the pleura as a thin line; returns the collapsed lung, (h, w) in [0, 1]."""
    lung, size = field.lung, scene.points.size
    beyond = field.r - rim.pleura(lung, field.y)
    thickness = max(0.0035, 0.5 / size)
    above_end = ramp((lung.apex_y + rim.end * lung.height() - field.y) * 40.0)
    free = ramp(beyond * (0.5 / thickness) + 0.5)
    free *= above_end
    part -= rim.density * free * field.air
    line = ramp(1.0 - np.abs(beyond) / (1.6 * thickness))
    line *= above_end * (field.y > lung.apex_y + rim.gap)
    # A line thinner than a pixel is drawn a pixel wide and as much fainter.
    part += (rim.line * min(1.0, 0.007 * size)) * line * field.air
    tissue: Image = field.air * (1.0 - free)
    return tissue


def _tree(scene: Scene, field: Field) -> Image:
    """Lay the side's vessel tree over the hilum, cut to the field."""
    size, body, lung = scene.points.size, scene.body, field.lung
    left = field.side == LEFT
    tree = scene.texture.trees[int((body.vessel_left if left else body.vessel_right) * TREES)]
    if not left:
        tree = tree[:, ::-1]
    r0, y0, r1, _ = TREE_FRAME
    hilum_y = lung.apex_y + 0.47 * lung.height() - (0.012 if left else 0.0)
    row = min(max(int((hilum_y - field.y[0, 0]) * size), 0), field.r.shape[0] - 1)
    column = int(np.argmin(np.abs(field.r[row] - (lung.medial + 0.012))))
    # Where the tree's first row and column fall in the field.
    top = round((hilum_y + y0) * size) - field.rows.start
    first = column + (round(r0 * size) if left else -round(r1 * size))
    out = np.zeros_like(field.r)
    rows = slice(max(0, top), min(out.shape[0], top + tree.shape[0]))
    columns = slice(max(0, first), min(out.shape[1], first + tree.shape[1]))
    source = tree[rows.start - top : rows.stop - top, columns.start - first : columns.stop - first]
    # Trunks carry the hilum's strength, thin branches the periphery's.
    out[rows, columns] = source * (0.17 * body.vessels + (0.2 * body.hilum) * source)
    return out


def _mottle(scene: Scene, field: Field, choice: float, *, fine: bool = False) -> Image:
    """Cut a piece of mottle for the field; `choice` in [0, 1) says which."""
    bank = (scene.texture.fields if fine else scene.texture.coarse)[int(choice * FIELDS) % FIELDS]
    size = scene.points.size
    skip, half = int(choice * 7919.0) % (size // 2), size // 2
    cut: Image = bank[skip : skip + field.r.shape[0], half - skip : half - skip + field.r.shape[1]]
    return cut


def add_patch(depth: Image, scene: Scene, field: Field, tissue: Image, patch: Patch, fuzz: float = 0.0) -> None:
    """Add an opacity in what is left of the lung; `fuzz` in [0, 1] roughens its border and grain."""
    near = patch.radius2(field.r, field.y)
    if fuzz > 0:
        choice = scene.body.vessel_right
        near += fuzz * 0.5 * _mottle(scene, field, choice)
        opacity = ramp((1.35 - near) * 0.8)
        opacity *= 1.0 + fuzz * 0.2 * _mottle(scene, field, choice * 0.7)
    else:
        opacity = ramp((1.2 - near) * 1.6)
    opacity *= tissue
    depth[field.rows, field.columns] += patch.density * opacity


def add_haze(
    depth: Image, scene: Scene, field: Field, tissue: Image, patches: Sequence[Patch], fuzz: float, soft: float
) -> None:
    """Add patches that run into one another: where they overlap, the densest counts most, not their sum.

    `fuzz` in [0, 1] roughens borders and grain, `soft` in (0, 1] is how steep the borders are. A patch with a density
    below 0 is a cavity in all of them.
    """
    top = 1.15 * max(patch.density for patch in patches)
    clear, hollow = np.ones_like(field.r), np.ones_like(field.r)
    choice = scene.body.vessel_right
    rough = (fuzz * 0.5) * _mottle(scene, field, choice)
    for patch in patches:
        near = patch.radius2(field.r, field.y)
        if patch.density < 0:
            hollow *= 1.0 - ramp((1.2 - near) * 1.6) * min(-patch.density / top, 1.0)
        else:
            clear *= 1.0 - ramp((1.0 + 0.5 / soft - near - rough) * soft) * (patch.density / top)
    haze = 1.0 - clear
    haze *= hollow
    haze *= 1.0 + fuzz * 0.25 * _mottle(scene, field, choice * 0.7, fine=True)
    haze *= tissue
    depth[field.rows, field.columns] += top * haze


def add_ribs(depth: Image, scene: Scene, field: Field) -> None:
    """Add the rib cage over one lung: posterior ribs near level, anterior ribs falling towards the sternum."""
    lung, body = field.lung, scene.body
    cage = ramp((field.lateral + 0.014 - field.r) * 60.0)
    cage *= ramp((field.r - 0.03) * 40.0) * ramp((field.y - lung.apex_y) * 16.0)
    cage *= ramp((lung.base_y + 0.02 - field.y) * 14.0)
    # Bone against fluid or abdomen stands out less than bone against air.
    cage *= 0.5 + 0.5 * field.air
    share = field.r * (1.0 / 0.33)
    # Upper ribs turn more sharply than lower ones.
    steep = 1.25 - 0.5 * lung.depth(field.y)
    posterior = field.y - (body.rib_slope * 2.0) * steep * share * (share - 0.35)
    anterior = field.y + (3.2 * body.rib_slope) * (share - 0.65 * share * share)
    part = depth[field.rows, field.columns]
    bones = _bones(posterior, body.rib_spacing, body.rib_phase)
    front = _bones(anterior, body.rib_spacing * 1.12, body.rib_phase + 0.37)
    front *= 0.62 * ramp((field.r - 0.1) * 12.0)
    bones += front
    bones *= cage
    bones *= body.rib_density
    part += bones


def _bones(height: Image, spacing: float, phase: float) -> Image:
    """Draw ribs at every whole number of spacings: cross-section about 1, higher at the two edges (cortex)."""
    wave = height * (_TURN / spacing)
    wave -= _TURN * phase
    np.cos(wave, out=wave)
    wave -= 0.12
    wave *= 2.4
    bone = ramp(wave)
    bone *= 1.9 - bone
    return bone
