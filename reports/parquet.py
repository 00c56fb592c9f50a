"""`layers.parquet`: one row per variant and tensor, for whoever wants to ask their own questions."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.report import Report
from sysnoise_conform.report.folder import atomic_write
from sysnoise_conform.reports.rows import layer_rows
from sysnoise_conform.reports.summary import numbers

if TYPE_CHECKING:
    import polars as pl

_TEXT, _COUNT, _NUMBER, _FLAG, _INDEX = "text", "count", "number", "flag", "index"
COLUMNS = {
    "variant": _TEXT,
    "role": _TEXT,  # output: untouched graph; layer: tapped graph; observer: tapped against untouched;
    # design: a converted graph's golden against the original's; total: its outputs against the original's golden
    "index": _COUNT,  # in graph order; null for outputs
    "node": _TEXT,
    "op_type": _TEXT,
    "tensor": _TEXT,
    "dtype": _TEXT,
    "observable": _FLAG,
    "why": _TEXT,  # not observable
    "shape": _INDEX,
    "shape_got": _INDEX,
    "dtype_got": _TEXT,
    "samples": _COUNT,
    "n": _COUNT,
    "exact": _FLAG,
    "mismatches": _COUNT,
    "nan_golden": _COUNT,
    "nan_got": _COUNT,
    "nan_mismatch": _COUNT,
    "max_abs": _NUMBER,
    "rmse": _NUMBER,
    "rel_l2": _NUMBER,
    "sqnr_db": _NUMBER,
    "cosine": _NUMBER,
    "floor_ratio": _NUMBER,
    "floor_units": _NUMBER,
    "max_floor_ratio": _NUMBER,
    "z": _NUMBER,
    "p99_ulp": _NUMBER,
    "floor_rms": _NUMBER,
    "worst_sample": _COUNT,
    "worst_index": _INDEX,
    "worst_golden": _NUMBER,
    "worst_got": _NUMBER,
    "reading": _TEXT,
}


def frame(report: Report) -> pl.DataFrame:
    """The table; a variant that was not measured has no row, a layer that was not observable has one."""
    import polars as pl

    types = {
        _TEXT: pl.String(),
        _COUNT: pl.Int64(),
        _NUMBER: pl.Float64(),
        _FLAG: pl.Boolean(),
        _INDEX: pl.List(pl.Int64()),
    }
    rows = [{name: _storable(value) for name, value in row.items()} for row in _rows(report)]
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in COLUMNS},
        schema={name: types[kind] for name, kind in COLUMNS.items()},
    )


def write(report: Report, path: Path) -> None:
    """Write the table to `path`, whole or not at all. Raises StorageError."""
    stream = io.BytesIO()
    frame(report).write_parquet(stream, compression="zstd", statistics=True)
    atomic_write(path, stream.getvalue())


def _storable(value: Any) -> Any:
    """Text as UTF-8, which has no lone surrogates; a number that is not finite as null."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for result in report.results:
        if not isinstance(result.outcome, Measured):
            continue
        measured = result.outcome
        layers = layer_rows(report.header, result.variant, measured)
        makers = {each.tensor: {"node": each.node, "op_type": each.op_type} for each in layers}
        for role, diffs in (("output", measured.outputs), ("observer", measured.observer_effect)):
            for diff in diffs:
                yield {"variant": result.variant, "role": role, **makers.get(diff.name, {}), **_facts(diff)}
        told = ("index", "node", "op_type")
        nodes = {str(each["tensor"]): {key: each[key] for key in told} for each in report.header.get("layers", ())}
        for role, diffs in (("design", measured.design), ("total", measured.total)):
            for diff in diffs:
                yield {"variant": result.variant, "role": role, **nodes.get(diff.name, {}), **_facts(diff)}
        for each in measured.missing_outputs:
            lost = {"tensor": each.tensor, "observable": False, "why": each.why}
            yield {"variant": result.variant, "role": "output", **lost}
        for layer in layers:
            row = {"variant": result.variant, "role": "layer", "index": layer.index, **makers[layer.tensor]}
            if layer.diff is None:
                yield {**row, "tensor": layer.tensor, "dtype": layer.dtype, "observable": False, "why": layer.why}
            else:
                yield {**row, **_facts(layer.diff)}


def _facts(diff: TensorDiff) -> dict[str, Any]:
    worst = diff.worst
    return {
        "tensor": diff.name,
        "dtype": diff.dtype,
        "observable": True,
        "shape": list(diff.shape),
        "shape_got": None if diff.shape_got is None else list(diff.shape_got),
        "dtype_got": diff.dtype_got,
        "samples": diff.samples,
        "n": diff.n,
        "exact": diff.exact,
        "mismatches": diff.mismatches,
        "nan_golden": diff.nan_golden,
        "nan_got": diff.nan_got,
        "nan_mismatch": diff.nan_mismatch,
        **numbers(diff),
        "floor_rms": diff.floor_rms,
        "worst_sample": None if worst is None else worst.sample,
        "worst_index": None if worst is None else list(worst.index),
        "worst_golden": None if worst is None else worst.golden,
        "worst_got": None if worst is None else worst.got,
        "reading": diff.readings[0].kind if diff.readings else None,
    }
