"""Chance out of whole numbers alone: the same on every machine, in every version of every library.

SplitMix64 (Steele, Lea and Flood 2014): the number at place n is a mixture of the key and n, so arrays of them need no
order of evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL = (1 << 64) - 1

T = TypeVar("T")


class Chance:
    """A stream of whole numbers that its key (whole numbers) determines."""

    def __init__(self, *key: int) -> None:
        self._state = 0
        for each in key:
            self._state = _mixed((self._state + each * _STEP + _STEP) & _ALL)

    def word(self) -> int:
        """64 bits."""
        self._state = (self._state + _STEP) & _ALL
        return _mixed(self._state)

    def below(self, count: int) -> int:
        """One of 0 .. count - 1."""
        return (self.word() * count) >> 64

    def between(self, low: int, high: int) -> int:
        """One of low .. high, both included."""
        return low + self.below(high - low + 1)

    def choice(self, of: Sequence[T]) -> T:
        """One of several."""
        return of[self.below(len(of))]

    def order(self, of: Sequence[T]) -> list[T]:
        """All of them in an order of chance (Fisher and Yates)."""
        found = list(of)
        for last in range(len(found) - 1, 0, -1):
            at = self.below(last + 1)
            found[last], found[at] = found[at], found[last]
        return found

    def field(self, *shape: int, below: int) -> np.ndarray:
        """An int32 array of numbers 0 .. below - 1, `below` at most 2^16."""
        count = int(np.prod(shape))
        with np.errstate(over="ignore"):
            words = np.uint64(self.word()) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
            words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
            words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
            words ^= words >> np.uint64(31)
        high = (words >> np.uint64(48)) * np.uint64(below) >> np.uint64(16)
        return high.astype(np.int32).reshape(shape)


def _mixed(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _ALL
    word = ((word ^ (word >> 27)) * _SECOND) & _ALL
    return word ^ (word >> 31)
