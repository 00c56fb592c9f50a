"""A matrix as JSON, `noise.json`: the schema is `schema/noise.json`.

Figures are points, 0..100, but for the few that are no share of anything (`noise_rows.UNITS`); drops are positive.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sysnoise_conform.matrix.facts import AxisFacts, CellFacts, Flip, Matrix, Share, Step
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.reports.noise_rows import UNITS, unit

SCHEMA = "conform.noise/1"


def render(found: Matrix) -> str:
    """The whole file."""
    return json.dumps(as_json(found), indent=2, allow_nan=False) + "\n"


def as_json(found: Matrix) -> dict[str, Any]:
    """The table of the file."""
    whole = overall(found)
    return {
        "schema": SCHEMA,
        "verdict": whole.word,
        "exit_code": whole.exit_code,
        "exit_codes": list(whole.exit_codes),
        "model": found.model,
        "task": found.task,
        "metric": found.metric,
        "data": found.layout,
        "samples": found.pictures,
        "unit": unit(found),
        "noun": found.noun,
        "margin": _scaled(found.margin, found.metric),
        "seed": found.seed,
        "baseline": {"backend": found.baseline_backend, **_figures(found.baseline)},
        "cells": [_cell(each, found.metric) for each in found.cells],
        "axes": [_axis(each, found.metric) for each in found.axes],
        "combined": [_step(each, found.metric) for each in found.steps],
        "shares": [_share(each, found.metric) for each in found.shares],
        "flips": [_flip(each) for each in found.flips],
        "plan": {
            "decodes": found.plan.decodes, "resizes": found.plan.resizes, "inferences": found.plan.inferences,
            "naive_decodes": found.plan.naive_decodes, "naive_resizes": found.plan.naive_resizes,
            "naive_inferences": found.plan.naive_inferences,
        },
        "problems": [{"name": each.name, "why": each.why} for each in found.problems],
        "runtimes": dict(found.runtimes),
        "environment": dict(found.environment),
        "seconds": round(found.seconds, 3),
        "resumed": found.resumed,
    }  # fmt: skip


def _cell(each: CellFacts, metric: str) -> dict[str, Any]:
    head = {"axis": each.axis, "level": each.level, "backend": each.backend, "status": each.status}
    figures = each.figures
    if figures is None:
        return {**head, "value": None, "delta": None, "ci": None, "flips_lost": None, "flips_won": None, "p": None,
                "verdict": None, "reason": each.reason}  # fmt: skip
    return {
        **head,
        "value": _scaled(figures.value, metric),
        "delta": _scaled(figures.delta, metric),
        "ci": [_scaled(each, metric) for each in figures.interval],
        "flips_lost": figures.lost,
        "flips_won": figures.won,
        "changed": figures.changed,
        "p": _finite(figures.p),
        "p_holm": _finite(figures.p_holm),
        "verdict": figures.verdict,
        "samples": figures.pictures,
        "images_to_decide": figures.images_to_decide,
        "others": _figures(figures.others),
        "reason": each.reason,
    }


def _figures(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _scaled(value, name) for name, value in values.items()}


def _axis(each: AxisFacts, metric: str) -> dict[str, Any]:
    return {
        "axis": each.axis, "backend": each.backend, "mean_delta": _scaled(each.mean_delta, metric),
        "max_delta": _scaled(each.max_delta, metric), "worst": each.worst,
        "deltas": {name: _scaled(value, metric) for name, value in each.deltas.items()},
    }  # fmt: skip


def _step(each: Step, metric: str) -> dict[str, Any]:
    return {
        "order": each.order, "backend": each.backend, "added": each.added, "level": each.level,
        "value": _scaled(each.value, metric), "delta": _scaled(each.delta, metric),
        "ci": [_scaled(v, metric) for v in each.interval],
    }  # fmt: skip


def _share(each: Share, metric: str) -> dict[str, Any]:
    return {
        "backend": each.backend, "axis": each.axis, "level": each.level, "recovered": _scaled(each.recovered, metric),
        "shapley": _scaled(each.shapley, metric),
    }  # fmt: skip


def _flip(each: Flip) -> dict[str, Any]:
    return {
        "picture": each.picture, "axis": each.axis, "level": each.level, "backend": each.backend,
        "before": each.before, "after": each.after, "right_before": each.right_before, "right_after": each.right_after,
    }  # fmt: skip


def _scaled(value: float | None, metric: str) -> float | None:
    """A share as points, a figure of another unit as it is; None where there is no number."""
    return None if value is None else _number(value if metric in UNITS else value * 100)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _number(value: float) -> float | None:
    """To six digits behind the point."""
    return round(value, 6) if math.isfinite(value) else None
