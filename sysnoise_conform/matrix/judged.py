"""From results to figures: every cell against the baseline, over the pictures that both have an answer for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from math import comb
from typing import cast

import numpy as np

from sysnoise_conform.matrix.cells import BACKEND, CONTROL, Cell
from sysnoise_conform.matrix.facts import AxisFacts, CellFacts, Figures, Flip, Levels
from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.statistics.gate import holm
from sysnoise_conform.tasks.evaluation import ERRORS, Figured, Result

MOST_FLIPS = 12  # of a cell


@dataclass(slots=True)
class Judge:
    """Compares cells with one baseline."""

    journal: Journal
    evaluation: Figured
    base: Cell
    margin: float
    seed: int
    _base_results: dict[tuple[str, Sequence[int]], list[Result | None]] = field(default_factory=dict)

    def figures(self, cell: Cell, pictures: Sequence[int], *, base: Cell | None = None) -> tuple[Figures, int] | None:
        """The figures of a cell, and how many pictures had to be left out; None where no picture is left."""
        kept, one, other = self._both(cell, base or self.base, pictures)
        if not kept:
            return None
        found = self.evaluation.compare(one, other, kept, margin=self.margin, seed=self.seed)
        values = dict(self.evaluation.figures(other, kept, one))
        return Figures(
            value=values.pop(self.evaluation.metric),
            others=values,
            delta=found.delta,
            interval=found.interval,
            p=found.p,
            p_holm=None,
            lost=found.lost,
            won=found.won,
            changed=found.changed,
            verdict=found.verdict,
            pictures=len(kept),
            images_to_decide=found.images_to_decide,
        ), len(pictures) - len(kept)

    def delta(self, cell: Cell, pictures: Sequence[int]) -> float:
        """The drop alone, without how sure it is; 0 where no picture is left."""
        kept, one, other = self._both(cell, self.base, pictures)
        if not kept:
            return 0.0
        before, after = (self.evaluation.figures(each, kept, one)[self.evaluation.metric] for each in (one, other))
        return after - before if self.evaluation.metric in ERRORS else before - after

    def _both(
        self, cell: Cell, base: Cell, pictures: Sequence[int]
    ) -> tuple[list[int], list[Result], list[Result]]:
        """The pictures that both have an answer for, and the answers."""
        if (base.key, pictures) not in self._base_results:
            self._base_results[base.key, pictures] = self.journal.results(base.key, pictures)
        first = self._base_results[base.key, pictures]
        second = self.journal.results(cell.key, pictures)
        answered = [a is not None and b is not None for a, b in zip(first, second, strict=True)]
        # The same list where it is whole: an evaluation keeps what it made of it (matches, replicates).
        one = cast(list[Result], first if all(answered) else list(compress(first, answered)))
        return list(compress(pictures, answered)), one, cast(list[Result], list(compress(second, answered)))

    def baseline(self, pictures: Sequence[int]) -> Mapping[str, float]:
        """The baseline's own figures."""
        results = self.journal.results(self.base.key, pictures)
        kept = [(at, each) for at, each in zip(pictures, results, strict=True) if each is not None]
        these = [each for _, each in kept]
        return self.evaluation.figures(these, [at for at, _ in kept], these)

    def unchanged(self, cell: Cell, other: Cell, pictures: Sequence[int]) -> bool:
        """Whether every answer is the other's, bit for bit."""
        pairs = zip(self.journal.results(other.key, pictures), self.journal.results(cell.key, pictures), strict=True)
        return all(
            a is not None and b is not None and a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
            for a, b in pairs
        )

    def flips(self, cell: Cell, pictures: Sequence[int], names: Sequence[str], most: int) -> list[Flip]:
        """Pictures whose answer is another one, those that were lost first."""
        found = []
        axis, level = label(cell)
        results = (self.journal.results(each.key, pictures) for each in (self.base, cell))
        for at, a, b in zip(pictures, *results, strict=True):
            if a is None or b is None or not self.evaluation.differs(at, a, b):
                continue
            before, after = self.evaluation.shown(at, a), self.evaluation.shown(at, b)
            found.append(Flip(
                picture=names[at], axis=axis, level=level, backend=str(cell.variant), before=before.text,
                after=after.text, right_before=before.right, right_after=after.right,
                boxes_before=before.boxes, boxes_after=after.boxes,
            ))  # fmt: skip
        found.sort(key=lambda each: not (each.right_before and not each.right_after))
        return found[:most]


def label(cell: Cell) -> tuple[str, str]:
    """The axis and level of a cell with one of them, or of one with none."""
    if cell.again:
        return CONTROL, "again"
    if not cell.levels:
        return BACKEND, str(cell.variant)
    if len(cell.levels) == 1:
        return cell.levels[0]
    return "combined", " + ".join(f"{axis}={level}" for axis, level in cell.levels)


def adjusted(cells: Sequence[CellFacts]) -> tuple[CellFacts, ...]:
    """The cells with Holm's p over all that were measured, the control apart."""
    counted = [each for each in cells if each.figures is not None and each.axis != CONTROL]
    values = iter(holm([each.figures.p for each in counted if each.figures is not None]))
    return tuple(
        replace(each, figures=replace(each.figures, p_holm=next(values)))
        if each.figures is not None and each.axis != CONTROL else each
        for each in cells
    )  # fmt: skip


def by_axis(cells: Sequence[CellFacts]) -> tuple[AxisFacts, ...]:
    """Mean, maximum and vector over the levels that were measured, axis by axis and backend by backend.

    One without effect is told as such and not as 0: zeros of options that change nothing here would thin the mean out.
    """
    groups: dict[tuple[str, str], dict[str, float | None]] = {}
    for each in cells:
        if each.axis in (CONTROL, BACKEND, "combined") or each.status not in ("measured", "noop"):
            continue
        value = None if each.figures is None else each.figures.delta
        groups.setdefault((each.axis, each.backend), {})[each.level] = value
    found = []
    for (axis, backend), deltas in groups.items():
        drops = {level: value for level, value in deltas.items() if value is not None}
        worst = max(drops, key=lambda level: drops[level]) if drops else None
        found.append(AxisFacts(
            axis=axis, backend=backend, mean_delta=float(np.mean(list(drops.values()))) if drops else None,
            max_delta=None if worst is None else drops[worst], worst=worst, deltas=deltas,
        ))  # fmt: skip
    return tuple(found)


def worst_levels(cells: Sequence[tuple[Cell, float]]) -> dict[str, tuple[str, float]]:
    """Axis -> its level with the largest drop, and that drop; axes of which no level costs anything are left out."""
    found: dict[str, tuple[str, float]] = {}
    for cell, delta in cells:
        ((axis, level),) = cell.levels
        if delta > 0 and (axis not in found or delta > found[axis][1]):
            found[axis] = (level, delta)
    return found


def subsets(levels: Levels) -> list[Levels]:
    """All subsets of some levels, by size, the empty one first."""
    ordered = sorted(range(1 << len(levels)), key=lambda each: (each.bit_count(), each))
    return [tuple(each for at, each in enumerate(levels) if bits >> at & 1) for bits in ordered]


def shapley(levels: Levels, delta: Mapping[Levels, float]) -> dict[str, float]:
    """Each level's share of the drop of all: its mean contribution over all orders (Shapley 1953)."""
    n = len(levels)
    shares = {}
    for one in levels:
        total = 0.0
        for subset in subsets(tuple(each for each in levels if each != one)):
            together = tuple(each for each in levels if each in subset or each == one)
            total += (delta[together] - delta[subset]) / (n * comb(n - 1, len(subset)))
        shares[one[0]] = total
    return shares
