"""How do a patient's findings go on from one visit to the next: better, worse, new, resolved or unchanged?"""

from collections.abc import Sequence

import numpy as np

from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray

# Severities that differ by less look alike; a planned change is always larger if the range of severities allows it.
CHANGE = 0.12


def follow(
    seed: int,
    series: IntArray,
    visit: IntArray,
    findings: Sequence[str],
    first: tuple[BoolArray, FloatArray],
    prevalence: Sequence[float],
    severity: tuple[float, float],
    share: float,
) -> tuple[BoolArray, FloatArray]:
    """Lead N patients from their first visit to the one wanted.

    Args:
        series: (V, N) numbers of the images of each patient's visits, -1 beyond the last.
        visit: (N,) the visit wanted.
        first: present (N, F) and severity (N, F) at visit 0.
        prevalence: share of images per finding; it stays what it is, new findings make up for resolved ones.
        severity: lowest and highest severity.
        share: chance of each finding to change from one visit to the next.

    Returns:
        present (N, F) and severity (N, F), 0 where absent.
    """
    present, level = first[0].copy(), _level(first[1], severity)
    for number in range(1, len(series)):
        images = Draws(seed, np.maximum(series[number], 0))
        for column, finding in enumerate(findings):
            share_new = prevalence[column] / (3.0 * (1.0 - prevalence[column]))
            there, deep = _next(images, finding, present[:, column], level[:, column], share, share_new)
            present[:, column] = np.where(visit >= number, there, present[:, column])
            level[:, column] = np.where(visit >= number, deep, level[:, column])
    low, high = severity
    return present, np.where(present, low + (high - low) * level, 0.0)


def _level(severity: FloatArray, bounds: tuple[float, float]) -> FloatArray:
    low, high = bounds
    if high == low:
        return np.full_like(severity, 0.5)
    return np.clip((severity - low) / (high - low), 0.0, 1.0)


def _next(
    images: Draws, finding: str, present: BoolArray, level: FloatArray, share: float, share_new: float
) -> tuple[BoolArray, FloatArray]:
    moves, kind = images.chance(f"{finding}/course", share), images.uniform(f"{finding}/course/kind")
    amount = images.uniform(f"{finding}/course/amount")
    resolves, appears = present & moves & (kind < 1 / 3), ~present & moves & (kind < share_new)
    # Better by half at least, or halfway to the worst at least; where there is no room, the other way.
    better = level * (0.2 + 0.3 * amount)
    worse = 1.0 - (1.0 - level) * (0.2 + 0.3 * amount)
    improves = np.where(kind < 2 / 3, level >= 0.35, level > 0.65)
    steady = np.clip(level + 0.06 * (amount - 0.5), 0.0, 1.0)
    course = np.where(moves, np.where(improves, better, worse), steady)
    return (present & ~resolves) | appears, np.where(appears, amount, course)
