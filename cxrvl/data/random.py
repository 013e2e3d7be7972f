"""Where does augmentation's chance come from? A pure hash of seed, epoch and image, so nothing else can change it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
SHIFTS = (30, 27, 31)
Words = TypeVar("Words", Tensor, NDArray[np.int64])


class _Whole(NamedTuple):
    """All keys of a batch, the ones of a part and their rows, and the numbers drawn for all so far."""

    keys: Tensor
    mine: Tensor
    rows: slice
    known: dict[tuple[str, int], Tensor]


@dataclass(frozen=True, eq=False)
class Draw:
    """Random numbers for one batch without a generator's state.

    seed, epoch: any integers; keys: (B,) int64, one per sample (its row of the study table), on the images' device;
    prefix: what `scope` added; whole: the batch that `parts` made this from. A sample's numbers are a pure function of
    (seed, epoch, its key, name, column): the same in whatever batch, order, process or device it comes up, so that a
    continued run repeats an unbroken one. The hash is splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014),
    applied to each of these in turn.
    """

    seed: int
    epoch: int
    keys: Tensor
    prefix: str = ""
    whole: "_Whole | None" = None

    def scope(self, name: str) -> "Draw":
        """The same samples under another name: two steps of one kind draw different numbers."""
        return replace(self, prefix=f"{self.prefix}{name}/")

    def take(self, rows: Tensor) -> "Draw":
        """The draw of some samples only: rows is (n,) int64 positions or (B,) bool."""
        return replace(self, keys=self.keys[rows])

    def parts(self, slices: Sequence[slice]) -> "list[Draw]":
        """The draws of some samples each; their uniform numbers are hashed once, for all samples together."""
        known: dict[tuple[str, int], Tensor] = {}
        parts = []
        for rows in slices:
            mine = self.keys[rows]
            parts.append(replace(self, keys=mine, whole=_Whole(self.keys, mine, rows, known)))
        return parts

    def copies(self, n: int) -> "Draw":
        """n samples of each one, (n * B,) copy after copy: copy c draws its own numbers, the same whatever n is."""
        numbers = torch.arange(1, n + 1, device=self.keys.device, dtype=torch.int64)[:, None] * _signed(GOLDEN)
        return replace(self, keys=_mix_all(self.keys.to(torch.int64)[None] + numbers).flatten())

    def uniform(self, name: str, k: int) -> Tensor:
        """(B, k) float32 in [0, 1), multiples of 2**-24."""
        if self.whole is not None and self.whole.mine is self.keys:
            known, word = self.whole.known, (self.prefix + name, k)
            if word not in known:
                known[word] = replace(self, keys=self.whole.keys).uniform(name, k)
            return known[word][self.whole.rows]
        return (self._bits(name, k) >> 40 & (1 << 24) - 1).to(torch.float32) * 2.0**-24

    def normal(self, name: str, k: int) -> Tensor:
        """(B, k) float32, standard normal (Box and Muller, two numbers from each hash)."""
        bits = self._bits(name, (k + 1) // 2)
        # In (0, 1]: the logarithm of zero must not occur.
        radius = (((bits >> 40 & (1 << 24) - 1) + 1).to(torch.float32) * 2.0**-24).log_().mul_(-2).sqrt_()
        angle = (bits & (1 << 24) - 1).to(torch.float32) * (2 * math.pi * 2.0**-24)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :k]

    def _bits(self, name: str, k: int) -> Tensor:
        """(B, k) int64 of 64 random bits."""
        word = int.from_bytes(hashlib.sha256((self.prefix + name).encode()).digest()[:8], "little")
        state = 0
        for part in (self.seed, self.epoch, word):
            state = _mix((state + GOLDEN ^ part) & MASK)
        keys = self.keys.to(torch.int64)
        if keys.device.type == "cpu":
            # NumPy begins an operation in a fraction of PyTorch's time, and these are many small ones.
            columns = np.arange(1, k + 1)[None] * _signed(GOLDEN)
            return torch.from_numpy(_mix_all(_mix_all(keys.numpy()[:, None] + _signed(state)) + columns))
        places = torch.arange(1, k + 1, device=keys.device, dtype=torch.int64)[None] * _signed(GOLDEN)
        return _mix_all(_mix_all(keys[:, None] + _signed(state)) + places)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _mix(x: int) -> int:
    x = (x ^ x >> SHIFTS[0]) * FIRST & MASK
    x = (x ^ x >> SHIFTS[1]) * SECOND & MASK
    return x ^ x >> SHIFTS[2]


def _mix_all(x: Words) -> Words:
    """splitmix64's finaliser on int64 (products wrap; the shift is made logical by a mask)."""
    x = (x ^ _shift(x, SHIFTS[0])) * _signed(FIRST)
    x = (x ^ _shift(x, SHIFTS[1])) * _signed(SECOND)
    return x ^ _shift(x, SHIFTS[2])


def _shift(x: Words, by: int) -> Words:
    return (x >> by) & (1 << (64 - by)) - 1
