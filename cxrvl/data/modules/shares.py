"""How do several groups of rows come up in stated shares, the small ones as often as the large, without copies?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrvl.errors import ConfigError


def repeated(rows: np.ndarray, seed: int, name: str, start: int, count: int) -> np.ndarray:
    """Cut (count,) rows from place `start` on out of an endless stream that repeats `rows` (n,), reshuffled every time.

    A pure function of its arguments: whoever knows the place needs no history. No row comes up a second time before
    every other has.
    """
    first, last = start // len(rows), (start + count - 1) // len(rows)
    passes = [rows[_shuffled(len(rows), seed, name, number)] for number in range(first, last + 1)]
    return np.concatenate(passes)[start - first * len(rows) :][:count]


def _shuffled(count: int, seed: int, name: str, number: int) -> np.ndarray:
    word = hashlib.sha256(f"{seed}\0{name}\0{number}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(word[:16], "little")))
    return generator.permutation(count)


@dataclass(frozen=True)
class Shares:
    """Training rows of several groups and how many of each an epoch holds.

    groups: name -> (n,) int64 rows. counts: name -> rows per epoch, at least 1. seed: of every group's order.
    """

    groups: Mapping[str, np.ndarray]
    counts: Mapping[str, int]
    seed: int

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        names: Sequence[str] | np.ndarray,
        weights: Mapping[str, float],
        length: int | None,
        seed: int,
    ) -> "Shares":
        """Give each group its share of an epoch.

        rows: (n,) int64, names: (n,) group of each. weights: group -> weight, in any unit; 0 leaves a group out.
        length: rows of an epoch; None = as many as the groups that are not left out have.
        Raises ConfigError for a weighted group without rows, or one that gets no row of an epoch.
        """
        names = np.asarray(names, dtype=object)
        used = {name: weight for name, weight in weights.items() if weight > 0}
        groups = {name: rows[names == name] for name in used}
        total = sum(len(group) for group in groups.values()) if length is None else length
        counts = dict(zip(used, _apportioned(list(used.values()), total), strict=True))
        for name, group in groups.items():
            if not len(group):
                raise ConfigError(
                    f"source {name!r} has weight {used[name]:g} but no training row; give it the weight 0"
                )
            if not counts[name]:
                raise ConfigError(
                    f"source {name!r} with weight {used[name]:g} gets none of the {total} rows of an epoch; "
                    "raise its weight, or data.source.epoch_length"
                )
        return cls(groups, counts, seed)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def rows(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch, (len(self),) int64, group after group: each group's stream goes on where the
        epoch before left it."""
        parts = [
            repeated(group, self.seed, name, epoch * self.counts[name], self.counts[name])
            for name, group in self.groups.items()
        ]
        return np.concatenate(parts)


def _apportioned(weights: Sequence[float], total: int) -> list[int]:
    """Cut `total` into whole numbers in the ratio of the weights, by largest remainders."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts.tolist()
