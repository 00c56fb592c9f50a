"""Two yes-or-no results on the same items: what was lost, what was won, and what can be said of the difference.

`lost` are the items that the first got right and the second wrong, `won` the reverse; a drop is (lost - won) / n.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from sysnoise_conform.statistics.unseen import most_events


def mcnemar(lost: int, won: int, *, two_sided: bool = False) -> float:
    """The exact p of McNemar's test: that so many of the flips are losses by chance, one-sided unless asked.

    Source: McNemar 1947; exact form P(Bin(lost + won, 1/2) >= lost).
    """
    if lost + won == 0:
        return 1.0
    return float(binomtest(lost, lost + won, 0.5, "two-sided" if two_sided else "greater").pvalue)


def drop_interval(lost: int, won: int, n: int, *, confidence: float) -> tuple[float, float]:
    """The two-sided score interval of the drop, as shares of `n`.

    Source: Tango 1998, Statistics in Medicine 17, 891-908. It is an approximation, which for very few flips is too
    narrow: without any it excludes 1 point with 268 items, of which 1 in 15 such sets shows none at a drop of 1 point.
    So neither side is nearer than Clopper and Pearson's exact bound of the losses, or of the wins, alone, with the
    other taken as it was seen.
    """
    if n == 0:
        return -1.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    drop = (lost - won) / n

    def score(delta: float) -> float:
        a = 2 * n
        b = -lost - won + (2 * n - lost + won) * delta
        c = -won * delta * (1 - delta)
        q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        spread = n * (2 * q + delta * (1 - delta))
        gap = lost - won - n * delta
        return math.copysign(math.inf, gap) if spread <= 0 and gap else (gap / math.sqrt(spread) if spread > 0 else 0.0)

    def bound(towards: float, wanted: float) -> float:
        edge = towards * (1 - 1e-12)
        if (score(edge) - wanted) * (score(drop) - wanted) > 0:
            return towards
        ends = sorted((drop, edge))
        return float(brentq(lambda delta: max(-1e9, min(1e9, score(delta))) - wanted, *ends, xtol=1e-12))

    low, high = bound(-1.0, z), bound(1.0, -z)
    most_lost, most_won = (most_events(each, n, confidence=confidence) for each in (lost, won))
    return min(low, lost / n - most_won), max(high, most_lost - won / n)


def images_to_decide(discordant: float, distance: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many items show that the drop lies on its side of a margin, at a distance from it; None at no distance.

    `discordant` is the share of items that flip. Source: (z_alpha + z_power)^2 * discordant / distance^2, the sample
    size of a non-inferiority test on pairs.
    """
    if distance <= 0:
        return None
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    return math.ceil(z * z * discordant / distance**2)


def images_to_detect(discordant: float, drop: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many items show a drop of this size at all, by McNemar's test.

    Source: ((z_alpha * sqrt(discordant) + z_power * sqrt(discordant - drop^2)) / drop)^2.
    """
    za, zb = float(norm.ppf(1 - alpha)), float(norm.ppf(power))
    return math.ceil(((za * math.sqrt(discordant) + zb * math.sqrt(discordant - drop * drop)) / drop) ** 2)
