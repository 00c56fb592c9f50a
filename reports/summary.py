"""`summary.json`: the verdict and its numbers for programs, stable, described by `schema/summary.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sysnoise_conform.compare.ulp import p99
from sysnoise_conform.judge.departure import floor_units, in_units
from sysnoise_conform.judge.verdict import Finding, Judgement
from sysnoise_conform.outcome import Measured, Reading, RuntimeFacts, TaskFigure, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.report.graphs import conversion_of
from sysnoise_conform.reports import spread
from sysnoise_conform.reports.rows import VariantRow, layer_rows, variant_rows
from sysnoise_conform.reports.wording import golden_from_store, observer_ratio, reason, runtime_of, status

SCHEMA = "conform.summary/1"


def summary(report: Report, judgement: Judgement) -> dict[str, Any]:
    """The run as one JSON object. A number that is not finite is null, beside `exact` or `nan_mismatch`."""
    header, rows = report.header, variant_rows(report, judgement)
    return {
        "schema": SCHEMA,
        "verdict": judgement.verdict.name,
        "exit_code": judgement.exit_code,
        "exit_codes": list(judgement.exit_codes),
        "sentence": judgement.sentence,
        "command": header.get("command"),
        "model": _chosen(header.get("model"), "path", "sha256", "opset", "nodes"),
        "deployed": _chosen(header["deployed"], "path", "sha256", "format") if header.get("deployed") else None,
        "golden": _golden(header.get("golden")),
        "inputs": _chosen(header.get("inputs"), "kind", "samples", "sha256"),
        "presets": [spread.as_json(each) for each in spread.spreads(header, rows)],
        "variants": [_variant(header, row) for row in rows],
    }


def render(report: Report, judgement: Judgement) -> str:
    """`summary` as JSON text: strict (no NaN), ASCII only, so that no name can steer a terminal."""
    text = json.dumps(summary(report, judgement), indent=2, allow_nan=False, ensure_ascii=True)
    return text.replace("\x7f", "\\u007f") + "\n"


def _chosen(part: Any, *keys: str) -> dict[str, Any]:
    known = part if isinstance(part, Mapping) else {}
    return {key: known.get(key) for key in keys}


def _golden(part: Any) -> dict[str, Any]:
    known = part if isinstance(part, Mapping) else {}
    notes = [one_line(each, 300) for each in known.get("notes") or ()]
    return {**_chosen(known, "torch", "cached", "source"), "cached": golden_from_store(known), "notes": notes}


def _variant(header: Mapping[str, Any], row: VariantRow) -> dict[str, Any]:
    outcome, verdict = row.result.outcome, row.verdict
    facts = runtime_of(outcome)
    measured = outcome if isinstance(outcome, Measured) else None
    return {
        "variant": row.result.variant,
        "status": status(outcome),
        "verdict": verdict.verdict.name,
        "exit_code": verdict.exit_code,
        "sentence": verdict.sentence,
        "owners": list(verdict.owners),
        "findings": [_finding(each) for each in verdict.findings],
        "runtime": None if facts is None else _runtime(facts),
        "conversion": conversion(conversion_of(header, row.result.variant), row.result.variant),
        "outputs": [_output(each, measured) for each in measured.outputs] if measured else [],
        "missing_outputs": [{"tensor": each.tensor, "why": each.why} for each in measured.missing_outputs]
        if measured
        else [],
        "layers": _layers(header, measured, row) if measured else None,
        "observer_effect": _finite(observer_ratio(measured.observer_effect)) if measured else None,
        "nondeterministic": list(measured.nondeterministic) if measured else [],
        "tasks": [_task(each) for each in measured.tasks] if measured else [],
        "seconds": _seconds(measured) if measured else None,
        "peak_rss_mb": _finite(measured.peak_rss_mb) if measured else None,
        "reason": reason(outcome),
        "notes": list(measured.notes) if measured else [],
        **({"probe": list(measured.probe)} if measured and measured.probe else {}),
    }


def _runtime(facts: RuntimeFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "version": facts.version,
        "device": facts.device,
        "effective_precision": facts.effective_precision,
        "asked_precision": facts.asked_precision,
        "shares": {name: dict(each) for name, each in facts.shares.items()},
        "options": {str(name): _plain(value) for name, value in facts.options.items()},
    }


def conversion(made: Mapping[str, Any] | None, variant: str) -> dict[str, Any] | None:
    """By what a converted graph came about; None for the model as it is."""
    if made is None:
        return None
    record = made.get("record") or {}
    return {
        **{name: _plain(value) for name, value in (record.get("recipe") or {}).items() if name != "keep_fp32"},
        "keep_fp32": list((record.get("recipe") or {}).get("keep_fp32") or ()),
        "sha256": made.get("sha256"),
        "nodes": made.get("nodes"),
        "opset": made.get("opset"),
        "converted": record.get("converted"),
        "calibration": made.get("calibration"),
        "command": dict(zip(made.get("variants") or (), made.get("commands") or (), strict=False)).get(variant),
    }


def _output(diff: TensorDiff, measured: Measured) -> dict[str, Any]:
    design, total = (
        next((each for each in group if each.name == diff.name), None) for group in (measured.design, measured.total)
    )
    return {
        "name": diff.name,
        "dtype": diff.dtype,
        "shape": list(diff.shape),
        "dtype_got": diff.dtype_got,
        "shape_got": None if diff.shape_got is None else list(diff.shape_got),
        "exact": diff.exact,
        **numbers(diff),
        "design": None if design is None else _apart(design),
        "implementation": {**_apart(diff), "floor_ratio": _ratio(diff, converted=design is not None)},
        "total": None if total is None else _apart(total),
        "nan_mismatch": diff.nan_mismatch,
        "worst": _worst(diff),
        "readings": [_reading(each) for each in diff.readings],
    }


def _ratio(diff: TensorDiff, *, converted: bool) -> float | None:
    """The error in units of the noise floor; of a converted graph in the unit that it is judged in there.

    PyTorch's two runs of a graph in float16 may agree bit for bit, and what they give needs no rounding to float32:
    its floor is nothing, or as good as nothing, and what correct arithmetic may be off is the unit.
    """
    if converted and diff.finite:
        return _finite(in_units(diff))
    return numbers(diff)["floor_ratio"]


def _apart(diff: TensorDiff) -> dict[str, float | None]:
    """One part of a difference, relative to its golden."""
    known = numbers(diff)
    return {name: known[name] for name in ("rel_l2", "sqnr_db")}


def numbers(diff: TensorDiff) -> dict[str, float | None]:
    """Every metric of a tensor by its name in our files; None where it has no finite value."""
    known = diff.comparable and diff.finite > 0
    metrics = {
        "max_abs": diff.max_abs,
        "rmse": diff.rmse,
        "rel_l2": diff.rel_l2,
        "sqnr_db": diff.sqnr_db,
        "cosine": diff.cosine,
        "floor_ratio": diff.floor_ratio,
        "floor_units": floor_units(diff),
        "max_floor_ratio": diff.max_floor_ratio,
        "z": diff.z,
        "p99_ulp": p99(diff),
    }
    return {name: _finite(value) if known else None for name, value in metrics.items()}


def _layers(header: Mapping[str, Any], measured: Measured, row: VariantRow) -> dict[str, Any]:
    layers = layer_rows(header, row.result.variant, measured)
    model = header.get("model")
    return {
        "total": len(layers),
        "observable": sum(each.diff is not None for each in layers),
        "unobservable": [{"tensor": each.tensor, "why": each.why} for each in layers if each.diff is None],
        "inside_bodies": int(model.get("inner_tensors") or 0) if isinstance(model, Mapping) else 0,
        "first_departure": row.verdict.first_departure,
        "worst": row.verdict.worst,
    }


def _worst(diff: TensorDiff) -> dict[str, Any] | None:
    if diff.worst is None:
        return None
    return {
        "sample": diff.worst.sample,
        "index": list(diff.worst.index),
        "golden": _finite(diff.worst.golden),
        "got": _finite(diff.worst.got),
    }


def _reading(found: Reading) -> dict[str, Any]:
    return {"kind": found.kind, "residual": _finite(found.residual), "value": found.value}


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "tensor": found.tensor,
        "node": found.node,
        "op_type": found.op_type,
        "floor_units": _finite(found.number),
        "owner": found.owner,
        "reading": found.reading,
        "sentence": found.sentence,
    }


def _task(figure: TaskFigure) -> dict[str, Any]:
    return {"name": figure.name, "value": _finite(figure.value), "of": _finite(figure.of), "about": figure.about}


def _seconds(measured: Measured) -> dict[str, float | None]:
    taken = measured.seconds
    return {"compile": _finite(taken.compile), "run": _finite(taken.run), "total": _finite(taken.total)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """An option's value as JSON: what JSON has no word for is told as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return _finite(value) if isinstance(value, float) else str(value)
