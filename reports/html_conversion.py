"""What a conversion costs, on the page of a run: outputs in two parts, layers by their SQNR, and the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sysnoise_conform.outcome import Measured
from sysnoise_conform.reports.chart import Trace, chart
from sysnoise_conform.reports.conversion_rows import command_of, facts_of, in_units, parts, relative, sqnr
from sysnoise_conform.reports.html_parts import facts_list, key, layer_name, relative_error
from sysnoise_conform.reports.markup import Markup, element, table
from sysnoise_conform.reports.rows import design_rows
from sysnoise_conform.reports.wording import shorten

WORST = 15


def apart(measured: Measured) -> Iterator[Markup]:
    """Each output's difference in its two parts."""
    known = parts(measured)
    if not known:
        return
    yield element("h3", "Design and implementation")
    yield element(
        "p",
        "Design is PyTorch on the converted graph against PyTorch on the original; implementation is the runtime "
        "against PyTorch on the same converted graph.",
    )
    rows: list[list[object]] = [
        [
            element("code", shorten(each.name, 120)),
            relative(each.design),
            sqnr(each.design),
            relative(each.implementation),
            in_units(each.implementation),
            relative(each.total),
        ]
        for each in known
    ]
    headings = ["output", "design, rel. L2", "SQNR dB", "implementation, rel. L2", "unit ×", "total, rel. L2"]
    yield table(headings, rows, numeric=frozenset(range(1, 6)))


def along_the_original(header: Mapping[str, Any], variant: str, measured: Measured, budget: int) -> Iterator[Markup]:
    """The design error at every tensor of the original that the converted graph still has."""
    layers = design_rows(header, measured)
    seen = [each for each in layers if each.diff is not None]
    if not seen:
        return
    trace = Trace(
        label=variant, values=[None if each.diff is None else relative_error(each.diff) for each in layers]
    )
    drawing = chart(
        [trace],
        [None] * len(layers),
        about=f"what the conversion costs at {len(layers)} layers of the original in graph order, on a log axis",
        title=lambda at: layer_name(layers[at]),
        columns=budget,
    )
    yield element(
        "figure",
        element("figcaption", "Design along the original graph"),
        drawing,
        element("ul", key("line c0", "relative L2 error, PyTorch against PyTorch"), class_="legend"),
    )
    ranked = sorted(seen, key=lambda each: -(each.diff.rel_l2 or 0.0) if each.diff is not None else 0.0)[:WORST]
    rows: list[list[object]] = [
        [each.number, element("code", shorten(each.tensor, 100)), shorten(each.op_type, 40), relative(each.diff),
         sqnr(each.diff)]
        for each in ranked
    ]  # fmt: skip
    headings = ["#", "tensor", "op", "design, rel. L2", "SQNR dB"]
    yield element(
        "details",
        element("summary", "Layers that lose most, of what arrives at them and of their own"),
        table(headings, rows, numeric=frozenset({0, 3, 4})),
    )


def recipe(made: Mapping[str, Any], variant: str) -> Iterator[Markup]:
    """How the graph came about, and the command that brings it about again."""
    yield element("h3", "The converted graph")
    yield facts_list(list(facts_of(made)))
    command = command_of(made, variant)
    if command:
        yield element("pre", command)
