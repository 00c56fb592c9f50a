"""How far off correct float32 arithmetic may be: the tolerances of the corpus, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.case import Values

U32 = 2.0**-24  # half a unit in the last place of 1
U16 = 2.0**-11
SMALLEST = float(np.finfo(np.float32).tiny)  # below it some kernels flush to zero, which is not asked here


def rounded(y: Array, units: float, why: str, *, scale: float | Array = 0.0, u: float = U32) -> Values:
    """The output `y`, right within `units` roundings of itself, or of `scale` where that is larger."""
    finite = np.where(np.isfinite(y), np.abs(y), 0.0)
    return Values(arrays={"y": y}, allowed=units * u * np.maximum(finite, scale) + SMALLEST, why=why)


def summed(y: Array, terms: int, scale: float | Array) -> Values:
    """Sums of products `y` over `terms` terms whose absolute values sum up to `scale`.

    A sum of n terms is off by at most about n u times the sum of their absolute values, and unless roundings conspire
    by 8 sqrt(n) u (Higham and Mary, 2019, a failure rate of 1e-13); one unit more each for product, bias, cast.
    """
    units = min(float(terms), 8 * math.sqrt(terms)) + 3
    why = f"rounding of sums of {terms} terms, in any order"
    return rounded(y, units, why, scale=scale)


def named(values: Mapping[str, Array], allowed: float | Array = 0.0, why: str = "exact") -> Values:
    """Several outputs by name."""
    return Values(arrays=dict(values), allowed=allowed, why=why)
