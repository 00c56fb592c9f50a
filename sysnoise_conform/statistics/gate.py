"""From an interval to a word: is the drop surely below the margin, surely above it, or can't so few pictures tell?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]

CONFIDENCE = 0.90  # two-sided, that is 95 % on each side


def non_inferior(interval: tuple[float, float], margin: float) -> Word:
    """PASS where the whole interval of the drop lies below the margin, FAIL where it lies above, else INCONCLUSIVE."""
    low, high = interval
    if high < margin:
        return "PASS"
    return "FAIL" if low > margin else "INCONCLUSIVE"


def holm(values: Sequence[float]) -> list[float]:
    """The p values, adjusted so that of all cells together one false finding comes at most at the stated rate.

    Source: Holm 1979: the k-th smallest of m times (m - k + 1), never smaller than the one before.
    """
    order = sorted(range(len(values)), key=lambda each: values[each])
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = largest
    return adjusted
