"""Quantiles of Fisher's F distribution: how far two estimates of one variance stray from each other."""

from __future__ import annotations

import math
from statistics import NormalDist

_MANY = 100  # degrees of freedom from which on a normal deviate tells the quantile within 1e-5
_TINY = 1e-300  # keeps the continued fraction from a division by zero


def fisher_quantile(probability: float, n: int, m: int) -> float:
    """The value that F(n, m) does not exceed with this probability.

    By bisection on F's distribution function, a regularised incomplete beta function (Abramowitz and Stegun 26.6.2);
    for many degrees of freedom by Carter's approximation to Fisher's z, log(F) / 2 (the same, 26.5.22 and 26.6.17).
    """
    if min(n, m) > _MANY:
        z = NormalDist().inv_cdf(probability)
        skew, h = (z * z - 3) / 6, 2 / (1 / (n - 1) + 1 / (m - 1))
        return math.exp(
            2 * (z * math.sqrt(h + skew) / h - (1 / (n - 1) - 1 / (m - 1)) * (skew + 5 / 6 - 2 / (3 * h)))
        )
    low, high = 0.0, 1.0
    while _distribution(high, n, m) < probability:
        low, high = high, high * 4
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _distribution(middle, n, m) < probability else (low, middle)
    return high


def _distribution(value: float, n: int, m: int) -> float:
    """P(F <= value)."""
    return incomplete_beta(n * value / (n * value + m), n / 2, m / 2)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's method, both steps of the fraction at a time."""
    c, d = 1.0, 1 / _kept(1 - (a + b) * x / (a + 1))
    value = d
    for k in range(1, 10_000):
        for term in (
            k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)),
            -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1)),
        ):
            d = 1 / _kept(1 + term * d)
            c = _kept(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _kept(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
