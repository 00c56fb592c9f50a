"""In which types OpenVINO really computes, read from the plugin's own execution graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from sysnoise_conform.backends.shares import Shares

_PLUMBING = {"Const", "Convert", "Input", "Output", "Reorder"}  # layers that compute nothing
_PRODUCTS = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


def shares(compiled: Any, words: Mapping[str, str]) -> Shares:
    """The precisions of the layers of a compiled model; `words` are ours for OpenVINO's names of float types.

    A layer of 8 bits counts as int8 only where it multiplies: what else has 8 bits only hands codes on.
    """
    found = Shares()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        if "runtimePrecision" not in info or "layerType" not in info:
            continue
        layer, precision = info["layerType"].value, info["runtimePrecision"].value
        if precision in words and layer not in _PLUMBING:
            found.add(words[precision], _flops(op, layer))
        elif precision in ("i8", "u8") and layer in _PRODUCTS:
            found.add("int8", _flops(op, layer))
    return found


def _flops(op: Any, layer: str) -> float:
    """Two for each product of a convolution or matrix product; 0 where it is none or its sizes are open."""
    if layer not in _PRODUCTS or op.get_input_size() < 2:
        return 0.0
    shapes = (op.get_output_partial_shape(0), op.get_input_partial_shape(0), op.get_input_partial_shape(1))
    if any(each.is_dynamic for each in shapes):
        return 0.0
    out, data, weight = ([int(size.get_length()) for size in each] for each in shapes)
    if layer in ("FullyConnected", "MatMul"):
        return 2.0 * prod(out) * data[-1]
    moved = data if layer == "Deconvolution" else out  # each of these elements meets one kernel
    return 2.0 * prod(moved) * prod(weight) / max(1, moved[1])
