"""On the page of a diagnosis: what the conversion costs, layer by layer, and what float32 wins back."""

from __future__ import annotations

from sysnoise_conform.diagnose.design import DesignFindings
from sysnoise_conform.reports.diagnosis_design import (
    LAYER_HEADINGS,
    WON_HEADINGS,
    keep_line,
    layer_cells,
    outputs_in_words,
    together_in_words,
    won_cells,
)
from sysnoise_conform.reports.markup import Markup, element, table, text


def design_section(found: DesignFindings | None) -> Markup:
    """The section; nothing for a model that ran as it is."""
    if found is None:
        return Markup("")
    parts = [element("header", element("h2", "What the conversion costs"))]
    parts += [element("p", said) for _, said in outputs_in_words(found)]
    if found.layers:
        rows: list[list[object]] = [list(layer_cells(each, 100)) for each in found.layers]
        parts.append(table(list(LAYER_HEADINGS), rows, numeric=frozenset({2, 3, 4})))
    if found.won_back:
        won: list[list[object]] = [list(won_cells(each, 100)) for each in found.won_back]
        parts.append(table(list(WON_HEADINGS), won, numeric=frozenset({2, 3})))
    line = keep_line(found)
    if line is not None:
        parts += [element("p", f"{together_in_words(found)}, with"), element("pre", text(line, 20_000))]
    return element("section", *parts)
