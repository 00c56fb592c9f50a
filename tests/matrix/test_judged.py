"""From results to shares, worst levels and an exit code; each against a formula of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from statistics import fmean

import numpy as np
import pytest

from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.facts import CellFacts, Figures, Levels, Matrix, PlanCounts
from sysnoise_conform.matrix.judged import adjusted, by_axis, shapley, subsets, worst_levels
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.variant import parse_variant

LEVELS: Levels = (("decoder", "opencv"), ("resize", "tf-nearest"), ("channels", "swapped"))
FIGURES = Figures(
    value=0.5, others={}, delta=0.1, interval=(0.05, 0.2), p=0.01, p_holm=None, lost=1, won=0, changed=1,
    verdict="PASS", pictures=10,
)  # fmt: skip


def cell(axis: str, level: str, delta: float | None = 0.1, **more) -> CellFacts:
    figures = None if delta is None else replace(FIGURES, delta=delta, **more)
    return CellFacts(axis=axis, level=level, backend="ort", status="measured" if figures else "noop", figures=figures)


def test_shapley_is_the_mean_contribution_over_all_orders() -> None:
    rng = np.random.default_rng(4)
    drop = {each: float(rng.normal()) for each in subsets(LEVELS)}
    drop[()] = 0.0

    shares = shapley(LEVELS, drop)

    for one in LEVELS:
        gains = []
        for order in permutations(LEVELS):
            before = set(order[: order.index(one)])
            without = tuple(each for each in LEVELS if each in before)
            gains.append(drop[tuple(each for each in LEVELS if each in before or each == one)] - drop[without])
        assert shares[one[0]] == pytest.approx(fmean(gains))
    assert sum(shares.values()) == pytest.approx(drop[LEVELS])  # nothing of the drop is left over


def test_subsets_are_all_of_them_once() -> None:
    found = subsets(LEVELS)

    assert len(set(found)) == 8
    assert found[0] == ()
    assert found[-1] == LEVELS


def test_the_worst_level_of_an_axis_costs_something() -> None:
    def one(axis: str, level: str) -> Cell:
        return Cell(levels=((axis, level),), variant=parse_variant("ort"))

    drops = [(one("resize", "a"), 0.1), (one("resize", "b"), 0.3), (one("resize", "c"), 0.2), (one("exif", "d"), -0.1),
             (one("crop", "e"), 0.0)]  # fmt: skip

    assert worst_levels(drops) == {"resize": ("b", 0.3)}


def test_an_axis_is_the_mean_and_the_largest_of_its_levels() -> None:
    cells = [cell("resize", "a", 0.3), cell("resize", "b", -0.1), cell("resize", "c", None)]
    cells.append(cell("control", "again", 9.0))
    crashed = CellFacts(axis="resize", level="d", backend="ort", status="crashed")

    (found,) = by_axis([*cells, crashed])

    assert found.mean_delta == pytest.approx(0.2 / 2)
    assert (found.max_delta, found.worst) == (0.3, "a")
    # Without effect is told and is no zero, without an answer is not there at all.
    assert dict(found.deltas) == {"a": 0.3, "b": -0.1, "c": None}


def test_an_axis_whose_levels_are_all_without_effect_has_no_drop_and_not_one_of_zero() -> None:
    (found,) = by_axis([cell("exif", "ignore", None), cell("exif", "turned", None)])

    assert (found.mean_delta, found.max_delta, found.worst) == (None, None, None)
    assert dict(found.deltas) == {"ignore": None, "turned": None}


def test_p_is_adjusted_over_the_cells_without_the_control() -> None:
    """Holm: the smallest of three times 3, the next times 2, none smaller than the one before."""
    cells = [cell("resize", "a", p=0.02), cell("resize", "b", p=0.01), cell("resize", "c", p=0.015),
             cell("control", "again", p=0.001), cell("resize", "d", None)]  # fmt: skip

    found = [None if each.figures is None else each.figures.p_holm for each in adjusted(cells)]

    assert found == [pytest.approx(0.03), pytest.approx(0.03), pytest.approx(0.03), None, None]


def matrix(*cells: CellFacts) -> Matrix:
    return Matrix(
        model="m", task="classify", metric="top1", layout="folders", pictures=10, baseline_backend="ort", baseline={},
        margin=0.01, seed=0, cells=(cell("control", "again", verdict="FAIL"), *cells), axes=(), steps=(), shares=(),
        plan=PlanCounts(decodes=0, resizes=0, inferences=0, naive_decodes=0, naive_resizes=0, naive_inferences=0),
    )  # fmt: skip


GREEN, RED, GREY = (cell("resize", "a", verdict=word) for word in ("PASS", "FAIL", "INCONCLUSIVE"))
OWN_WAY = cell("backend", "ort", verdict="PASS")
CRASHED, GONE, REFUSED, NOOP, NOT_APPLICABLE = (
    CellFacts(axis="resize", level="a", backend="mnn", status=status)
    for status in ("crashed", "unavailable", "unsupported", "noop", "not_applicable")
)


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ([GREEN], 0),
        ([GREEN, NOOP], 0),
        ([GREEN, GREY], 5),
        ([GREEN, REFUSED], 5),
        ([GREEN, GONE], 6),
        ([GREEN, CRASHED], 3),
        ([GREEN, GONE, REFUSED, GREY, CRASHED], 3),
        ([RED, CRASHED, GONE, GREY], 1),
        ([GONE, GREY], 6),
        ([NOOP], 5),  # nothing was compared
        ([NOT_APPLICABLE, NOOP], 5),
        ([OWN_WAY, NOOP], 5),  # a backend's own way is no noise
        ([OWN_WAY, GREEN], 0),
        ([OWN_WAY], 0),
        ([], 5),
    ],
)
def test_the_gravest_of_what_befell_the_cells_is_the_exit_code(cells: list[CellFacts], code: int) -> None:
    assert overall(matrix(*cells)).exit_code == code
