"""The Shapley value of each cause of an error, against its definition over all orders."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from sysnoise_conform.diagnose.sharing import MOST_EXACT, share_out

Error = Callable[[frozenset[int]], float]


def random_error(count: int, seed: int) -> Error:
    """Any number for any subset: causes that add up, hide each other, or only hurt together."""
    values = np.random.default_rng(seed).uniform(0, 1, 2**count)
    return lambda subset: float(values[sum(1 << each for each in subset)])


def over_all_orders(count: int, error: Error) -> list[float]:
    gone = np.zeros(count)
    for order in permutations(range(count)):
        for at, cause in enumerate(order):
            gone[cause] += error(frozenset(order[:at])) - error(frozenset(order[: at + 1]))
    return list(gone / math.factorial(count))


@pytest.mark.parametrize("count", range(1, MOST_EXACT + 1))
def test_up_to_six_causes_are_exact(count: int) -> None:
    error = random_error(count, seed=count)

    assert share_out(count, error).values == pytest.approx(over_all_orders(count, error), abs=1e-12)


@pytest.mark.parametrize("count", [2, 6, 7, 9])
def test_shares_add_up_to_what_is_gone_with_all(count: int) -> None:
    error = random_error(count, seed=count)

    shares = share_out(count, error)

    assert sum(shares.values) == pytest.approx(error(frozenset()) - error(frozenset(range(count))), abs=1e-12)
    assert shares.method == ("shapley" if count <= MOST_EXACT else "orders")


def test_two_causes_that_hide_each_other_share_alike() -> None:
    shares = share_out(2, lambda gone: 0.0 if len(gone) == 2 else 1.0)

    assert shares.values == (0.5, 0.5)


def test_causes_that_add_up_get_what_they_bring_however_many() -> None:
    sizes = [float(each) for each in range(1, 10)]

    shares = share_out(9, lambda gone: sum(size for at, size in enumerate(sizes) if at not in gone))

    assert shares.values == pytest.approx(sizes)


@pytest.mark.parametrize(("count", "most"), [(1, 2), (6, 64), (9, 4 * 9 + 1)])
def test_no_subset_is_tried_twice_and_few_are_of_many_causes(count: int, most: int) -> None:
    asked: list[frozenset[int]] = []
    error = random_error(count, seed=1)

    def counted(subset: frozenset[int]) -> float:
        asked.append(subset)
        return error(subset)

    share_out(count, counted)

    assert len(asked) == len(set(asked)) <= most
