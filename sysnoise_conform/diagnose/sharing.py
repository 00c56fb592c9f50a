"""How one error is shared out among several causes, whatever the order in which they are taken away.

Two causes in a row can hide each other: each taken away alone gains nothing, both together everything. The Shapley
value (Shapley 1953, "A value for n-person games") is the mean, over all orders in which the causes can be taken away,
of what goes when it is this one's turn; the values add up to what goes with all of them. Of many causes not every order
can be tried: then a few are, each with its reverse (Castro, Gomez, Tejada 2009), and each of them adds up as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, fsum
from typing import Literal

MOST_EXACT = 6  # causes of which every subset is tried: 64 runs
ORDERS = 2  # of more causes, each once forwards and once backwards: a run for each cause in each of them

Method = Literal["alone", "shapley", "orders"]
Without = Callable[[frozenset[int]], float]  # the squared error without these causes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """The part of the squared error that is each cause's; together what is gone without all of them."""

    values: tuple[float, ...]
    method: Method


def share_out(count: int, without: Without) -> Shares:
    """Share the squared error out among `count` causes. `without` is asked once for each subset that is needed."""
    known: dict[frozenset[int], float] = {}

    def error(subset: frozenset[int]) -> float:
        if subset not in known:
            known[subset] = without(subset)
        return known[subset]

    if count <= MOST_EXACT:
        return Shares(values=_exact(count, error), method="alone" if count == 1 else "shapley")
    return Shares(values=_sampled(count, error), method="orders")


def _exact(count: int, error: Without) -> tuple[float, ...]:
    values = []
    for cause in range(count):
        others = [each for each in range(count) if each != cause]
        values.append(
            fsum(
                (error(before) - error(before | {cause})) / (count * comb(count - 1, size))  # orders with these first
                for size in range(count)
                for before in map(frozenset, combinations(others, size))
            )
        )
    return tuple(values)


def _sampled(count: int, error: Without) -> tuple[float, ...]:
    draw = random.Random(0)  # noqa: S311 - chance, not secrets; the same diagnosis twice gives the same shares
    first = list(range(count))
    gone: list[list[float]] = [[] for _ in range(count)]
    for number in range(ORDERS):
        order = first if number == 0 else draw.sample(first, count)
        for each in (order, order[::-1]):
            before = frozenset[int]()
            for cause in each:
                gone[cause].append(error(before) - error(before | {cause}))
                before |= {cause}
    return tuple(fsum(each) / len(each) for each in gone)
