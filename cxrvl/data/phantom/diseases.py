"""Where do tuberculosis-like and COVID-like opacities lie, and how do they grow with severity?"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cxrvl.data.phantom.anatomy import Anatomy
from cxrvl.data.phantom.cohort import BOTH, LEFT, RIGHT, Cohort
from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray
from cxrvl.data.phantom.findings import Patch, scan
from cxrvl.data.phantom.geometry import Lung, Number
from cxrvl.data.phantom.tasks import DISEASES

# How rough the patches are, and how steep their borders: (fuzz, soft) of `thorax.add_haze`.
LOOK = {"Tuberculosis": (0.7, 1.2), "COVID-19": (0.55, 0.6)}


@dataclass(frozen=True)
class Group:
    """The patches of a disease in one lung; density 0 = not there, below 0 = a cavity in the patch before it."""

    patches: tuple[Patch, ...]

    def at(self, row: int) -> Self:
        """Take one image's patches, those that are there, as Python floats."""
        patches = tuple(patch.at(row) for patch in self.patches)
        return type(self)(tuple(patch for patch in patches if patch.density != 0.0))

    def rows(self, chosen: IntArray) -> Self:
        """Take some images' patches as blocks (n, 1, 1)."""
        return type(self)(tuple(patch.rows(chosen) for patch in self.patches))

    def contains(self, lung: Lung, r: Number, y: Number) -> Number:
        """Tell which points of the lung lie in a patch; cavities belong to the disease."""
        return np.logical_or.reduce([(p.density > 0.0) & p.contains(lung, r, y) for p in self.patches])

    def frame(self, lung: Lung) -> tuple[Number, Number, Number, Number]:
        """Bound all patches by r and y."""
        frames = [patch.frame(lung) for patch in self.patches]
        there = [patch.density > 0.0 for patch in self.patches]

        def edge(number: int, beyond: float) -> list[Number]:
            return [np.where(here, frame[number], beyond) for here, frame in zip(there, frames, strict=True)]

        low = (np.minimum.reduce(edge(0, 2.0)), np.minimum.reduce(edge(1, 2.0)))
        return *low, np.maximum.reduce(edge(2, -2.0)), np.maximum.reduce(edge(3, -2.0))


def disease_column(cohort: Cohort) -> int | None:
    """Say which column of the cohort is a disease, None where it has none."""
    return next((column for column, finding in enumerate(cohort.findings) if finding in DISEASES), None)


def affected(cohort: Cohort, side: int) -> BoolArray:
    """Tell which images show the cohort's disease in the lung of one side, (N,)."""
    column = disease_column(cohort)
    if column is None:
        return np.zeros(len(cohort), dtype=bool)
    return cohort.present[:, column] & np.isin(cohort.side[:, column], (side, BOTH))


def draw_disease(cohort: Cohort, anatomy: Anatomy) -> tuple[Group, Group] | None:
    """Place the disease in each patient's lungs (RIGHT, LEFT), as if it were there; None for a cohort without one.

    Places persist over a patient's visits; number, size and density grow with severity.
    """
    column = disease_column(cohort)
    if column is None:
        return None
    people = Draws(cohort.seed, cohort.patient)
    draw = _tuberculosis if cohort.findings[column] == "Tuberculosis" else _covid
    # In both lungs, one of them has more of it.
    milder = people.chance("disease/milder", 0.5).astype(np.int64)
    less = np.where(cohort.side[:, column] == BOTH, people.between("disease/less", 0.45, 0.9), 1.0)
    groups = []
    for side in (RIGHT, LEFT):
        grade = cohort.severity[:, column] * np.where(milder == side, less, 1.0)
        groups.append(Group(tuple(draw(people, anatomy.lungs[side], grade, f"disease/{side}"))))
    return groups[RIGHT], groups[LEFT]


def _tuberculosis(people: Draws, lung: Lung, grade: FloatArray, name: str) -> list[Patch]:
    """One infiltrate under the clavicle, often with a cavity when severe, spots around it, streaks towards the hilum."""
    tall = lung.dome_y - lung.apex_y
    y = lung.apex_y + people.between(f"{name}/depth", 0.15, 0.27) * tall
    inner, outer = lung.inner(y), lung.lateral(y)
    r = inner + people.between(f"{name}/across", 0.35, 0.7) * (outer - inner)
    size = people.between(f"{name}/size", 0.035, 0.055) + 0.03 * grade
    chief = Patch(
        r=r,
        y=y,
        across=size,
        down=size * people.between(f"{name}/form", 0.7, 1.0),
        slope=people.between(f"{name}/slope", -0.5, 0.5),
        density=0.05 + 0.23 * grade,
    )
    hollow = people.chance(f"{name}/cavity", 0.5) & (grade > 0.5)
    hole = size * people.between(f"{name}/hole", 0.4, 0.6)
    flat = np.zeros_like(r)
    cavity = Patch(r=r, y=y, across=hole, down=hole, slope=flat, density=np.where(hollow, -0.95 * chief.density, 0.0))
    patches = [chief, cavity]
    for spot in range(7):
        key = f"{name}/spot{spot}"
        depth, half = people.between(f"{key}/depth", 0.08, 0.42), people.between(f"{key}/size", 0.009, 0.02)
        at = lung.apex_y + depth * tall
        inner, outer = lung.inner(at) + half, lung.lateral(at) - half
        there = grade > spot * 0.11
        patches.append(
            Patch(
                r=inner + people.uniform(f"{key}/across") * np.maximum(outer - inner, 0.0),
                y=at,
                across=half + 0.008 * grade,
                down=half + 0.006 * grade,
                slope=people.between(f"{key}/slope", -0.4, 0.4),
                density=np.where(there, 0.05 + 0.16 * grade, 0.0),
            )
        )
    for streak in range(2):
        key = f"{name}/streak{streak}"
        run = people.between(f"{key}/run", 0.05, 0.075)
        patches.append(
            Patch(
                r=0.5 * (r + lung.medial) + people.between(f"{key}/r", -0.015, 0.03),
                y=y + (0.55 + 0.3 * streak) * run,
                across=run * 0.7,
                down=0.006 + 0.004 * grade,
                slope=-people.between(f"{key}/slope", 0.6, 1.3),
                density=np.where(grade > 0.25 + 0.2 * streak, 0.02 + 0.06 * grade, 0.0),
            )
        )
    return patches


def _covid(people: Draws, lung: Lung, grade: FloatArray, name: str) -> list[Patch]:
    """Hazy patches along the chest wall, most in the middle and lower zones, that meet when severe."""
    patches = []
    tall = lung.dome_y - lung.apex_y
    for spot in range(6):
        key = f"{name}/patch{spot}"
        # The first is basal; the others spread upwards.
        low, high = (0.62, 0.9) if spot == 0 else (0.28, 0.95)
        y = lung.apex_y + people.between(f"{key}/depth", low, high) * tall
        across = people.between(f"{key}/size", 0.032, 0.055) + 0.035 * grade
        patches.append(
            Patch(
                r=lung.lateral(y) - people.between(f"{key}/off", 0.25, 1.0) * across,
                y=y,
                across=across,
                down=across * people.between(f"{key}/form", 1.0, 1.7),
                slope=people.between(f"{key}/slope", -0.4, 0.2),
                density=np.where(grade > max(spot - 1, 0) * 0.14, 0.045 + 0.22 * grade, 0.0),
            )
        )
    return patches


def disease_boxes(cohort: Cohort, anatomy: Anatomy, groups: tuple[Group, Group] | None) -> tuple[IntArray, FloatArray]:
    """Bound the disease, one box per lung affected: rows (M,), corners (M, 4) x0, y0, x1, y1 in [0, 1]."""
    rows, corners = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 4))]
    for side in (RIGHT, LEFT):
        chosen = np.flatnonzero(affected(cohort, side))
        if groups is None or not chosen.size:
            continue
        sign = np.full((chosen.size, 1, 1), 1.0 if side == LEFT else -1.0)
        lung, midline = anatomy.lungs[side].rows(chosen), anatomy.midline.rows(chosen)
        rows.append(chosen)
        corners.append(scan(groups[side].rows(chosen), lung, midline, sign))
    return np.concatenate(rows), np.concatenate(corners)
