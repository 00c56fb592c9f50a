"""Errors in units in the last place, as a histogram on a fixed logarithmic grid.

One ULP is the spacing of the declared type at the *largest magnitude of the golden tensor* in that
sample, not at each element: per element the unit shrinks to nothing near 0, where cancellation
leaves an error as large as anywhere else, and the quantile would count zeros instead of errors.

A bin is an eighth of an octave: bin `8 * e + k` holds [2**e * (1 + k/8), 2**e * (1 + (k+1)/8)).
These are the exponent and the three leading mantissa bits of a float64, so an element finds its bin
by a shift, and the grid is the same on every machine. Errors of 0 are in no bin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sysnoise_conform.outcome import TensorDiff

BINS_PER_OCTAVE = 8

# ONNX type -> (bits of the significand with the implicit one, exponent of the smallest normal number).
# IEEE 754-2019 table 3.5; bfloat16; OCP 8-bit Floating Point 1.0 and OCP Microscaling Formats 1.0.
FORMATS: Mapping[str, tuple[int, int]] = {
    "DOUBLE": (53, -1022),
    "COMPLEX128": (53, -1022),
    "FLOAT": (24, -126),
    "COMPLEX64": (24, -126),
    "FLOAT16": (11, -14),
    "BFLOAT16": (8, -126),
    "FLOAT8E4M3FN": (4, -6),
    "FLOAT8E4M3FNUZ": (4, -7),
    "FLOAT8E5M2": (3, -14),
    "FLOAT8E5M2FNUZ": (3, -15),
    "FLOAT8E8M0": (1, -127),
    "FLOAT4E2M1": (2, 0),
    "FLOAT6E2M3": (4, 0),
    "FLOAT6E3M2": (3, -2),
}


def unit_roundoff(dtype: str) -> float | None:
    """Half the spacing of the type at 1: 2**-24 for FLOAT; None for a type that does not round."""
    known = FORMATS.get(dtype)
    return 2.0 ** -known[0] if known else None


def ulp_exponent(dtype: str, magnitude: float) -> int | None:
    """log2 of the spacing of `dtype` at `magnitude`; None for a type that does not round."""
    known = FORMATS.get(dtype)
    if known is None:
        return None
    bits, lowest = known
    exponent = math.frexp(magnitude)[1] - 1 if magnitude > 0 else lowest
    return max(exponent, lowest) - (bits - 1)


def bin_of(ulps: float) -> int:
    """The bin that an error of `ulps` > 0 falls into."""
    mantissa, exponent = math.frexp(ulps)
    return BINS_PER_OCTAVE * (exponent - 1) + int((2 * mantissa - 1) * BINS_PER_OCTAVE)


def bin_centre(index: int) -> float:
    """The middle of a bin, in ULP; infinite for one beyond float64."""
    exponent, part = divmod(index, BINS_PER_OCTAVE)
    return math.ldexp(1 + (part + 0.5) / BINS_PER_OCTAVE, exponent) if exponent < 1024 else math.inf


def quantile(histogram: Mapping[int, int], n: int, q: float) -> float | None:
    """The q-quantile of `n` errors, all but those in the histogram being 0; None without any.

    The element of rank ceil(q * n) in ascending order, told by the middle of its bin.
    """
    if n <= 0:
        return None
    rank = max(1, math.ceil(q * n))
    below = n - sum(histogram.values())
    if rank <= below:
        return 0.0
    for index in sorted(histogram):
        below += histogram[index]
        if rank <= below:
            return bin_centre(index)
    raise ValueError("the histogram holds more than n elements")


def p99(diff: TensorDiff) -> float | None:
    """The error, in ULP, that 99 % of a tensor's finite elements stay below; None for ints and bools."""
    return quantile(diff.ulp_histogram, diff.finite, 0.99) if diff.dtype in FORMATS else None
