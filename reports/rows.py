"""A report and its verdicts, joined: each variant with its verdict, each layer with what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.judge.verdict import Judgement, VariantVerdict
from sysnoise_conform.outcome import Measured, Result, TensorDiff
from sysnoise_conform.report import Report
from sysnoise_conform.report.graphs import graph_of


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRow:
    """One variant's facts beside the opinion on them."""

    result: Result
    verdict: VariantVerdict


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """One layer in graph order: what it is, and its difference or the reason why there is none."""

    number: int  # from 1, as the judge counts layers
    index: int  # as the report's header has it
    node: str
    op_type: str
    domain: str
    tensor: str
    dtype: str
    diff: TensorDiff | None
    why: str | None


def variant_rows(report: Report, judgement: Judgement) -> tuple[VariantRow, ...]:
    """Every result with its verdict, in the report's order. Raises ValueError when they are not of one run."""
    verdicts = {each.variant: each for each in judgement.variants}
    names = [each.variant for each in report.results]
    if sorted(verdicts) != sorted(names):
        raise ValueError(f"verdicts for {sorted(verdicts)} do not belong to the results of {sorted(names)}")
    return tuple(VariantRow(result=each, verdict=verdicts[each.variant]) for each in report.results)


def layer_rows(header: Mapping[str, Any], variant: str, measured: Measured) -> tuple[LayerRow, ...]:
    """Every layer of the graph that the variant ran, whether it showed it or not."""
    seen = {each.name: each for each in measured.layers}
    unsaid = "not recorded" if measured.layers or measured.unobservable else "layers were not asked for"
    hidden = {each.tensor: each.why for each in measured.unobservable}
    return _rows(graph_of(header, variant).get("layers", ()), seen, hidden, unsaid)


def design_rows(header: Mapping[str, Any], measured: Measured) -> tuple[LayerRow, ...]:
    """Every layer of the original model, with what the conversion costs there."""
    seen = {each.name: each for each in measured.design}
    return _rows(header.get("layers", ()), seen, {}, "the converted graph has no such tensor")


def _rows(
    layers: Iterable[Mapping[str, Any]], seen: Mapping[str, TensorDiff], hidden: Mapping[str, str], unsaid: str
) -> tuple[LayerRow, ...]:
    rows = []
    for number, layer in enumerate(layers, start=1):
        tensor = str(layer["tensor"])
        diff = seen.get(tensor)
        rows.append(
            LayerRow(
                number=number,
                index=int(layer["index"]),
                node=str(layer.get("node", "")),
                op_type=str(layer.get("op_type", "")),
                domain=str(layer.get("domain", "")),
                tensor=tensor,
                dtype=str(layer.get("dtype", "")),
                diff=diff,
                why=None if diff is not None else hidden.get(tensor, unsaid),
            )
        )
    return tuple(rows)
