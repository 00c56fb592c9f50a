"""From which error on a reproducer says that the difference is there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.diagnose.plain_model import Arrays
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.outcome import TensorDiff

# Where an error is less than this many times what correct arithmetic may be off, it can't be told from rounding.
_CLEAR = 4.0

Limits = tuple[float, float]  # rms, largest single error


def limits(expected: Arrays, got: Arrays | None, diff: TensorDiff) -> Limits:
    """Rms and largest error from which on the difference is there: between rounding and what was measured.

    Half way on a logarithmic scale, so that neither another processor's rounding nor a smaller error of the same kind
    is taken for the other. Infinite where an error can't be told from rounding.
    """
    if got is None or got.shape != expected.shape:
        return math.inf, math.inf  # a shape of its own is told without numbers
    error = distance(got, expected)
    if not error.size:
        return math.inf, math.inf
    with np.errstate(all="ignore"):
        rms, most = float(np.sqrt(np.mean(error**2))), float(error.max())
    unit = _unit(expected, diff)
    peak = max(unit, diff.floor.max_abs, diff.floor.rounding_max, diff.floor.sigma_max)
    found = _between(unit, rms), _between(peak, most)
    # An output that departs in neither way, and yet is blamed: what was measured is taken at its word.
    return found if min(found) < math.inf or not rms else (rms / 2, math.inf)


def _unit(expected: Arrays, diff: TensorDiff) -> float:
    unit = unit_of(diff)
    roundoff = unit_roundoff(diff.dtype)
    if roundoff is None or expected.dtype.kind not in "fc":
        return 0.0
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    size = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    return max(unit, roundoff * size)


def _between(unit: float, measured: float) -> float:
    if not measured > _CLEAR * unit:
        return math.inf
    if not math.isfinite(measured):
        return 100 * unit  # NaN or Inf on one side only
    return math.sqrt(unit * measured) if unit > 0 else measured / 2


def distance(got: Arrays, expected: Arrays) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far each element is off; Inf where a NaN or Inf stands on one side only."""
    if expected.dtype.kind in "US":
        return np.asarray(got.astype(np.str_) != expected.astype(np.str_)).astype(np.float64)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(wide) - expected.astype(wide))
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.asarray(np.nan_to_num(np.where(same, 0.0, error), nan=np.inf, posinf=np.inf), np.float64)
