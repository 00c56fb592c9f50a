"""How far from its recorded value a number may have been when something was decided by it.

A recorded tensor is rounded to its declared type. The runtime may have had more bits of it (a fused multiply-add, a
register that was never stored), or have rounded once more on another way to it; and what is decided by, a quotient or a
coordinate, is itself computed in float32 by some kernels. An answer that is right for any number so close is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sysnoise_conform.decisions.question import Array, Operand

# Unit roundoffs u = 2**-p (half of the distance from 1 to the next number) that lie between what is recorded and what
# was decided by: half a unit in the last place of the record is one at most, a product and a sum that were
# rounded elsewhere, or not at all, are one each. Four leave room for one more.
ROUNDINGS = 4

# A quotient x / s may be computed as x * (1 / s), a coordinate (i + 0.5) / s - 0.5 likewise: three roundings of what
# may be larger than the result.
INSIDE = 4
FLOAT32 = 2.0**-24

_DIGITS = {"float16": 11, "float32": 24, "float64": 53, "bfloat16": 8}

# Values that leave so many bits of the significand free have never been rounded: codes, masks, halves.
_FREE_BITS = 8
_LEAST_FREE_BITS = 3
_FIRST = 64


def is_float(array: Array) -> bool:
    """Whether the elements are floating-point numbers with a rounding that is known here."""
    return array.dtype.name in _DIGITS


def wide(array: Array) -> Array:
    """The values in float64; integers below 2**53 as they are."""
    return array.astype(np.float64)


def reach(operand: Operand) -> Array:
    """For each element how far off its recorded value it may have been; 0 where nothing was rounded."""
    with np.errstate(invalid="ignore"):
        found: Array = np.abs(wide(operand.data)) * relative_reach(operand)
    return np.where(np.isfinite(found), found, 0.0)


def relative_reach(operand: Operand) -> float:
    """The same for values of this operand that are not known by their place, relative to their size."""
    if operand.exact or not is_float(operand.data) or not operand.data.size:
        return 0.0
    if operand.roundoff is not None:  # the format itself leaves bits free
        return ROUNDINGS * operand.roundoff
    digits = _DIGITS[operand.data.dtype.name]
    return 0.0 if never_rounded(operand.data, digits) else float(ROUNDINGS * 2.0**-digits)


def never_rounded(data: Array, digits: int) -> bool:
    """Whether all values leave so many of a significand's `digits` free that no rounding has made them."""
    free = max(_LEAST_FREE_BITS, min(_FREE_BITS, digits // 3))
    values = data.reshape(-1)
    # Most tensors are told by a few of their values.
    return all(_leave_free(wide(part), digits - free) for part in (values[:_FIRST], values[_FIRST:]))


def _leave_free(values: Array, kept: int) -> bool:
    finite = values[np.isfinite(values)]
    with np.errstate(under="ignore"):
        scaled: Any = np.frexp(finite)[0] * 2.0**kept
    return bool((scaled == np.rint(scaled)).all())
