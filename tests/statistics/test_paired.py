"""Tests and intervals for pairs, against tables, simulation and the definition."""

from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.statistics.bootstrap import RESAMPLES, paired, replicates, resamples, sure
from sysnoise_conform.statistics.gate import holm, non_inferior
from sysnoise_conform.statistics.paired import drop_interval, images_to_decide, images_to_detect, mcnemar


def test_five_flips_one_way_are_the_least_that_can_show_anything() -> None:
    assert mcnemar(4, 0) > 0.05 > mcnemar(5, 0) == 0.5**5
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 9) > 0.9
    assert mcnemar(9, 3, two_sided=True) == pytest.approx(0.146, abs=1e-3)


@pytest.mark.parametrize(
    ("discordant", "drop", "images"),
    [(0.005, 0.001, 30_911), (0.01, 0.001, 61_824), (0.02, 0.005, 4_944), (0.05, 0.01, 3_090), (0.1, 0.005, 24_729)],
)
def test_images_needed_for_a_drop(discordant: float, drop: float, images: int) -> None:
    assert abs(images_to_detect(discordant, drop) - images) <= 1
    decided = images_to_decide(discordant, drop)
    assert decided is not None
    assert abs(decided - images) <= 3
    assert images_to_decide(discordant, 0) is None


@pytest.mark.parametrize(("n", "true_drop", "discordant"), [(500, 0.01, 0.05), (60, 0.0, 0.1), (2000, 0.002, 0.01)])
def test_the_interval_holds_the_true_drop_as_often_as_it_says(n: int, true_drop: float, discordant: float) -> None:
    rng = np.random.default_rng(0)
    shares = [(discordant + true_drop) / 2, (discordant - true_drop) / 2]
    inside = 0
    for lost, won, _ in rng.multinomial(n, [*shares, 1 - discordant], 400):
        low, high = drop_interval(int(lost), int(won), n, confidence=0.9)
        assert low <= (lost - won) / n <= high
        inside += low <= true_drop <= high
    assert 0.86 <= inside / 400 <= 0.94


def test_no_flips_leave_an_interval_that_is_not_empty() -> None:
    low, high = drop_interval(0, 0, 500, confidence=0.9)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1 - 0.05 ** (1 / 500))  # Clopper and Pearson's; Tango's z^2 / (n + z^2) is less
    assert drop_interval(0, 0, 0, confidence=0.9) == (-1, 1)
    assert drop_interval(10, 0, 10, confidence=0.9)[1] == pytest.approx(1)


def test_an_interval_below_above_and_across_the_margin() -> None:
    assert non_inferior((-0.01, 0.004), 0.005) == "PASS"
    assert non_inferior((0.006, 0.02), 0.005) == "FAIL"
    assert non_inferior((0.001, 0.02), 0.005) == "INCONCLUSIVE"


def test_holm_is_what_the_definition_says() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_resamples_are_the_same_for_a_seed_and_draw_as_many_as_there_are() -> None:
    first, again = next(resamples(37, seed=4)), next(resamples(37, seed=4, count=5))
    np.testing.assert_array_equal(first[:5], again)
    assert (first.sum(axis=1) == 37).all()


def test_the_bootstrap_of_a_mean_is_its_standard_error() -> None:
    rng = np.random.default_rng(2)
    base, other = rng.random(400), rng.random(400)
    drop = base - other
    found = paired(*(replicates(lambda t, each=each: t @ each / 400, 400, seed=0) for each in (base, other)))
    assert found.spread() == pytest.approx(drop.std() / 20, rel=0.08)
    low, high = found.interval(0.9)
    assert low < drop.mean() < high
    nothing = replicates(lambda t: t @ base, 0, seed=0)
    assert paired(nothing, nothing).interval(0.9) == (-np.inf, np.inf)


def test_where_no_replicate_shows_the_contrary_more_of_them_tell_how_sure_that_is() -> None:
    """Else the least p is 1 / 2,001, and no correction for a hundred cells and more leaves any evidence."""
    rng = np.random.default_rng(4)
    lost, mixed = rng.normal(1.0, 0.3, 60), rng.normal(0.0, 1.0, 60)

    def of(drops: np.ndarray, pictures: int) -> tuple[np.ndarray, float]:
        def arms(count: int) -> tuple[np.ndarray, np.ndarray]:
            found = replicates(lambda times: times @ drops / len(drops), len(drops), seed=1, count=count)
            return found, np.zeros_like(found)

        found, p = sure(arms, pictures)
        return found.drops, p

    drops, p = of(lost, 60)
    assert (len(drops), p) == (RESAMPLES, pytest.approx(1 / 20_001))
    assert of(lost, 2_000)[1] == pytest.approx(1 / 2_001)  # so many pictures are dear
    drops, p = of(mixed, 60)
    assert p == paired(drops, np.zeros_like(drops)).p() > 0.01
