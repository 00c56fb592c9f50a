"""A report and its verdicts, joined: each variant with its verdict, each layer with what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.judge.verdict import Judgement, VariantVerdict
from sysnoise_conform.outcome import Measured, Result, TensorDiff
from sysnoise_conform.report import Report


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


def layer_rows(header: Mapping[str, Any], measured: Measured) -> tuple[LayerRow, ...]:
    """Every layer of the model, whether the variant showed it or not."""
    seen = {each.name: each for each in measured.layers}
    unsaid = "not recorded" if measured.layers or measured.unobservable else "layers were not asked for"
    hidden = {each.tensor: each.why for each in measured.unobservable}
    rows = []
    for number, layer in enumerate(header.get("layers", ()), start=1):
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
