"""How far would a number move with other patients and other training seeds? Resampling whole patients, and seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]
Key = TypeVar("Key")
Statistic = Callable[[NDArray[np.float32]], Floats]
"""From the draw counts of patients, (patients, r), to a number per replicate, (..., r)."""

BLOCK = 128
"""Replicates drawn at once: 31,000 patients x 128 counts are 16 MB."""

KEPT = 4_000_000
"""Draws of up to so many counts (16 MB) are kept for the next metric or seed of the same patients."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval; `low`, `high` NaN where more than half of the replicates are undefined."""

    estimate: float
    low: float
    high: float
    replicates: int
    undefined: int
    """replicates in which the number does not exist (a rare finding was not drawn); they are left out"""


@dataclass(frozen=True)
class Difference:
    """Row a minus row b on identical images; `seed_error` is the part of the standard error due to seeds alone."""

    mean_a: float
    mean_b: float
    difference: float
    standard_error: float
    seed_error: float
    degrees: float
    low: float
    high: float
    p: float
    replicates: int
    undefined: int
    paired_seeds: bool
    method: str


def patient_draws(patients: int, replicates: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each patient is drawn when as many as there are are drawn with replacement.

    Yields:
        (patients, r) float32 counts, r ≤ BLOCK, `replicates` columns in all; the same for the same arguments.
    """
    if patients * replicates <= KEPT:
        yield from _kept_draws(patients, replicates, seed)
    else:
        yield from _drawn(patients, replicates, seed)


@lru_cache(maxsize=4)
def _kept_draws(patients: int, replicates: int, seed: int) -> tuple[NDArray[np.float32], ...]:
    blocks = tuple(_drawn(patients, replicates, seed))
    for block in blocks:
        block.flags.writeable = False
    return blocks


def _drawn(patients: int, replicates: int, seed: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, BLOCK):
        size = min(BLOCK, replicates - start)
        # each replicate is drawn by itself, so that the first ones do not depend on how many follow
        drawn = np.stack([np.bincount(rng.integers(0, patients, patients), minlength=patients) for _ in range(size)], 1)
        yield drawn.astype(np.float32)


def replicate(patients: int, statistics: Mapping[Key, Statistic], replicates: int, seed: int) -> dict[Key, Floats]:
    """Every statistic under every replicate of one and the same bootstrap over patients.

    Returns:
        name -> (..., replicates), in the order of the draws, so that statistics can be combined replicate by replicate.
    """
    blocks: dict[Key, list[Floats]] = {name: [] for name in statistics}
    for counts in patient_draws(patients, replicates, seed):
        for name, statistic in statistics.items():
            blocks[name].append(statistic(counts))
    return {name: np.concatenate(parts, axis=-1) if parts else np.empty(0) for name, parts in blocks.items()}


def percentile_interval(estimate: float, values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Percentile interval of bootstrap replicates, undefined (NaN) ones left out and counted.

    Args:
        estimate: the number on all patients; NaN makes the interval NaN.
        values: (R,) the same number in each replicate.
    """
    replicates = np.asarray(values, dtype=np.float64)
    defined = replicates[~np.isnan(replicates)]
    undefined = len(replicates) - len(defined)
    if np.isnan(estimate) or not len(defined) or undefined > len(replicates) / 2:
        return Interval(estimate, np.nan, np.nan, len(replicates), undefined)
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(estimate, float(low), float(high), len(replicates), undefined)


def seed_weights(seeds: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Weights (seeds, replicates) of a bootstrap over training seeds, each column summing to 1.

    S - 1 of S seeds are drawn with replacement (Rao and Wu 1988): drawing S would understate the variance of their mean
    by (S - 1)/S, a third for three seeds. A single seed is always itself: its variance between seeds is unknown.
    """
    if seeds == 1:
        return np.ones((1, replicates))
    counts = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=replicates).T
    return np.asarray(counts / (seeds - 1), dtype=np.float64)


def row_interval(
    estimates: ArrayLike, replicates: Floats, *, seed: int, confidence: float = 0.95, lowest: float = 0.0
) -> tuple[Interval, float]:
    """Interval of a row's mean over seeds, from the patient bootstrap of each seed; and the sd over seeds.

    Args:
        estimates: (S,) the number of each seed on all patients.
        replicates: (S, R) the same under each replicate; all seeds see the same patients.
        lowest: value the number can take, 0 or -1; the highest is 1.

    Returns:
        The interval (standard error from resampling patients and seeds, Student's t with Satterthwaite's degrees of
        freedom, see `difference`; clipped to [lowest, 1]), and the sd of `estimates` (NaN for one seed).
    """
    means = np.asarray(estimates, dtype=np.float64)
    rng = np.random.default_rng([seed, 1])
    drawn = np.einsum("sr,sr->r", replicates, seed_weights(len(means), replicates.shape[1], rng))
    error, _, degrees, undefined = _standard_error(drawn, [means])
    estimate = float(means.mean())
    half = float(student.ppf(0.5 + confidence / 2, degrees)) * error
    spread = float(means.std(ddof=1)) if len(means) > 1 else np.nan
    low, high = np.clip([estimate - half, estimate + half], lowest, 1.0)
    return Interval(estimate, float(low), float(high), len(drawn), undefined), spread


def difference(
    estimates_a: ArrayLike,
    estimates_b: ArrayLike,
    replicates_a: Floats,
    replicates_b: Floats,
    *,
    paired_seeds: bool,
    seed: int,
    confidence: float = 0.95,
    method: str = "t",
) -> Difference:
    """Paired bootstrap over patients and seeds of the difference of two rows' means over seeds.

    Patients are drawn once for both rows and all seeds (identical images); seeds are drawn with replacement, the same
    ones for both rows where they are paired. Pooling seeds into one test would count each patient S times
    (pseudo-replication).

    method "t" (default): standard error = sd of the replicates; interval and p from Student's t with Satterthwaite's
    degrees of freedom error⁴ / sum(seed variance² / (seeds - 1)): with three seeds there are only three values to
    resample, and percentiles cover far less than they promise.
    method "percentile": percentile interval, p = 2 min over both sides of (1 + replicates beyond 0) / (R + 1).

    Args:
        estimates_a, estimates_b: (Sa,), (Sb,) the number of each seed on all patients.
        replicates_a, replicates_b: (Sa, R), (Sb, R) under the same draws of patients.
        paired_seeds: position s of both is the same seed (then Sa = Sb).

    Raises:
        ValueError: an unknown method, or shapes that do not fit.
    """
    if method not in ("t", "percentile"):
        raise ValueError(f"method {method!r}: expected 't' or 'percentile'")
    a, b = np.asarray(estimates_a, dtype=np.float64), np.asarray(estimates_b, dtype=np.float64)
    number = replicates_a.shape[1]
    if replicates_a.shape != (len(a), number) or replicates_b.shape != (len(b), number):
        raise ValueError(f"replicates {replicates_a.shape}, {replicates_b.shape} for {len(a)} and {len(b)} seeds")
    if paired_seeds and len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} seeds cannot be paired")
    rng = np.random.default_rng([seed, 1])
    weights_a = seed_weights(len(a), number, rng)
    weights_b = weights_a if paired_seeds else seed_weights(len(b), number, rng)
    drawn = np.einsum("sr,sr->r", replicates_a, weights_a) - np.einsum("sr,sr->r", replicates_b, weights_b)
    error, seed_error, degrees, undefined = _standard_error(drawn, [a - b] if paired_seeds else [a, b])
    change = float(a.mean() - b.mean())
    if np.isnan(change) or np.isnan(error):
        low = high = p = np.nan
    elif method == "percentile":
        interval, defined = percentile_interval(change, drawn, confidence), drawn[~np.isnan(drawn)]
        low, high = interval.low, interval.high
        p = min(1.0, 2 * (1 + min((defined <= 0).sum(), (defined >= 0).sum())) / (1 + len(defined)))
    else:
        half = float(student.ppf(0.5 + confidence / 2, degrees)) * error
        low, high = max(-1.0, change - half), min(1.0, change + half)
        p = float(2 * student.sf(abs(change) / error, degrees)) if error > 0 else (1.0 if change == 0 else np.nan)
    note = f"bootstrap over patients and {'paired ' if paired_seeds else ''}seeds, {method}"
    if min(len(a), len(b)) == 1:
        note = f"bootstrap over patients only (one seed), {method}"
    return Difference(
        float(a.mean()), float(b.mean()), change, error, seed_error, degrees, low, high, float(p), number, undefined,
        paired_seeds, note,
    )  # fmt: skip


def _standard_error(drawn: Floats, seeds: Sequence[Floats]) -> tuple[float, float, float, int]:
    """sd of the replicates; the part due to seeds; Satterthwaite's degrees of freedom; undefined replicates."""
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    parts = [(values.var(ddof=1) / len(values), len(values) - 1) for values in seeds if len(values) > 1]
    seed_variance = sum(part for part, _ in parts)
    if len(defined) <= 1 or undefined > len(drawn) / 2:
        return np.nan, float(np.sqrt(seed_variance)), np.nan, undefined
    variance = max(float(defined.var(ddof=1)), seed_variance)
    uncertainty = sum(part**2 / degrees for part, degrees in parts)
    # patients are many: their part of the variance counts as known
    degrees = variance**2 / uncertainty if uncertainty > 0 else np.inf
    return float(np.sqrt(variance)), float(np.sqrt(seed_variance)), float(degrees), undefined
