"""What n pictures can't exclude: against the definition, and by how often a gate is wrongly green."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from sysnoise_conform.statistics.bootstrap import paired, replicates
from sysnoise_conform.statistics.paired import drop_interval
from sysnoise_conform.statistics.unseen import most_events, pictures_to_exclude, unseen_share, with_unseen
from sysnoise_conform.tasks.evaluation import resampled_gate


@pytest.mark.parametrize("n", [1, 16, 300, 5000])
def test_of_nothing_seen_the_share_is_what_one_in_twenty_sets_would_not_show(n: int) -> None:
    share = unseen_share(n, confidence=0.9)
    assert (1 - share) ** n == pytest.approx(0.05)
    assert share == pytest.approx(most_events(0, n, confidence=0.9))
    assert unseen_share(0, confidence=0.9) == most_events(3, 3, confidence=0.9) == 1


def test_the_rule_of_three() -> None:
    assert unseen_share(1000, confidence=0.9) == pytest.approx(3 / 1000, rel=0.01)
    assert pictures_to_exclude(0.01, 1.0, confidence=0.9) == 299
    assert unseen_share(299, confidence=0.9) < 0.01 < unseen_share(298, confidence=0.9)
    assert pictures_to_exclude(0.01, 0.2, confidence=0.9) == 59
    assert pictures_to_exclude(0.3, 0.2, confidence=0.9) == 1


def test_a_drop_of_nothing_has_a_width_and_a_wide_bootstrap_stays_as_it_is() -> None:
    low, high = with_unseen((0.0, 0.0), 0.0, loss=0.2, gain=0.2, n=20, confidence=0.9)
    assert high == -low == pytest.approx(0.2 * unseen_share(20, confidence=0.9))
    assert with_unseen((-0.3, 0.4), 0.1, loss=0.1, gain=0.2, n=20, confidence=0.9) == (-0.3, 0.4)
    infinite = (-math.inf, math.inf)
    assert with_unseen(infinite, math.nan, loss=math.nan, gain=1.0, n=0, confidence=0.9) == infinite


def test_so_few_pictures_say_how_many_would_tell() -> None:
    nothing = paired(np.ones(2000), np.ones(2000))
    few = resampled_gate(nothing, base=1.0, other=1.0, n=16, margin=0.01)
    assert few.word == "INCONCLUSIVE"
    needed = few.needed()
    assert needed is not None
    assert resampled_gate(nothing, base=1.0, other=1.0, n=needed, margin=0.01).word == "PASS"


def passes_shares(lost: int, n: int, margin: float) -> bool:
    return drop_interval(lost, 0, n, confidence=0.9)[1] < margin


def passes_bootstrap(lost: int, n: int, margin: float) -> bool:
    kept = np.arange(n) >= lost
    found = paired(np.ones(200), replicates(lambda times: times @ kept / n, n, seed=0, count=200))
    return resampled_gate(found, base=1.0, other=float(kept.mean()), n=n, margin=margin).word == "PASS"


# Sizes just above those from which on 0 and 1 lost pictures pass.
@pytest.mark.parametrize(("passes", "n"), [
    *((passes_shares, n) for n in (60, 268, 300, 448, 475)), *((passes_bootstrap, n) for n in (60, 268, 300)),
])  # fmt: skip
def test_a_rare_loss_that_is_above_the_margin_passes_at_most_one_time_in_twenty(
    passes: Callable[[int, int, float], bool], n: int
) -> None:
    """Of 1.01 pictures in a hundred everything is lost; whoever sees none of them must not say that nothing is."""
    green = sum(float(binom.pmf(lost, n, 0.0101)) for lost in range(6) if passes(lost, n, 0.01))
    assert green <= 0.05
