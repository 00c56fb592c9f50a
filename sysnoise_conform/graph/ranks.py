"""Ranks and the sizes that never change, followed through common operators from what the inputs declare.

Exporters guard code with `If(rank(x) == 3)` and `If(size(x, 0) > 0)`; these are known for every feed.
None stands for an unknown size, and for a shape of unknown rank. No declared inner shape is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import NodeProto

from sysnoise_conform.graph.walk import attribute_of

Shape = tuple[int | None, ...]
Known = Mapping[str, np.ndarray]
_Rule = Callable[[NodeProto, list[Shape | None], Known], list[Shape | None]]


def shapes_after(node: NodeProto, shapes: Mapping[str, Shape], known: Known) -> dict[str, Shape]:
    """What can be told of the shapes of a node's outputs, by name."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return {}
    inputs = [shapes.get(name) for name in node.input]
    try:
        found = rule(node, inputs, known)
    except (IndexError, ValueError, TypeError):  # a node that no operator could mean; the golden explains it
        return {}
    return {name: shape for name, shape in zip(node.output, found, strict=False) if name and shape is not None}


def _axis(node: NodeProto, rank: int, default: int) -> int:
    attribute = attribute_of(node, "axis")
    axis = attribute.i if attribute is not None else default
    if not -rank <= axis < rank:
        raise IndexError("no such axis")
    return axis % rank


def _axes(node: NodeProto, position: int, known: Known) -> list[int] | None:
    """The axes that a node names, by attribute or (newer opsets) by input; None where they aren't known."""
    attribute = attribute_of(node, "axes")
    if attribute is not None:
        return list(attribute.ints)
    if len(node.input) > position and node.input[position] in known:
        return [int(each) for each in known[node.input[position]].ravel()]
    return None


def _same(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    return [inputs[0]]


def _same_rank(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape = inputs[0]
    return [None if shape is None else (None,) * len(shape)] * len(node.output)


def _broadcast(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    result: Shape = ()
    for shape in inputs:
        if shape is None:
            return [None]
        rank = max(len(result), len(shape))
        a, b = (1,) * (rank - len(result)) + result, (1,) * (rank - len(shape)) + shape
        result = tuple(_one_of(x, y) for x, y in zip(a, b, strict=True))
    return [result]


def _one_of(x: int | None, y: int | None) -> int | None:
    if x == 1:
        return y
    if y == 1:
        return x
    return x if x is not None else y


def _unsqueeze(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, axes = inputs[0], _axes(node, 1, known)
    if shape is None or axes is None:
        return [None]
    rank = len(shape) + len(axes)
    places = {each % rank for each in axes}
    rest = iter(shape)
    return [tuple(1 if index in places else next(rest) for index in range(rank))]


def _squeeze(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, axes = inputs[0], _axes(node, 1, known)
    if shape is None or axes is None:
        return [None]
    places = {each % len(shape) for each in axes}
    return [tuple(each for index, each in enumerate(shape) if index not in places)]


def _gather(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, index = inputs
    if shape is None or index is None:
        return [None]
    axis = _axis(node, len(shape), 0)
    return [(*shape[:axis], *index, *shape[axis + 1 :])]


def _concat(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shapes = [each for each in inputs if each is not None]
    if not shapes:
        return [None]
    axis = _axis(node, len(shapes[0]), 0)
    return [tuple(None if index == axis else size for index, size in enumerate(shapes[0]))]


def _transpose(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, order = inputs[0], attribute_of(node, "perm")
    if shape is None:
        return [None]
    return [tuple(shape[each] for each in order.ints) if order is not None else shape[::-1]]


def _convolution(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, weights = inputs[0], inputs[1]
    if shape is None:
        return [None]
    channels = weights[0] if weights is not None and node.op_type == "Conv" else None
    return [(shape[0], channels, *((None,) * (len(shape) - 2)))]


def _reshape(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    wanted = known.get(node.input[1])
    if wanted is None:
        vector = inputs[1]
        return [None if vector is None or vector[0] is None else (None,) * vector[0]]
    return [tuple(int(each) if each > 0 else None for each in wanted.ravel())]


def _reduce(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape, axes, keep = inputs[0], _axes(node, 1, known), attribute_of(node, "keepdims")
    if shape is None:
        return [None]
    if keep is None or keep.i:
        return [(None,) * len(shape)]
    if axes is None:
        return [None]
    return [tuple(each for index, each in enumerate(shape) if index not in {axis % len(shape) for axis in axes})]


def _recurrent(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    # Y: sequence, directions, batch, hidden (layout 0) or batch first (layout 1); Y_h and Y_c: three of them.
    found: list[Shape | None] = [(None,) * 4, (None,) * 3, (None,) * 3]
    return found[: len(node.output)]


def _vector(node: NodeProto, inputs: list[Shape | None], known: Known) -> list[Shape | None]:
    shape = inputs[0]
    return [(len(shape) if shape is not None else None,)]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ("Abs", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
         "LeakyRelu", "Log", "LogSoftmax", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sigmoid", "Softmax",
         "Softplus", "Sqrt", "Tanh"),
        _same,
    ),
    **dict.fromkeys(("Add", "Div", "Equal", "Greater", "Less", "Mul", "Pow", "Sub", "Where"), _broadcast),
    **dict.fromkeys(
        ("AveragePool", "BatchNormalization", "GlobalAveragePool", "InstanceNormalization", "MaxPool", "Pad", "Resize",
         "Slice", "Split"),
        _same_rank,
    ),
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduce),
    "Concat": _concat,
    "Gather": _gather,
    "Reshape": _reshape,
    "Shape": _vector,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
