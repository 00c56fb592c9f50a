"""What so few pictures can't exclude, however alike two results on them are.

A bootstrap draws from what was seen: where nothing changed it gives an interval of no width, and where changes were
small it knows of no large one. Of a thing that befalls a share q of all pictures, n pictures show nothing at all with
a chance of (1 - q)^n, so a share of 1 - alpha^(1/n), about 3/n at 95 %, stays possible (Clopper and Pearson 1934 for
0 of n; the rule of three of Hanley and Lippman-Hand 1983). Bahadur and Savage 1956 show that no interval for a mean is
valid for every distribution without such an allowance.
"""

from __future__ import annotations

import math

from scipy.stats import beta


def unseen_share(n: int, *, confidence: float) -> float:
    """The largest share of pictures that something may befall of which `n` show nothing; 1 of none.

    `confidence` is that of a two-sided interval: 0.9 leaves 5 % on each side.
    """
    return 1.0 if n == 0 else -math.expm1(math.log((1 - confidence) / 2) / n)


def most_events(count: int, n: int, *, confidence: float) -> float:
    """The upper end of Clopper and Pearson's two-sided interval for a share of which `count` of `n` were seen."""
    return 1.0 if count >= n else float(beta.ppf(0.5 + confidence / 2, count + 1, n - count))


def with_unseen(
    interval: tuple[float, float], delta: float, *, loss: float, gain: float, n: int, confidence: float
) -> tuple[float, float]:
    """The interval of a drop, and at least what pictures that were not seen may do to it.

    `loss` is how much further the drop would be if all pictures were such on which everything is lost, `gain` how much
    less if all were such on which everything is won.
    """
    if not (math.isfinite(delta) and math.isfinite(loss) and math.isfinite(gain)):
        return interval
    share = unseen_share(n, confidence=confidence)
    return min(interval[0], delta - share * gain), max(interval[1], delta + share * loss)


def pictures_to_exclude(distance: float, figure: float, *, confidence: float) -> int:
    """How many pictures bring what may be unseen below a distance, of a figure of this size."""
    if distance >= figure:
        return 1
    return math.ceil(math.log((1 - confidence) / 2) / math.log1p(-distance / figure))
