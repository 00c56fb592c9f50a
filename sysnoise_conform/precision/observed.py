"""What calibration saw of a tensor: extremes of each sample, and a histogram that merges without loss.

The histogram has a fixed number of bins over -2**exponent .. 2**exponent, with the smallest exponent that holds every
value. Doubling the range puts two bins together and no value is ever counted again, so the result depends neither on
the order of the samples nor on how they are split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BINS = 4096  # 2048 on each side of zero: what TensorRT's calibrator divides the absolute values into
LOWEST_EXPONENT = -126  # of the smallest normal float32: a tensor of zeros has a histogram, too


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observed:
    """One tensor over the calibration samples.

    `lows` and `highs`: float64, one per sample, over the finite values; 0 where a sample had none. `counts`: int64 of
    length BINS, or None where extremes were enough. `nonfinite`: how many values were NaN or infinite.
    """

    lows: np.ndarray
    highs: np.ndarray
    nonfinite: int = 0
    exponent: int = LOWEST_EXPONENT
    counts: np.ndarray | None = None

    @property
    def low(self) -> float:
        """The lowest value of all samples."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The highest value of all samples."""
        return float(self.highs.max())

    @property
    def largest(self) -> float:
        """The largest magnitude of all samples."""
        return max(-self.low, self.high, 0.0)

    def merged(self, later: Observed) -> Observed:
        """Both together, the samples of `later` behind the own ones."""
        exponent = max(self.exponent, later.exponent)
        counts = None
        if self.counts is not None and later.counts is not None:
            counts = _widened(self.counts, exponent - self.exponent)
            counts = counts + _widened(later.counts, exponent - later.exponent)
        return Observed(
            lows=np.concatenate([self.lows, later.lows]),
            highs=np.concatenate([self.highs, later.highs]),
            nonfinite=self.nonfinite + later.nonfinite,
            exponent=exponent,
            counts=counts,
        )


Ranges = Mapping[str, Observed]  # by tensor


def _widened(counts: np.ndarray, doublings: int) -> np.ndarray:
    """A histogram over a range that is 2**doublings times as wide."""
    for _ in range(min(doublings, BINS.bit_length())):  # after these, everything is in the two bins around zero
        paired = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros_like(counts)
        counts[BINS // 4 : BINS - BINS // 4] = paired
    return counts


def merged(parts: list[Ranges]) -> Ranges:
    """The samples of all parts together, in their order; a tensor that one of them lacks is left out."""
    first, *others = parts
    found = dict(first)
    for part in others:
        found = {name: found[name].merged(part[name]) for name in found if name in part}
    return found
