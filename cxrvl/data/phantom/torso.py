"""How much do soft tissue, shoulders and breasts attenuate? The smooth part, drawn at half the size."""

import numpy as np

from cxrvl.data.phantom.anatomy import Body
from cxrvl.data.phantom.geometry import smooth
from cxrvl.data.phantom.grid import Image, coarse_size, doubling, grid, ramp
from cxrvl.data.phantom.scene import Scene
from cxrvl.data.phantom.texture import FIELDS

_NECK = 0.1


def torso(scene: Scene) -> Image:
    """Draw the attenuation of everything but lungs, bones and heart: (size, size) float32, torso about 1, air 0."""
    points, body, pose = grid(coarse_size(scene.points.size)), scene.body, scene.pose
    x, y = points.x - scene.midline.x(points.y), points.y
    beside = np.abs(x)
    depth = _outline(scene, x, beside, y)
    fullness = 1.0 + 0.22 * smooth((y - 0.66) / 0.3)
    depth *= body.tissue * fullness
    depth *= _grain(scene, points.size)
    # Heads of the upper arms.
    depth += 0.16 * ramp(1.25 - ((beside - body.arms + 0.04) ** 2 + (y - body.shoulder - 0.16) ** 2) / 0.0045)
    _add_breasts(depth, x, y, body)
    depth *= 1.0 + (pose.cut_x + 0.06 * pose.rotation) * x + pose.cut_y * (y - 0.5)
    up = doubling(scene.points.size)
    full: Image = np.matmul(up @ depth, up.T, dtype=np.float32)
    return full


def _grain(scene: Scene, size: int) -> Image:
    """Muscle, fat and bowel are never even: (size, size) about 1."""
    choice = scene.body.tissue_grain
    skip, bank = int(choice * size), scene.texture.coarse[int(choice * 7 * FIELDS) % FIELDS]
    grain: Image = bank[skip : skip + size, skip : skip + size] * np.float32(0.022)
    grain += 1.0
    return grain


def _outline(scene: Scene, x: Image, beside: Image, y: Image) -> Image:
    body = scene.body
    waist = 0.5 * (scene.lungs[0].width + scene.lungs[1].width) + body.wall
    flank = waist + (body.arms + 0.06 - waist) * smooth((body.axilla - y) / 0.2) + 0.02 * smooth((y - 0.6) / 0.4)
    across = beside / flank
    depth: Image = np.maximum(1.0 - across * across, 0.0, dtype=np.float32)
    depth *= 1.13 / (depth + 0.13)
    shoulder = body.shoulder + 0.3 * (beside - _NECK) + 2.2 * np.maximum(beside - 0.36, 0.0) ** 2
    shoulder += scene.pose.slope * x - 0.3 * ramp((_NECK + 0.05 - beside) * 10.0) ** 2
    depth *= ramp((y - shoulder) * 26.0)
    return depth


def _add_breasts(depth: Image, x: Image, y: Image, body: Body) -> None:
    left = (x > 0).astype(np.float32)
    across = (np.abs(x) - 0.2) / (1.12 * body.breast_r)
    down = (y - body.breast_y) / body.breast_r
    inside = 1.0 - across * across - down * down
    # Full below, thin above: the lower fold is the one seen.
    np.maximum(inside, 0.0, out=inside)
    np.sqrt(inside, out=inside)
    inside *= ramp(0.55 + 0.6 * down)
    inside *= body.breast * (1.0 + (body.breast_even - 1.0) * left)
    depth += inside
