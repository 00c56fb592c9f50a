"""What sections of the HTML report share: chips, lists of facts, legends, a tensor on the chart's axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sysnoise_conform.judge.departure import floor_of
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.reports.markup import Markup, element, join
from sysnoise_conform.reports.rows import LayerRow
from sysnoise_conform.reports.wording import shorten, trouble


def chip(word: str) -> Markup:
    """A verdict, small."""
    return element("span", word, class_=f"chip {word}")


def facts_list(pairs: Sequence[tuple[str, object]]) -> Markup:
    """Label and fact, row by row."""
    return element("dl", *(join(element("dt", label), element("dd", fact)) for label, fact in pairs), class_="facts")


def relative_floor(diff: TensorDiff) -> float | None:
    """The noise floor on the chart's axis: one floor unit / rms(golden)."""
    if not diff.finite or diff.sum_sq_golden <= 0:
        return None
    return floor_of(diff) / math.sqrt(diff.sum_sq_golden / diff.finite)


def relative_error(diff: TensorDiff) -> float | None:
    """The error on the chart's axis: 0 when exact, NaN when it has no finite value, None without a scale."""
    if trouble(diff):
        return math.nan
    return 0.0 if diff.exact else diff.rel_l2


def key(kind: str, label: str) -> Markup:
    """One entry of a legend, with a sample of its stroke."""
    shape = "M11 5h0" if kind == "mark" else "M0 5H22"
    sample = element("svg", element("path", class_=kind, d=shape), viewBox="0 0 22 10", aria_hidden="true")
    return element("li", sample, label)


def layer_name(layer: LayerRow) -> str:
    """A layer by its number in graph order, its operator and its tensor."""
    return f"layer {layer.number}  {shorten(layer.op_type, 40)}  {shorten(layer.tensor, 90)}"
