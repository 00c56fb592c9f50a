"""The sums behind a comparison, gathered block by block in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sysnoise_conform.compare.ulp import BINS_PER_OCTAVE

Array = np.ndarray[Any, Any]

# Elements of one block: what is done once for each, the bins above all, costs as much as 8,000 elements do, and its
# buffers (1.5 MB) still stay in a second-level cache.
BLOCK = 32_768
# Elements of one dot product: from 10,000 on OpenBLAS starts its threads, and waiting for a second core that was busy
# made the whole comparison ten times slower where it was measured.
_DOT = 8_192

_SHIFT = 52 - int(math.log2(BINS_PER_OCTAVE))  # leaves the exponent and the leading mantissa bits
_BINS = 1 << (63 - _SHIFT)
_BIAS = 1023 * BINS_PER_OCTAVE


class Sums:
    """Moments of (got - golden) and of both sides; what is not finite on either side is counted apart."""

    def __init__(self) -> None:
        self.n = self.finite = self.mismatches = 0
        self.nan_golden = self.nan_got = self.nan_mismatch = 0
        self.sum_sq_err = self.sum_golden = self.sum_got = self.sum_sq_golden = self.sum_sq_got = self.dot = 0.0
        self.sum_quad_err = self.sum_quad_golden = 0.0
        self.max_abs = self.max_golden = 0.0
        self.worst: tuple[int, float, float] | None = None  # flat index, golden, got
        self.first: int | None = None  # flat index of the first mismatch of NaN or Inf, else of the first NaN or Inf
        self._first_is_mismatch = False
        self._counts: Array | None = None  # bins of the errors that are not 0; most tensors of most models have none

    def add_floats(self, golden: Array, got: Array) -> None:
        """Flat arrays of the same length: float64, and the declared type."""
        room = min(BLOCK, golden.size)
        wide, error, rounded = np.empty(room), np.empty(room), np.empty(room, got.dtype)
        with np.errstate(all="ignore"):
            for start in range(0, golden.size, BLOCK):
                g, raw = golden[start : start + BLOCK], got[start : start + BLOCK]
                a, e, r = wide[: g.size], error[: g.size], rounded[: g.size]
                np.copyto(a, raw, casting="unsafe")
                np.subtract(a, g, out=e)
                np.copyto(r, g, casting="unsafe")
                self.n += g.size
                differ = np.not_equal(r, raw)
                squares = _dot(e, e)
                if math.isfinite(squares):
                    self.mismatches += int(np.count_nonzero(differ))
                    self._add(g, a, e, squares, start)
                else:
                    self._add_some(g, a, e, differ, start)

    def add_integers(self, golden: Array, got: Array) -> None:
        """Flat arrays of integers or bools; mismatches are exact also where float64 can't hold the values."""
        for start in range(0, golden.size, BLOCK):
            g, a = golden[start : start + BLOCK], got[start : start + BLOCK]
            self.n += g.size
            self.mismatches += int(np.count_nonzero(g != a))
            # Modulo 2**64 the smaller taken from the larger is their true distance.
            low, high = np.minimum(g, a).astype(np.uint64), np.maximum(g, a).astype(np.uint64)
            error = (high - low).astype(np.float64)
            np.negative(error, out=error, where=a < g)
            self._add(g.astype(np.float64), a.astype(np.float64), error, _dot(error, error), start)

    def histogram(self, ulp_exponent: int | None) -> dict[int, int]:
        """Bin -> count of the errors that are not 0, in ULP of 2**ulp_exponent."""
        if ulp_exponent is None or self._counts is None:
            return {}
        shift = _BIAS + BINS_PER_OCTAVE * ulp_exponent
        return {int(index) - shift: int(self._counts[index]) for index in np.flatnonzero(self._counts) if index}

    def _add(self, g: Array, a: Array, e: Array, squares: float, start: int, places: Array | None = None) -> None:
        if not g.size:
            return
        self.finite += g.size
        self.sum_sq_err += squares
        self.sum_golden += float(g.sum())
        self.sum_got += float(a.sum())
        powers = np.square(g)
        self.sum_sq_golden += float(powers.sum())
        self.sum_quad_golden += _dot(powers, powers)
        self.sum_sq_got += _dot(a, a)
        self.dot += _dot(a, g)
        self.max_golden = max(self.max_golden, float(g.max()), -float(g.min()))
        if not squares and not e.any():
            return
        powers = np.square(e)
        self.sum_quad_err += _dot(powers, powers)
        distance = np.abs(e)
        at = int(distance.argmax())
        if distance[at] > self.max_abs:
            self.max_abs = float(distance[at])
            self.worst = (start + int(at if places is None else places[at]), float(g[at]), float(a[at]))
        counts = np.bincount(distance.view(np.int64) >> _SHIFT, minlength=_BINS)
        self._counts = counts if self._counts is None else self._counts + counts

    def _add_some(self, g: Array, a: Array, e: Array, differ: Array, start: int) -> None:
        """A block with NaN or Inf in it (or with values whose squares overflow)."""
        there, here = np.isfinite(g), np.isfinite(a)
        both = there & here
        agree = (g == a) | (np.isnan(g) & np.isnan(a))
        torn = ~both & ~agree
        self.nan_golden += int(np.count_nonzero(~there))
        self.nan_got += int(np.count_nonzero(~here))
        self.nan_mismatch += int(np.count_nonzero(torn))
        self.mismatches += int(np.count_nonzero(torn)) + int(np.count_nonzero(differ & both))
        self._place(torn, ~both, start)
        places = np.flatnonzero(both)
        error = e[places]
        self._add(g[places], a[places], error, _dot(error, error), start, places)

    def _place(self, torn: Array, odd: Array, start: int) -> None:
        if self._first_is_mismatch:
            return
        if torn.any():
            self.first, self._first_is_mismatch = start + int(torn.argmax()), True
        elif self.first is None and odd.any():
            self.first = start + int(odd.argmax())


def _dot(a: Array, b: Array) -> float:
    return sum(float(np.dot(a[at : at + _DOT], b[at : at + _DOT])) for at in range(0, a.size, _DOT))
