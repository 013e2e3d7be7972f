"""How do heart, great vessels, trachea, spine and clavicles change the attenuation?"""

import numpy as np

from cxrvl.data.phantom.cohort import LEFT
from cxrvl.data.phantom.geometry import smooth
from cxrvl.data.phantom.grid import Image, ramp
from cxrvl.data.phantom.scene import Scene


def heart_depth(scene: Scene) -> Image:
    """Draw the heart's depth, (size, size) in [0, 1]: a rounded body between its two borders."""
    points, midline, heart = scene.points, scene.midline, scene.heart
    depth = np.zeros((points.size, points.size), dtype=np.float32)
    rows = points.span(heart.top, heart.bottom)
    y = points.y[rows]
    centre = midline.x(y) + heart.shift
    right, left = heart.edges(y)
    columns = points.span(float((centre - right).min()), float((centre + left).max()))
    x = points.x[columns] - centre
    between = (x + right) * (left - x)
    between *= 7.0 / ((right + left) ** 2 + 1e-4)
    ramp(between)
    np.sqrt(between, out=between)
    # Its lower border is lost in the diaphragm.
    between *= smooth((y - heart.top) / 0.1) * (1.0 - smooth((y - heart.bottom + 0.075) / 0.075))
    depth[rows, columns] = between
    return depth


def add_vessels(depth: Image, scene: Scene) -> None:
    """Add the great vessels: vena cava on the right, aortic knob and descending aorta on the left."""
    points, midline, heart, body, lung = scene.points, scene.midline, scene.heart, scene.body, scene.lungs[LEFT]
    knob_y = lung.apex_y + 0.27 * lung.height()
    rows = points.span(lung.apex_y - 0.03, heart.top + 0.14)
    y = points.y[rows]
    half = body.mediastinum
    right = 0.026 + half * smooth((y - lung.apex_y) / 0.15)
    arch = (y - knob_y) / (1.25 * body.knob)
    left = 0.022 + half * 0.8 * smooth((y - lung.apex_y) / 0.15)
    left += (1.1 * body.knob) * np.sqrt(np.maximum(1.0 - arch * arch, 0.0))
    columns = points.span(midline.mid - 0.2, midline.mid + 0.2)
    x = points.x[columns] - (midline.x(y) + heart.shift)
    between = (x + right) * (left - x)
    between *= 9.0 / (right + left) ** 2
    ramp(between)
    np.sqrt(between, out=between)
    between *= smooth((y - lung.apex_y + 0.03) / 0.12) * (1.0 - smooth((y - heart.top - 0.06) / 0.08))
    depth[rows, columns] += 0.2 * between


def add_spine(depth: Image, scene: Scene) -> None:
    """Add the vertebral column and take out the trachea's and main bronchi's air."""
    points, midline, body, pose = scene.points, scene.midline, scene.body, scene.pose
    columns = points.span(midline.mid - 0.11, midline.mid + 0.11)
    x = points.x[columns] - midline.x(points.y)
    across = 1.0 - (x * (1.0 / 0.042)) ** 2
    column = ramp(across * 2.2)
    body_phase = (points.y / (0.8 * body.rib_spacing) + body.rib_phase) % 1.0
    disc = 0.62 + 0.38 * ramp((0.5 - np.abs(body_phase - 0.5)) * 9.0)
    column *= disc * (body.spine * 0.8)
    part = depth[:, columns]
    part += column
    rows = points.span(0.0, 0.42)
    y = points.y[rows]
    air = x[rows] - (0.7 * scene.heart.shift * smooth(y / 0.35) - 0.004 + 0.012 * pose.rotation)
    # Below the carina the airway parts into two main bronchi.
    carina = 0.345 + pose.lift
    below = np.maximum(y - carina, 0.0)
    lumen = 1.0 - ((np.abs(air) - 0.75 * below) * (1.0 / 0.0165)) ** 2
    ramp(lumen)
    lumen *= 0.2 * (1.0 - smooth((y - carina) / 0.06))
    part[rows] -= lumen


def add_clavicles(depth: Image, scene: Scene) -> None:
    """Add both clavicles: an S rising towards the shoulder; rotation moves their inner ends against the spine."""
    points, midline, body, pose = scene.points, scene.midline, scene.body, scene.pose
    rows = points.span(body.clavicle_y - body.clavicle_rise - 0.08, body.clavicle_y + 0.07)
    y = points.y[rows]
    x = points.x - midline.x(body.clavicle_y)
    beside = np.abs(x)
    inner = 0.037 + 0.014 * pose.rotation * np.sign(x)
    run = (beside - inner) * (1.0 / 0.34)
    centre = body.clavicle_y - body.clavicle_rise * run * (1.55 - 0.3 * run) + pose.slope * x
    centre -= 0.11 * run * (1.0 - run) * (run - 0.42)
    half = 0.0165 - 0.010 * run * (1.2 - run) + 0.008 * ramp(1.0 - run * 5.0)
    off = (y - centre) / half
    off *= off
    bone = ramp((1.0 - off) * 2.0)
    bone *= 1.6 - 0.6 * bone
    bone *= ramp(run * 14.0) * ramp((1.06 - run) * 14.0) * body.clavicle_density
    depth[rows] += bone


def add_scapulae(depth: Image, scene: Scene) -> None:
    """Add the shoulder blades' inner edges beside the upper lungs, alike on both sides."""
    points, midline, lungs, body = scene.points, scene.midline, scene.lungs, scene.body
    rows = points.span(0.12, 0.5)
    y = points.y[rows]
    reach = 0.5 * (lungs[0].width + lungs[1].width)
    edge = reach - 0.035 - 0.05 * smooth((y - 0.16) / 0.12) + 0.09 * smooth((y - 0.28) / 0.2)
    off = np.abs(points.x - midline.x(y)) - edge
    blade = ramp(off * 45.0) * (0.045 * smooth((y - 0.12) / 0.05) * (1.0 - smooth((y - 0.4) / 0.1)))
    if body.fold > 0:
        strength = body.fold * smooth((y - 0.15) / 0.08) * (1.0 - smooth((y - 0.4) / 0.08))
        blade += ramp(1.0 - np.abs(off + 0.03) * 110.0) * strength
    depth[rows] += blade


def add_gas(depth: Image, scene: Scene) -> None:
    """Take the stomach bubble's air out under the left dome."""
    points, midline, left, body = scene.points, scene.midline, scene.lungs[LEFT], scene.body
    if body.gas <= 0:
        return
    top = left.dome_y + 0.02
    x0 = midline.mid + body.gas_x
    rows, columns = points.span(top, top + 1.3 * body.gas_r), points.span(x0 - 1.7 * body.gas_r, x0 + 1.7 * body.gas_r)
    down = (points.y[rows] - top - 0.55 * body.gas_r) * (1.5 / body.gas_r)
    across = (points.x[columns] - x0) * (0.75 / body.gas_r)
    bubble = ramp((1.0 - across * across - down * down) * 1.6)
    depth[rows, columns] -= body.gas * bubble
