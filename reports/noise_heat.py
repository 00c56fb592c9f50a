"""The heat map: every level of every noise as a tile, coloured by what it costs, backend by backend."""

from __future__ import annotations

import math

from sysnoise_conform.matrix.cells import BACKEND
from sysnoise_conform.matrix.facts import CellFacts, Matrix
from sysnoise_conform.reports.markup import Markup, element, join
from sysnoise_conform.reports.noise_rows import (
    backends,
    interval,
    judged,
    points,
    probability,
    stands_out,
    unit,
    zero,
)
from sysnoise_conform.reports.noise_rows import status_words as words
from sysnoise_conform.reports.wording import shorten

SHADES = 6


def heat_map(found: Matrix) -> Markup:
    """One map for each backend, all in the same colours."""
    cells = judged(found)
    drops = [abs(each.figures.delta) for each in cells if each.figures is not None]
    known = sorted(each for each in drops if math.isfinite(each))
    # One cell that loses everything must not make all others pale: of a hundred, the five largest share a colour.
    most = max(known[math.ceil(0.95 * (len(known) - 1))] if known else 0.0, 2 * found.margin, 1e-9)
    maps = []
    names = backends(found)
    for backend in names:
        rows: dict[str, list[CellFacts]] = {}
        for each in cells:
            if each.backend == backend:
                rows.setdefault(each.axis, []).append(each)
        if len(names) > 1:
            maps.append(element("h3", shorten(backend, 60)))
        maps.append(element("div", *(_row(axis, row, most, found) for axis, row in rows.items()), class_="heat"))
    return join(*maps, _legend(most, found))


def _row(axis: str, cells: list[CellFacts], most: float, found: Matrix) -> Markup:
    name = "card" if axis == BACKEND else axis
    tiles = (_tile(each, most, found) for each in cells)
    return join(element("div", name, class_="axis"), element("div", *tiles, class_="tiles"))


def _tile(cell: CellFacts, most: float, found: Matrix) -> Markup:
    level = "the card’s own way" if cell.axis == BACKEND else cell.level
    figures = cell.figures
    if figures is None:
        kind = "noop" if cell.status == "noop" else "none"
        said = "no effect" if cell.status == "noop" else words(cell)
        return _drawn(f"tile {kind}", level, said, f"{cell.level}: {words(cell)}: {cell.reason}")
    about = (
        f"{cell.level}: {found.metric} {points(figures.value, found.metric)}, drop"
        f" {points(figures.delta, found.metric)} (90 %: "
        f"{interval(figures, found.metric)}), {figures.lost} lost, {figures.won} won, p {probability(figures.p_holm)},"
        f" {figures.verdict}"
    )
    marked = " out" if stands_out(cell) else ""
    kind = f"tile {shade(figures.delta, most, found.metric)} {figures.verdict}{marked}"
    return _drawn(kind, level, signed(figures.delta, found.metric), about)


def _drawn(kind: str, level: str, said: str, about: str) -> Markup:
    return element("div", element("small", shorten(level, 26)), element("strong", said), class_=kind, title=about)


def shade(delta: float, most: float, metric: str) -> str:
    """`d1` to `d6` for drops, `g1` to `g6` for gains, "" for none: by the root, so that small ones are seen beside
    large ones.
    """
    if not math.isfinite(delta) or zero(delta, metric):
        return ""
    step = min(SHADES, max(1, math.ceil(math.sqrt(min(abs(delta) / most, 1.0)) * SHADES)))
    return f"{'d' if delta > 0 else 'g'}{step}"


def signed(delta: float, metric: str) -> str:
    """A drop points down, a gain up, whatever their colour."""
    said = points(abs(delta), metric)
    if zero(delta, metric) or not math.isfinite(delta):
        return said
    return f"{'▼' if delta > 0 else '▲'} {said}"


def _legend(most: float, found: Matrix) -> Markup:
    ends = f"▼ lost, the darkest {points(most, found.metric)} {unit(found)} and more"
    scale = element("span", *(element("span", class_=f"shade d{each}") for each in range(1, SHADES + 1)))
    gains = element("span", *(element("span", class_=f"shade g{each}") for each in range(1, SHADES + 1)))
    return element(
        "ul", element("li", scale, ends), element("li", gains, "▲ gained"),
        element("li", element("span", class_="shade out"), "stands out: fails, or surely loses something"),
        element("li", element("span", class_="shade noop"), "no effect, not applicable or not available"),
        class_="legend",
    )  # fmt: skip
