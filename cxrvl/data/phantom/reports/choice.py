"""Which of several wordings does a report take? One stream of random numbers per (seed, image, style)."""

from collections.abc import Sequence
from typing import TypeVar

from cxrvl.data.phantom.draws import name_word

_WORD = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
T = TypeVar("T")


class Choice:
    """A splitmix64 stream in plain integers: faster than arrays for the few dozen choices of one report."""

    def __init__(self, seed: int, index: int, style: str) -> None:
        self._state = 0
        for part in (seed & _WORD, index, name_word(f"reports/{style}")):
            self._state = _mix(self._state ^ part)

    def of(self, options: Sequence[T]) -> T:
        """Take one of the options, each as often as any other."""
        return options[self.below(len(options))]

    def below(self, count: int) -> int:
        """Draw a whole number in [0, count)."""
        self._state = (self._state + _GOLDEN) & _WORD
        return (_mix(self._state) >> 32) * count >> 32


def _mix(word: int) -> int:
    word = (word + _GOLDEN) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)
