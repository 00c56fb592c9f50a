"""Error along the graph, drawn as SVG: graph order to the right, relative error upwards on a log axis.

The drawing stretches with the page (no fixed aspect ratio), so that words stand beside it in HTML, and
round marks are strokes of length zero, which keep their shape.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sysnoise_conform.reports.markup import Markup, element, join

WIDTH, HEIGHT = 1000.0, 260.0
_SHELF = 32.0  # room below the axis for exact layers, above it for those that are not finite
_LOWEST, _HIGHEST = -20, 12  # decades beyond these are drawn at the edge
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One line: a relative error per layer. 0 is exact, NaN or Inf is not finite, None was not observable."""

    label: str
    values: Values
    colour: int = 0
    departures: frozenset[int] = frozenset()
    first: int | None = None  # the departure that a reader should look at before all others
    blamed: frozenset[int] = frozenset()  # marked like `first`, and each a finding of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axes:
    count: int
    lowest: int
    highest: int
    exact: bool
    broken: bool

    def x(self, at: float) -> float:
        return (at + 0.5) * WIDTH / max(self.count, 1)

    def y(self, value: float) -> float:
        if not math.isfinite(value):
            return _SHELF / 2
        if value == 0:
            return HEIGHT - _SHELF / 2
        decade = min(max(math.log10(value), self.lowest), self.highest)
        return self.top + (self.highest - decade) / (self.highest - self.lowest) * (self.bottom - self.top)

    @property
    def top(self) -> float:
        return _SHELF if self.broken else 0.0

    @property
    def bottom(self) -> float:
        return HEIGHT - (_SHELF if self.exact else 0.0)


def chart(traces: Sequence[Trace], floor: Values, *, about: str, title: Callable[[int], str], columns: int) -> Markup:
    """The drawing with its axes. `title(index)` tells of one layer; at most `columns` places can be pointed at."""
    axes = _fit([*traces, Trace(label="", values=floor)])
    shapes = join(
        _grid(axes),
        _floor(axes, floor),
        *(_departures(axes, each) for each in traces),
        *(_line(axes, each) for each in traces),
        *(_marks(axes, each) for each in traces),
        _pointers(axes, traces, title, columns),
    )
    svg = element(
        "svg", shapes, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", preserveAspectRatio="none", role="img", aria_label=about
    )
    return element("div", _scale(axes), svg, _order(axes), class_="plot")


def _fit(traces: Sequence[Trace]) -> _Axes:
    known = [value for each in traces for value in each.values if value is not None]
    sizes = [math.log10(value) for value in known if math.isfinite(value) and value > 0]
    lowest = max(math.floor(min(sizes, default=-8)), _LOWEST)
    highest = min(math.ceil(max(sizes, default=-5)), _HIGHEST)
    lowest = min(lowest, _HIGHEST - 3)
    return _Axes(
        count=max(len(each.values) for each in traces),
        lowest=lowest,
        highest=max(highest, lowest + 3),
        exact=any(value == 0 for value in known),
        broken=any(not math.isfinite(value) for value in known),
    )


def _decades(axes: _Axes) -> Iterable[int]:
    step = max(1, math.ceil((axes.highest - axes.lowest) / 9))
    return range(axes.lowest, axes.highest + 1, step)


def _grid(axes: _Axes) -> Markup:
    path = "".join(f"M0 {_short(axes.y(10.0**decade))}H{WIDTH:g}" for decade in _decades(axes))
    return Markup(f'<path class="grid" d="{path}"/>')


def _scale(axes: _Axes) -> Markup:
    words = [(axes.y(10.0**decade), "10" + str(decade).translate(_SUPERSCRIPT)) for decade in _decades(axes)]
    words += [(axes.y(0.0), "exact")] * axes.exact + [(axes.y(math.nan), "NaN, Inf")] * axes.broken
    return element(
        "div", *(element("span", word, style=f"top:{100 * y / HEIGHT:.2f}%") for y, word in words), class_="scale"
    )


def _order(axes: _Axes) -> Markup:
    last = max(axes.count - 1, 0)
    places = sorted({round(last * share / 4) for share in range(5)}) if last >= 8 else list(range(axes.count))
    spans = (element("span", place + 1, style=f"left:{axes.x(place) / WIDTH * 100:.2f}%") for place in places)
    return element("div", *spans, class_="order")


def _floor(axes: _Axes, floor: Values) -> Markup:
    """The floor is the golden's own, so it goes on where the target shows nothing."""
    runs = _runs(axes, [(x, value) for x, value in _thinned(axes, floor) if value])
    base = _short(axes.bottom)
    areas = "".join(f"M{_short(run[0][0])} {base}L{_points(run)}L{_short(run[-1][0])} {base}Z" for run in runs)
    edges = "".join(f"M{_points(run)}" for run in runs)
    return Markup(f'<path class="floor" d="{areas}"/><path class="edge" d="{edges}"/>')


def _line(axes: _Axes, trace: Trace) -> Markup:
    """The line breaks where a layer was not observable or has no place on a log axis."""
    thin = _thinned(axes, trace.values)
    runs = _runs(axes, [(x, value if value and math.isfinite(value) else None) for x, value in thin])
    path = "".join(f"M{_points(run)}" for run in runs if len(run) > 1)
    dots = [run[0] for run in runs if len(run) == 1]
    dots += [(x, axes.y(value)) for x, value in thin if value == 0]
    colour = f"c{trace.colour % 8}" + (f" dash{trace.colour // 8 % 3}" if trace.colour >= 8 else "")
    return Markup(f'<path class="line {colour}" d="{path}"/><path class="dot {colour}" d="{_round(dots)}"/>')


def _departures(axes: _Axes, trace: Trace) -> Markup:
    """A line through the first departure, and through what is blamed; the others mostly carry an error on."""
    path = "".join(f"M{_short(axes.x(at))} 0V{HEIGHT:g}" for at in sorted(_foremost(trace)))
    return Markup(f'<path class="departs" d="{path}"/>' if path else "")


def _marks(axes: _Axes, trace: Trace) -> Markup:
    """Departures and layers with NaN or Inf: what a reader looks for."""
    foremost = _foremost(trace)
    places = {
        at: (axes.x(at), axes.y(value))
        for at, value in enumerate(trace.values)
        if value is not None and (at in trace.departures or at in foremost or not math.isfinite(value))
    }
    first = _round(place for at, place in places.items() if at in foremost)
    rest = _round(place for at, place in places.items() if at not in foremost)
    return Markup(
        (f'<path class="also" d="{rest}"/>' if rest else "")
        + (f'<path class="halo" d="{first}"/><path class="mark" d="{first}"/>' if first else "")
    )


def _foremost(trace: Trace) -> frozenset[int]:
    return trace.blamed if trace.first is None else trace.blamed | {trace.first}


def _pointers(axes: _Axes, traces: Sequence[Trace], title: Callable[[int], str], columns: int) -> Markup:
    """Invisible columns that tell of the layer under the pointer; of many layers in one, the worst."""
    step = math.ceil(axes.count / columns) if axes.count else 1
    parts = []
    for start in range(0, axes.count, step):
        group = range(start, min(start + step, axes.count))
        at = max(group, key=lambda index: max(_rank(each.values, index) for each in traces))
        left, right = start * WIDTH / axes.count, group.stop * WIDTH / axes.count
        parts.append(
            f'<rect x="{_short(left)}" y="0" width="{_short(right - left)}" height="{HEIGHT:g}">'
            f"<title>{html.escape(title(at))}</title></rect>"
        )
    return Markup(f'<g class="pointers">{"".join(parts)}</g>')


def _rank(values: Values, index: int) -> float:
    value = values[index] if index < len(values) else None
    return -1.0 if value is None else value if math.isfinite(value) else math.inf


def _thinned(axes: _Axes, values: Values) -> list[tuple[float, float | None]]:
    """Places along the graph and their values, at most one per pixel or so: of neighbours the largest."""
    step = max(1, math.ceil(axes.count / 1200))
    thin: list[tuple[float, float | None]] = []
    for start in range(0, len(values), step):
        known = [each for each in values[start : start + step] if each is not None]
        thin.append(
            (axes.x(start), max(known, key=lambda each: each if math.isfinite(each) else math.inf, default=None))
        )
    return thin


def _runs(axes: _Axes, places: Iterable[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The stretches without a gap, in the drawing's coordinates."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, value in places:
        if value is not None:
            runs[-1].append((x, axes.y(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _points(run: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)} {_short(y)}" for x, y in run)


def _round(places: Iterable[tuple[float, float]]) -> str:
    return "".join(f"M{_short(x)} {_short(y)}h0" for x, y in places)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
