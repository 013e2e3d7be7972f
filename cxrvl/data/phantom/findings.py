"""Where is each finding, how large, how dense? Closed forms cut by the patient's own lungs."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cxrvl.data.phantom.anatomy import Anatomy
from cxrvl.data.phantom.cohort import FINDINGS, LEFT, Cohort
from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray
from cxrvl.data.phantom.geometry import Heart, Lung, Midline, Number, Shape

# Boxes are given in steps of 1/1024, outwards.
BOX_STEPS = 1024.0
_SCAN = 24


@dataclass(frozen=True)
class Patch(Shape):
    """An ellipse in the lung (consolidation, nodule, atelectatic band): centre (r, y), half axes, slope, density."""

    r: Number
    y: Number
    across: Number
    down: Number
    slope: Number
    density: Number

    def radius2(self, r: Number, y: Number) -> Number:
        """Square of the distance from the centre, 1 at the border."""
        across = (r - self.r) / self.across
        down = (y - self.y - self.slope * (r - self.r)) / self.down
        return across * across + down * down

    def contains(self, lung: Lung, r: Number, y: Number) -> Number:
        """Tell which points of the lung lie in the patch."""
        return (self.radius2(r, y) < 1.0) & lung.contains(r, y)

    def frame(self, lung: Lung) -> tuple[Number, Number, Number, Number]:
        """Bound the patch by r and y."""
        tall = self.down + self.across * abs(self.slope)
        return self.r - self.across, self.y - tall, self.r + self.across, self.y + tall


@dataclass(frozen=True)
class Fluid(Shape):
    """Pleural fluid: its height at the chest wall, the rise of its meniscus, the part of air it displaces."""

    height: Number
    rise: Number
    density: Number

    def surface(self, lung: Lung, r: Number) -> Number:
        """Height of the fluid's surface at distance r: level in the middle, climbing the chest wall.

        Fluid that does not reach over the dome stays on the dome's lateral side.
        """
        spills = self._level(lung, lung.dome_x) < lung.dome_y
        return np.where(spills | (r > lung.dome_x), self._level(lung, r), 2.0)

    def _level(self, lung: Lung, r: Number) -> Number:
        near = np.clip((r - lung.medial) / (lung.width - lung.medial), 0.0, 1.0)
        climb = near * near * near
        return lung.base_y - self.height + self.rise * (1.0 - climb)

    def contains(self, lung: Lung, r: Number, y: Number) -> Number:
        """Tell which points of the lung lie in the fluid."""
        return (y > self.surface(lung, r)) & lung.contains(r, y)

    def frame(self, lung: Lung) -> tuple[Number, Number, Number, Number]:
        """Bound the fluid by r and y."""
        return lung.medial, lung.base_y - self.height, lung.width, lung.base_y


@dataclass(frozen=True)
class Rim(Shape):
    """Pleural air: gap over the lung's apex, width beside it, depth in the lung where it ends, darkness, line."""

    gap: Number
    width: Number
    end: Number
    density: Number
    line: Number

    def pleura(self, lung: Lung, y: Number) -> Number:
        """Distance of the collapsed lung's edge at height y; at the mediastinum above its apex."""
        fallen = replace(lung, apex_y=lung.apex_y + self.gap)
        part = np.clip(lung.depth(y) / self.end, 0.0, 1.0)
        edge = np.where(part < 1.0, fallen.lateral(y) - self.width * np.sqrt(1.0 - part * part * part), 2.0)
        return np.where(y > fallen.apex_y, np.maximum(edge, lung.inner(y)), lung.inner(y))

    def contains(self, lung: Lung, r: Number, y: Number) -> Number:
        """Tell which points of the lung's space hold free air."""
        return (r > self.pleura(lung, y)) & lung.contains(r, y)

    def frame(self, lung: Lung) -> tuple[Number, Number, Number, Number]:
        """Bound the air by r and y."""
        return lung.medial, lung.apex_y, lung.width, lung.apex_y + self.end * lung.height()


@dataclass(frozen=True)
class Lesions:
    """The shapes of all findings of N images, as if every finding were present; density grows with severity."""

    atelectasis: Patch
    consolidation: Patch
    nodule: Patch
    effusion: Fluid
    pneumothorax: Rim

    def of(self, finding: str) -> Patch | Fluid | Rim:
        """Take one finding's shape; the enlarged heart has none of its own."""
        shape: Patch | Fluid | Rim = vars(self)[finding.lower()]
        return shape


def draw_lesions(cohort: Cohort, anatomy: Anatomy) -> Lesions:
    """Place the findings in each patient's lungs; place and form persist over a patient's visits, severity changes."""
    people = Draws(cohort.seed, cohort.patient)
    everyone = np.arange(len(cohort))
    grade = {finding: cohort.severity[:, column] for column, finding in enumerate(FINDINGS)}
    lungs = {
        finding: anatomy.lung(cohort.side[:, column], everyone)
        for column, finding in enumerate(FINDINGS)
        if finding != "Cardiomegaly"
    }
    return Lesions(
        atelectasis=_band(people, lungs["Atelectasis"], grade["Atelectasis"]),
        consolidation=_consolidation(people, lungs["Consolidation"], grade["Consolidation"]),
        nodule=_nodule(people, lungs["Nodule"], grade["Nodule"]),
        effusion=Fluid(
            height=0.03 + people.bell("Effusion/height", 0.33, 0.1) * grade["Effusion"],
            rise=0.05 + people.between("Effusion/rise", 0.15, 0.45) * grade["Effusion"] * 0.33,
            density=0.55 + 0.4 * grade["Effusion"],
        ),
        pneumothorax=Rim(
            gap=0.006 + people.bell("Pneumothorax/gap", 0.09, 0.04) * grade["Pneumothorax"],
            width=0.01 + people.bell("Pneumothorax/width", 0.12, 0.04) * grade["Pneumothorax"],
            end=people.between("Pneumothorax/end", 0.25, 0.5) + 0.4 * grade["Pneumothorax"],
            density=0.06 + 0.08 * grade["Pneumothorax"],
            line=people.bell("Pneumothorax/line", 0.2, 0.06) * (0.3 + 0.7 * grade["Pneumothorax"]),
        ),
    )


def _place(people: Draws, lung: Lung, name: str, depths: tuple[float, float], margin: Number) -> tuple[Number, Number]:
    floor = lung.dome_y[:, 0, 0]
    y = lung.apex_y[:, 0, 0] + people.between(f"{name}/depth", *depths) * (floor - lung.apex_y[:, 0, 0])
    inner, outer = lung.inner(y[:, None, None])[:, 0, 0] + margin, lung.lateral(y[:, None, None])[:, 0, 0] - margin
    return inner + people.uniform(f"{name}/across") * np.maximum(outer - inner, 0.0), y


def _band(people: Draws, lung: Lung, grade: FloatArray) -> Patch:
    across = people.between("Atelectasis/across", 0.07, 0.11)
    r = lung.medial[:, 0, 0] + across + people.between("Atelectasis/r", 0.0, 0.07)
    return Patch(
        r=r,
        y=lung.dome_y[:, 0, 0] - people.between("Atelectasis/above", 0.02, 0.1),
        across=across,
        down=people.between("Atelectasis/down", 0.011, 0.018) + 0.016 * grade,
        slope=people.between("Atelectasis/slope", -0.25, 0.45),
        density=0.05 + 0.3 * grade,
    )


def _consolidation(people: Draws, lung: Lung, grade: FloatArray) -> Patch:
    across = people.between("Consolidation/size", 0.05, 0.08) + 0.035 * grade
    r, y = _place(people, lung, "Consolidation", (0.3, 0.88), 0.6 * across)
    return Patch(
        r=r,
        y=y,
        across=across,
        down=across * people.between("Consolidation/form", 0.8, 1.3),
        slope=people.between("Consolidation/slope", -0.5, 0.5),
        density=0.05 + 0.36 * grade,
    )


def _nodule(people: Draws, lung: Lung, grade: FloatArray) -> Patch:
    size = people.between("Nodule/size", 0.015, 0.026) + 0.012 * grade
    r, y = _place(people, lung, "Nodule", (0.15, 0.92), size + 0.01)
    return Patch(r=r, y=y, across=size, down=size, slope=np.zeros_like(r), density=0.05 + 0.3 * grade)


def finding_boxes(cohort: Cohort, anatomy: Anatomy, lesions: Lesions) -> tuple[IntArray, IntArray, FloatArray]:
    """Bound the findings present: rows (M,), columns of FINDINGS (M,), corners (M, 4) x0, y0, x1, y1 in [0, 1].

    Ordered by finding, then by row. A box bounds the finding's mask to about 1/24 of its size; corners are multiples
    of 1/1024.
    """
    rows, columns, corners = [], [], []
    for column, finding in enumerate(FINDINGS):
        chosen = np.flatnonzero(cohort.present[:, column])
        if not chosen.size:
            continue
        midline = anatomy.midline.rows(chosen)
        if finding == "Cardiomegaly":
            box = _heart_box(anatomy.heart.rows(chosen), midline)
        else:
            side = cohort.side[chosen, column]
            lung, shape = anatomy.lung(side, chosen), lesions.of(finding)
            box = scan(shape.rows(chosen), lung, midline, np.where(side == LEFT, 1.0, -1.0)[:, None, None])
        rows.append(chosen)
        columns.append(np.full(chosen.size, column))
        corners.append(box)
    if not rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 4))
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(corners)


def _heart_box(heart: Heart, midline: Midline) -> FloatArray:
    y = heart.top + (heart.bottom - heart.top) * (np.arange(64) + 0.5) / 64
    right, left = heart.edges(y)
    centre = midline.x(y) + heart.shift
    x0, x1 = (centre - right).min(axis=(1, 2)), (centre + left).max(axis=(1, 2))
    return _outwards(x0, heart.top[:, 0, 0], x1, heart.bottom[:, 0, 0])


class Region(Protocol):
    """A part of a lung: which points it holds, and a frame around them."""

    def contains(self, lung: Lung, r: Number, y: Number) -> Number:
        """Tell which points (r, y) of the lung belong to it."""

    def frame(self, lung: Lung) -> tuple[Number, Number, Number, Number]:
        """Bound it by r0, y0, r1, y1."""


def scan(shape: Region, lung: Lung, midline: Midline, sign: Number) -> FloatArray:
    """Measure the box (n, 4) of a region of n lungs, all numbers as blocks (n, 1, 1); sign +1 for left lungs."""
    r0, y0, r1, y1 = shape.frame(lung)
    cells = np.arange(_SCAN) + 0.5
    # The first scan narrows the frame, the second measures in it.
    for _ in range(2):
        step_r, step_y = (r1 - r0) / _SCAN, (y1 - y0) / _SCAN
        r, y = r0 + step_r * cells, y0 + step_y * cells[:, None]
        inside: BoolArray = shape.contains(lung, r, y)
        # A shape that slips between the scan's points keeps its frame: a finding that is present always has its box.
        inside |= ~inside.any(axis=(1, 2), keepdims=True)
        rows, columns = inside.any(axis=2, keepdims=True), inside.any(axis=1, keepdims=True)
        r0, r1 = _reach(columns, r, step_r, (1, 2))
        y0, y1 = _reach(rows, y, step_y, (1, 2))
    x = midline.x(y) + sign * r
    x0, x1 = _reach(inside, x, step_r, (1, 2))
    return _outwards(*(edge[:, 0, 0] for edge in (x0, y0, x1, y1)))


def _reach(there: Number, place: Number, step: Number, axis: tuple[int, int]) -> tuple[Number, Number]:
    low = np.where(there, place, np.inf).min(axis=axis, keepdims=True) - step
    high = np.where(there, place, -np.inf).max(axis=axis, keepdims=True) + step
    return low + 0.5 * step, high - 0.5 * step


def _outwards(x0: FloatArray, y0: FloatArray, x1: FloatArray, y1: FloatArray) -> FloatArray:
    low = np.floor(np.stack([x0, y0], axis=1) * BOX_STEPS)
    high = np.ceil(np.stack([x1, y1], axis=1) * BOX_STEPS)
    return np.clip(np.concatenate([low, high], axis=1) / BOX_STEPS, 0.0, 1.0)
