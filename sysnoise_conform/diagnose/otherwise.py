"""Whether a culprit is right of another operator: the same one with another attribute, an axis, a mode, an epsilon.

What a runtime does not implement it often ignores, or takes its own default for. So the operator is computed by PyTorch
with each other value of the attributes that runtimes are known to differ in, on the inputs that the backend recorded;
the value that gives what the backend gave is the reading. It is a strong one: it leaves a tenth of the error at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.taken import Taken, taken_out
from sysnoise_conform.errors import BadModel
from sysnoise_conform.outcome import Reading
from sysnoise_conform.runner.workshop import Workshop

Array = np.ndarray[Any, Any]

LEAVES = 0.1  # of the error's rms, or of the values' where the shape is another
MOST = 8  # culprits that are computed otherwise, the first ones

_POOL = ("count_include_pad", (0, 1)), ("ceil_mode", (0, 1)), ("auto_pad", ("SAME_UPPER", "SAME_LOWER"))
_CONV = (("auto_pad", ("SAME_UPPER", "SAME_LOWER")),)
_EPSILON = (("epsilon", (1e-3, 1e-5, 1e-6, 1e-12)),)
_RESIZE = (
    ("coordinate_transformation_mode",
     ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")),
    ("nearest_mode", ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")),
    ("antialias", (0, 1)), ("cubic_coeff_a", (-0.75, -0.5)), ("exclude_outside", (0, 1)),
    ("mode", ("nearest", "linear", "cubic")),
)  # fmt: skip

# Attributes, and the values that are tried where the node has another.
_VALUES: Mapping[str, Sequence[tuple[str, Sequence[Any]]]] = {
    "AveragePool": _POOL,
    "MaxPool": _POOL[1:],
    "LpPool": _POOL[1:],
    "Conv": _CONV,
    "ConvTranspose": _CONV,
    "Resize": _RESIZE,
    "GridSample": (
        ("align_corners", (0, 1)), ("padding_mode", ("zeros", "border", "reflection")),
        ("mode", ("linear", "nearest", "cubic", "bilinear", "bicubic")),
    ),
    "BatchNormalization": (*_EPSILON, ("training_mode", (0, 1))),
    "InstanceNormalization": _EPSILON,
    "LayerNormalization": _EPSILON,
    "GroupNormalization": _EPSILON,
    "Gelu": (("approximate", ("none", "tanh")),),
    "Gemm": (("transA", (0, 1)), ("transB", (0, 1))),
    "Pad": (("mode", ("constant", "reflect", "edge", "wrap")),),
    "DepthToSpace": (("mode", ("DCR", "CRD")),),
    "Mod": (("fmod", (0, 1)),),
    "CumSum": (("exclusive", (0, 1)), ("reverse", (0, 1))),
    "LeakyRelu": (("alpha", (0.01, 0.1, 0.2)),),
    "Elu": (("alpha", (1.0,)),),
    "HardSigmoid": (("alpha", (0.2, 1 / 6)), ("beta", (0.5,))),
    "GRU": (("linear_before_reset", (0, 1)),),
}  # fmt: skip
_AXES = ("Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "Concat", "Gather", "Split", "CumSum", "Flatten")


def read_otherwise(shop: Workshop, seen: Seen, culprits: Sequence[Culprit]) -> tuple[Culprit, ...]:
    """The culprits; those that are right of another attribute with that reading first."""
    looked_at = [
        each.layer.output for each in culprits
        if each.method == "replay" and each.layer.in_unit is None and _varies(each.layer.op_type)
    ]  # fmt: skip
    found: dict[str, Reading] = {}
    for each in taken_out(shop, seen, looked_at[:MOST]) if looked_at else ():
        best = _best(shop, each)
        if best is not None:
            found[each.name] = best
    return tuple(
        replace(each, kind="attribute", readings=(found[each.layer.output], *each.readings))
        if each.layer.output in found else each
        for each in culprits
    )  # fmt: skip


def _varies(op_type: str) -> bool:
    return op_type in _VALUES or op_type in _AXES or op_type == "MatMul"


def _best(shop: Workshop, taken: Taken) -> Reading | None:
    right = _applied(shop, taken, taken.model)
    best: Reading | None = None
    for words, model in _models(taken):
        left = _left(taken.got, _applied(shop, taken, model), right)
        if left < (LEAVES if best is None else best.residual):
            best = Reading(kind="attribute", residual=left, value=words)
    return best


def _models(taken: Taken) -> Iterator[tuple[str, onnx.ModelProto]]:
    """What to try: a word on the change, and the operator with it."""
    node = taken.node
    own = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    for name, values in _VALUES.get(node.op_type, ()):
        for value in values:
            known = own.get(name)
            if (known.decode() if isinstance(known, bytes) else known) != value and not (
                name == "auto_pad" and known is None
            ):
                words = f"{value:.3g}" if isinstance(value, float) else str(value)
                yield f"{name}={words}", _with(taken, name, value)
    if node.op_type in _AXES:
        rank = max((array.ndim for array in taken.feed.values()), default=0)
        for axis in range(rank):
            if own.get("axis") not in (axis, axis - rank):
                yield f"axis={axis}", _with(taken, "axis", axis)
    if node.op_type == "MatMul":
        yield from _transposed_weights(taken)


def _with(taken: Taken, name: str, value: Any) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(taken.model)
    node = made.graph.node[0]
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
    del made.graph.value_info[:]
    return made


def _transposed_weights(taken: Taken) -> Iterator[tuple[str, onnx.ModelProto]]:
    for stored in taken.model.graph.initializer:
        if len(stored.dims) == 2 and stored.dims[0] == stored.dims[1] and stored.HasField("raw_data"):
            made = onnx.ModelProto()
            made.CopyFrom(taken.model)
            (weights,) = (each for each in made.graph.initializer if each.name == stored.name)
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(stored).T)
            weights.CopyFrom(onnx.numpy_helper.from_array(turned, stored.name))
            yield "its weights transposed", made


def _applied(shop: Workshop, taken: Taken, model: onnx.ModelProto) -> Array | None:
    try:
        return shop.goldens.applied(model, taken.feed).get(taken.output)
    except BadModel:  # the value makes no sense of these inputs
        return None


def _left(got: Array, predicted: Array | None, right: Array | None) -> float:
    """What is left of the error under the hypothesis; of the values, where the right answer has another shape."""
    if predicted is None or right is None or predicted.shape != got.shape or got.dtype.kind not in "fiu":
        return 1.0
    if not np.array_equal(np.isfinite(got), np.isfinite(predicted)):
        return 1.0
    whole = got if right.shape != got.shape else got.astype(np.float64) - right
    size = _rms(whole)
    return _rms(got.astype(np.float64) - predicted) / size if size else 1.0


def _rms(x: Array) -> float:
    finite = x[np.isfinite(x)].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
