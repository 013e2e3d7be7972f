"""Which random number belongs to (seed, key, name)? A pure integer hash, the same on every machine."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF


def mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalise 64-bit words by splitmix64 (Steele, Lea, Flood 2014); any shape, same shape out."""
    words = words + np.uint64(_GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=1024)
def name_word(name: str) -> int:
    """Turn a name into a 64-bit word (FNV-1a over its UTF-8 bytes)."""
    word = 0xCBF29CE484222325
    for byte in name.encode():
        word = ((word ^ byte) * 0x100000001B3) & _WORD
    return word


class Draws:
    """Uniform numbers for many keys at once, addressed by name.

    Only integer arithmetic, and float64 additions and products, lead from a key to a number, so labels and boxes
    built on them are identical on every machine.

    Args:
        seed: non-negative seed of the whole cohort.
        keys: (N,) integers, e.g. image or patient numbers.
    """

    def __init__(self, seed: int, keys: IntArray) -> None:
        start = mix(np.array([seed & _WORD], dtype=np.uint64))
        self._base = mix(start ^ mix(keys.astype(np.uint64)))

    def word(self, name: str) -> NDArray[np.uint64]:
        """Hash every key with `name` into (N,) unsigned 64-bit words."""
        return mix(self._base ^ np.uint64(name_word(name)))

    def uniform(self, name: str) -> FloatArray:
        """Draw (N,) numbers in [0, 1), multiples of 2**-53."""
        return (self.word(name) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def between(self, name: str, low: float, high: float) -> FloatArray:
        """Draw (N,) numbers uniform in [low, high)."""
        return low + (high - low) * self.uniform(name)

    def bell(self, name: str, mean: float, reach: float) -> FloatArray:
        """Draw (N,) bell-shaped numbers in mean ± reach: the scaled sum of three uniforms (sd = reach / 3)."""
        total = self.uniform(name + "/1") + self.uniform(name + "/2") + self.uniform(name + "/3")
        return mean + reach * (total / 1.5 - 1.0)

    def chance(self, name: str, probability: float) -> BoolArray:
        """Draw (N,) truths, each with the given probability."""
        return self.uniform(name) < probability
