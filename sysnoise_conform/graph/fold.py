"""Just enough arithmetic on small constants to know which way an If goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

MAX_ELEMENTS = 1024

Array = np.ndarray
_PLAIN = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
})  # fmt: skip


def small_constant(tensor: TensorProto) -> Array | None:
    """A stored tensor's value, if it is small, plain and inside the model."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type not in _PLAIN:
        return None
    return numpy_helper.to_array(tensor) if prod(tensor.dims) <= MAX_ELEMENTS else None


def fold(node: NodeProto, known: Mapping[str, Array]) -> Array | None:
    """The value of a node with one output, if it is one of the few operators here and its inputs are known."""
    if len(node.output) != 1:
        return None
    if node.op_type == "Constant":
        return _constant(node)
    run = _OPERATORS.get(node.op_type)
    if run is None or not all(name in known for name in node.input):
        return None
    attributes = {each.name: each for each in node.attribute}
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(run(attributes, *(known[name] for name in node.input)))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # a broken node is the golden's to explain
    return value if value.size <= MAX_ELEMENTS else None


def _constant(node: NodeProto) -> Array | None:
    for each in node.attribute:
        match each.name:
            case "value":
                return small_constant(each.t)
            case "value_int":
                return np.array(each.i, np.int64)
            case "value_ints" if len(each.ints) <= MAX_ELEMENTS:
                return np.array(each.ints, np.int64)
            case "value_float":
                return np.array(each.f, np.float32)
    return None


Attributes = Mapping[str, AttributeProto]


def _axes(attributes: Attributes, given: tuple[Array, ...]) -> tuple[int, ...] | None:
    if given:
        return tuple(int(each) for each in given[0].ravel())
    return tuple(attributes["axes"].ints) if "axes" in attributes else None


def _cast(attributes: Attributes, x: Array) -> Array:
    to = attributes["to"].i
    if to not in _PLAIN:
        raise TypeError("not a plain type")
    return x.astype(numpy_helper.to_array(TensorProto(data_type=to, dims=[0], raw_data=b"")).dtype)


def _gather(attributes: Attributes, x: Array, index: Array) -> Array:
    return np.take(x, index, axis=attributes["axis"].i if "axis" in attributes else 0)


def _unsqueeze(attributes: Attributes, x: Array, *axes: Array) -> Array:
    return np.expand_dims(x, _axes(attributes, axes) or ())


def _squeeze(attributes: Attributes, x: Array, *axes: Array) -> Array:
    return np.squeeze(x, axis=_axes(attributes, axes))


def _reshape(attributes: Attributes, x: Array, shape: Array) -> Array:
    if (shape == 0).any():  # 0 means "as before" or "empty", which allowzero decides
        raise ValueError("a zero in the shape")
    return x.reshape([int(each) for each in shape])


def _shape(attributes: Attributes, x: Array) -> Array:
    if attributes:  # start, end
        raise ValueError("a part of the shape")
    return np.array(x.shape, np.int64)


_OPERATORS: dict[str, Callable[..., object]] = {
    "Identity": lambda _, x: x,
    "Equal": lambda _, a, b: np.equal(a, b),
    "Greater": lambda _, a, b: np.greater(a, b),
    "GreaterOrEqual": lambda _, a, b: np.greater_equal(a, b),
    "Less": lambda _, a, b: np.less(a, b),
    "LessOrEqual": lambda _, a, b: np.less_equal(a, b),
    "Not": lambda _, x: np.logical_not(x),
    "And": lambda _, a, b: np.logical_and(a, b),
    "Or": lambda _, a, b: np.logical_or(a, b),
    "Xor": lambda _, a, b: np.logical_xor(a, b),
    "Cast": _cast,
    "Gather": _gather,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda _, x: np.array(x.size, np.int64),
}
