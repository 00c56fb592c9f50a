"""Overlays for Model Explorer: the introduced and the cumulative error as "node data" on the graph that it shows.

What the viewer reads, by its sources (google-ai-edge/model-explorer, Apache-2.0: node_data_builder.py and, in
src/ui/src/components/visualizer, node_data_provider_extension_service.ts):

- A file is `{"results": {key: {"value", "bgColor"?, "textColor"?}}, "thresholds": [{"value", "bgColor"}], ...}`, for
  the graph that is open, or several of these by graph id. Without ids it fits whatever the graph is called.
- A threshold is an upper bound: a number gets the colour of the first one that it does not exceed, else none. A
  gradient would go before it, but is linear between the smallest and the largest value, and errors span decades.
- A colour of the result's own goes before both. A value may be a text.
- A key is a node's id, or a tensor's name where the graph's adapter declares `tensor_name` for its outputs.

For ONNX files the adapter (justinchuby/model-explorer-onnx, main.py) makes a node's id of the ONNX node's name; it
declares no `tensor_name`, and draws a graph output as a node of its own, `[value] <name>`. A node without a name gets
one by its place among those (`node`, `node_1`, ...), which is not ours to guess: it is left to its tensor's name.

Looked at in ai-edge-model-explorer 0.1.34 with model-explorer-onnx 0.4.2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.reports.diagnosis_rows import diagnosed_layers, relative_error

# Colours by decade of the relative error: float32's rounding green, bfloat16's and worse red.
_DECADES = (
    (1e-7, "#d9efe2"), (1e-6, "#b7e0c8"), (1e-5, "#f3edc4"), (1e-4, "#f7d999"), (1e-3, "#f4b183"), (1e-2, "#ec8570"),
    (1e30, "#d9534f"),
)  # fmt: skip
_CULPRIT = {"bgColor": "#a3140a", "textColor": "#ffffff"}
_BROKEN = {"bgColor": "#6a1b9a", "textColor": "#ffffff"}

Values = Iterable[tuple[str, TensorDiff | None]]


def introduced(diagnosis: Diagnosis) -> str:
    """Each operator's own relative error, culprits in a colour of their own."""
    rows = diagnosed_layers(diagnosis)
    culprits = {_key(each.layer.node, each.layer.output) for each in rows if each.culprit is not None}
    values = ((_key(each.layer.node, each.layer.output), each.introduced) for each in rows)
    return _overlay("introduced error (relative L2)", values, culprits)


def cumulative(diagnosis: Diagnosis) -> str:
    """The relative error against PyTorch at each operator, and at the outputs of the untouched graph."""
    layers = [(_key(each.node, each.output), each.cumulative) for each in diagnosis.layers]
    outputs = [(f"[value] {each.name}", each) for each in diagnosis.outputs]
    return _overlay("cumulative error (relative L2)", [*layers, *outputs], frozenset())


def _key(node: str, output: str) -> str:
    return node or output


def _overlay(name: str, values: Values, culprits: Iterable[str]) -> str:
    worst: dict[str, float] = {}
    for key, diff in values:
        value = relative_error(diff)
        if value is not None:  # of a node's several outputs the worst stands for it
            worst[key] = max(worst.get(key, 0.0), value if math.isfinite(value) else math.inf)
    results: dict[str, dict[str, Any]] = {
        key: {"value": _short(value)} if math.isfinite(value) else {"value": "NaN, Inf or another shape", **_BROKEN}
        for key, value in worst.items()
    }
    for key in culprits:
        results.setdefault(key, {"value": "no scale"}).update(_CULPRIT)
    # By a key of this name the viewer tells a file by graph ids: one node less is better than no overlay.
    results.pop("results", None)
    overlay = {
        "name": name,
        "results": results,
        "thresholds": [{"value": value, "bgColor": colour} for value, colour in _DECADES],
    }
    text = json.dumps(overlay, indent=1, allow_nan=False, ensure_ascii=True)
    return text.replace("\x7f", "\\u007f") + "\n"


def _short(value: float) -> float:
    """Three digits: the viewer shows all there are, and of more it cuts the exponent off."""
    return float(f"{value:.3g}")
