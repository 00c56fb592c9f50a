"""Whether a culprit multiplies integers of 8 bits: its output against float64 on operands that lie on such a grid.

A runtime that quantises by itself chooses a scale for each tensor from its largest value (dynamic quantisation): one
grid for all of it, with zero in its middle or from the least value to the largest, and for weights as well one for each
output channel. That much is known without the runtime, so the operator alone is computed on such operands. A scale that
a calibration chose is not known, and not found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.taken import Taken, taken_out
from sysnoise_conform.diagnose.units import DOT_PRODUCTS
from sysnoise_conform.outcome import Reading
from sysnoise_conform.runner.workshop import Workshop

Array = np.ndarray[Any, Any]
EXPLAINS = 0.5  # of the error's rms may be left, as in compare.readings

# 255 steps over a tensor leave an error of 0.23 % of its largest value; sums of many products a part of that.
FIRST = 4  # operators; a runtime that quantises does so at most of them
SMALLEST, LARGEST = 2.0**-12, 2.0**-3  # relative errors that are worth a try


def symmetric(array: Array) -> Array:
    """127 steps to either side of zero."""
    step = float(np.abs(array).max(initial=0.0)) / 127
    return array if not step else (np.rint(array / step) * step).astype(np.float32)


def asymmetric(array: Array) -> Array:
    """255 steps from the least value, or zero, to the largest; zero is one of them (ONNX's DynamicQuantizeLinear)."""
    low, high = min(0.0, float(array.min(initial=0.0))), max(0.0, float(array.max(initial=0.0)))
    step = (high - low) / 255
    if not step:
        return array
    zero = np.rint(-low / step)
    near: Array = ((np.clip(np.rint(array / step) + zero, 0, 255) - zero) * step).astype(np.float32)
    return near


def by_channel(array: Array, axis: int) -> Array:
    """`symmetric`, with a step of its own for each index along an axis."""
    found: Array = np.moveaxis(np.stack([symmetric(each) for each in np.moveaxis(array, axis, 0)]), 0, axis)
    return found


# What is multiplied, weights: in words, and how.
_GRIDS: Sequence[tuple[str, Callable[[Array], Array], bool]] = (
    ("one scale to each tensor", symmetric, False),
    ("one scale to each tensor, and a zero point", asymmetric, False),
    ("one scale to each output channel of the weights", symmetric, True),
    ("one scale to each output channel of the weights, and a zero point", asymmetric, True),
)


def on_grids(shop: Workshop, seen: Seen, errors: Mapping[str, float]) -> dict[str, Reading]:
    """The grid of int8 that explains what dot products gave, where one does; `errors` are rms, by tensor.

    Of a target that shows none at the first few operators no more are tried.
    """
    graph = shop.model.proto.graph
    dots = {name for node in graph.node if node.op_type in DOT_PRODUCTS for name in node.output}
    found: dict[str, Reading] = {}
    tried = 0
    for each in taken_out(shop, seen, dots & set(errors)):
        if not _worth(each.got, errors[each.name]):
            continue
        if tried >= FIRST and not found:
            break
        tried += 1
        best = _best(shop, each, errors[each.name])
        if best is not None:
            found[each.name] = best
    return found


def _worth(got: Array, error: float) -> bool:
    size = float(np.sqrt(np.mean(np.square(got, dtype=np.float64)))) if got.size else 0.0
    return SMALLEST * size < error < LARGEST * size


def _best(shop: Workshop, taken: Taken, error: float) -> Reading | None:
    node = taken.node
    best: Reading | None = None
    for words, grid, channels in _GRIDS:
        model = onnx.ModelProto()
        model.CopyFrom(taken.model)
        for each in model.graph.initializer:
            if each.name in node.input[:2] and each.data_type == onnx.TensorProto.FLOAT:
                whole = numpy_helper.to_array(each, base_dir=str(shop.model.path.parent))
                narrow = by_channel(whole, _channels(node, whole.ndim)) if channels else symmetric(whole)
                each.CopyFrom(numpy_helper.from_array(narrow, each.name))
        feed = {
            name: grid(array) if name in node.input[:2] and array.dtype == np.float32 else array
            for name, array in taken.feed.items()
        }
        predicted = shop.goldens.applied(model, feed).get(taken.output)
        if predicted is None or predicted.shape != taken.got.shape:
            return None
        left = float(np.sqrt(np.mean(np.square(taken.got.astype(np.float64) - predicted)))) / error
        if left < min(EXPLAINS, 1.0 if best is None else best.residual):
            best = Reading(kind="int8", residual=left, value=f"of its operands, {words}")
    return best


def _channels(node: onnx.NodeProto, rank: int) -> int:
    """The dimension of a dot product's weights that its output channels are along."""
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm":
            return 0 if any(each.name == "transB" and each.i for each in node.attribute) else 1
        case _:
            return rank - 1
