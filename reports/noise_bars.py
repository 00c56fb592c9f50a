"""Bars, intervals and waterfalls on one scale of points, as HTML that stretches with the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sysnoise_conform.matrix.facts import CellFacts, Matrix, Share, Step
from sysnoise_conform.reports.markup import Markup, element, join, table
from sysnoise_conform.reports.noise_rows import interval, points, unit
from sysnoise_conform.reports.wording import shorten


@dataclass(frozen=True, slots=True)
class Scale:
    """Points from left to right, as fractions of 1; what lies beyond an end is cut there."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Per cent of the width."""
        share = (value - self.low) / (self.high - self.low)
        return 100 * min(max(share, 0.0), 1.0)


def scale(values: Iterable[float], margin: float, *, most: float = 1.0) -> Scale:
    """From the smallest to the largest, with 0 and the margin in sight.

    `most` is the share of values, from either end, that decides: a single cell that loses everything must not press
    all others into a line.
    """
    known = sorted(each for each in values if math.isfinite(each))
    last = len(known) - 1
    low = known[math.floor(last * (1 - most))] if known else 0.0
    high = known[math.ceil(last * most)] if known else 0.0
    low, high = min(low, -margin / 4, 0.0), max(high, margin * 1.5)
    room = max((high - low) * 0.03, 1e-6)
    return Scale(low - room, high + room)


def track(
    on: Scale, *, margin: float | None, bar: tuple[float, float] | None = None,
    whisker: tuple[float, float] | None = None, dot: float | None = None, kind: str = "", about: str = "",
) -> Markup:  # fmt: skip
    """One line of a drawing: zero, the margin, a bar, an interval and a dot, whichever there are."""
    marks = [_mark("zero", on.at(0.0))]
    if margin is not None:
        marks.append(_mark("margin", on.at(margin)))
    if bar is not None and all(map(math.isfinite, bar)):
        marks.append(_span(f"bar {kind}", on, bar))
    if whisker is not None and all(map(math.isfinite, whisker)):
        marks.append(_span(f"whisker {kind}", on, whisker))
    if dot is not None and math.isfinite(dot):
        marks.append(_mark(f"dot {kind}", on.at(dot)))
    beyond = [each for ends in (bar, whisker) if ends is not None for each in ends if math.isfinite(each)]
    if beyond and max(beyond) > on.high:
        marks.append(element("span", "›", class_="beyond right"))
    if beyond and min(beyond) < on.low:
        marks.append(element("span", "‹", class_="beyond left"))
    return element("div", *marks, class_="track", title=about or None)


def _mark(kind: str, left: float) -> Markup:
    return Markup(f'<span class="{kind}" style="left:{left:.2f}%"></span>')


def _span(kind: str, on: Scale, ends: tuple[float, float]) -> Markup:
    left, right = sorted(map(on.at, ends))
    return Markup(f'<span class="{kind}" style="left:{left:.2f}%;width:{max(right - left, 0.3):.2f}%"></span>')


def cell_track(cell: CellFacts, on: Scale, margin: float, metric: str) -> Markup:
    """A cell's drop and its interval against the margin."""
    figures = cell.figures
    if figures is None:
        return Markup("")
    return track(
        on, margin=margin, whisker=figures.interval, dot=figures.delta, kind=figures.verdict,
        about=f"drop {points(figures.delta, metric)}, 90 %: {interval(figures, metric)}",
    )  # fmt: skip


def cells_scale(cells: Sequence[CellFacts], margin: float) -> Scale:
    """One scale for all intervals of a page."""
    ends = [end for each in cells if each.figures is not None for end in each.figures.interval]
    return scale(ends, margin, most=0.95)


def waterfalls(found: Matrix) -> Markup:
    """For each backend and order the steps of the paper's Figure 3: each bar begins where the one before ended."""
    groups: dict[tuple[str, str], list[Step]] = {}
    for each in found.steps:
        groups.setdefault((each.backend, each.order), []).append(each)
    ends = [end for each in found.steps for end in (each.delta, *each.interval)]
    on = scale(ends, found.margin)
    drawn = [_waterfall(steps, backend, order, on, found) for (backend, order), steps in groups.items()]
    legend = element(
        "ul", _key("bar worse", "this noise costs more"), _key("bar better", "it gives some back"),
        _key("whisker", "90 % of all so far"), _key("margin", "the margin"), class_="legend",
    )  # fmt: skip
    return join(*drawn, legend)


def _waterfall(steps: Sequence[Step], backend: str, order: str, on: Scale, found: Matrix) -> Markup:
    rows: list[list[object]] = []
    before = 0.0
    for each in steps:
        added = each.delta - before
        drawing = track(
            on, margin=found.margin, bar=(before, each.delta), whisker=each.interval,
            kind="worse" if added > 0 else "better" if added < 0 else "",
            about=f"{points(added, found.metric)} more, {points(each.delta, found.metric)} in all",
        )  # fmt: skip
        name = element("span", f"+ {each.added}={shorten(each.level, 40)}", class_="name")
        rows.append([name, drawing, *(points(value, found.metric) for value in (added, each.delta, each.value))])
        before = each.delta
    how = "in the order of the pipeline" if order == "pipeline" else "the largest addition first"
    headings = ["noise", f"drop so far, in {unit(found)}", "adds", "drop so far", found.metric]
    return join(
        element("h3", f"{shorten(backend, 60)}: {how}"),
        element("div", table(headings, rows, numeric=frozenset({2, 3, 4})), class_="drawn"),
    )


def shares(found: Matrix) -> Markup:
    """For each backend whose the drop of all together is."""
    groups: dict[str, list[Share]] = {}
    for each in found.shares:
        groups.setdefault(each.backend, []).append(each)
    known = [value for each in found.shares for value in (each.recovered, each.shapley) if value is not None]
    on = scale(known, found.margin / 2)
    drawn = []
    for backend, group in groups.items():
        fair = any(each.shapley is not None for each in group)
        swapped = any(each.recovered is not None for each in group)
        headings = ["noise", f"{unit(found)} of the drop"]
        headings += (["gone without it"] if swapped else []) + (["Shapley"] if fair else [])
        rows = [_share(each, on, swapped, fair, found.metric) for each in group]
        numbers = frozenset(range(2, len(headings)))
        drawn += [
            element("h3", shorten(backend, 60)), element("div", table(headings, rows, numeric=numbers), class_="drawn"),
        ]  # fmt: skip
    keys = []
    if any(each.recovered is not None for each in found.shares):
        keys.append(_key("bar swap", "gone when this noise alone is taken away"))
    if any(each.shapley is not None for each in found.shares):
        keys.append(_key("bar fair", "mean over all orders (Shapley)"))
    return join(*drawn, element("ul", *keys, class_="legend"))


def _share(each: Share, on: Scale, swapped: bool, fair: bool, metric: str) -> list[object]:
    tracks = [
        track(on, margin=None, bar=(0.0, value), kind=kind)
        for value, kind in ((each.recovered, "swap"), (each.shapley, "fair"))
        if value is not None
    ]
    name = element("span", f"{each.axis}={shorten(each.level, 40)}", class_="name")
    row: list[object] = [name, join(*tracks)]
    return [
        *row, *([points(each.recovered, metric)] if swapped else []), *([points(each.shapley, metric)] if fair else []),
    ]


def _key(kind: str, label: str) -> Markup:
    return element("li", element("span", class_=f"key {kind}"), label)


