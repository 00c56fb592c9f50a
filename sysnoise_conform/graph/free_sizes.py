"""Sizes for inputs of which no operator cares how large they are.

Where every operator between inputs and outputs works element by element, an open size may be anything, and
a small one is chosen. As soon as one operator might care (a convolution, a reshape, an unknown one), nothing
is chosen: a guess would run, and say little of the model that ships.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from onnx import GraphProto, NodeProto

from sysnoise_conform.graph.intake import Model, Port

Dim = int | tuple[str, str | int]  # a size, or what stands for it: a symbol, or an input and the place in its shape
Shape = tuple[Dim, ...]

# One tensor in, one of the same shape out; further inputs are scalars, of which the operators below take no more.
_ELEMENTWISE = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
})  # fmt: skip
# Several tensors that broadcast.
_BROADCASTING = frozenset({
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor",
})  # fmt: skip

_BATCH, _CHANNELS, _SIDE, _LENGTH = 1, 3, 16, 8


def free_sizes(model: Model, given: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes for the inputs that have open sizes and are not `given`; empty unless no operator cares.

    One symbol has one size everywhere. An input without a rank gets none, and neither do the others then.
    """
    open_ports = [each for each in model.inputs if each.name not in given and _is_open(each)]
    if not open_ports or any(each.shape is None for each in model.inputs) or not _any_size_does(model):
        return {}
    symbols = {
        dim: size
        for port in model.inputs
        for dim, size in zip(port.shape or (), given.get(port.name, ()), strict=False)
        if isinstance(dim, str)
    }
    chosen = {}
    for port in open_ports:
        sizes = []
        for place, dim in enumerate(port.shape or ()):
            small = _small(place, len(port.shape or ()))
            sizes.append(dim if isinstance(dim, int) else symbols.setdefault(dim, small) if dim else small)
        chosen[port.name] = tuple(sizes)
    return chosen


def _is_open(port: Port) -> bool:
    return port.shape is None or not all(isinstance(dim, int) for dim in port.shape)


def _small(place: int, rank: int) -> int:
    if place == 0:
        return _BATCH
    if rank == 4:
        return _CHANNELS if place == 1 else _SIDE
    return _LENGTH


def _any_size_does(model: Model) -> bool:
    shapes = {port.name: _shape_of(port) for port in model.inputs}
    scalars = {each.name for each in model.proto.graph.initializer if prod(each.dims) == 1 and len(each.dims) <= 1}
    fed = set(shapes)
    for node in model.proto.graph.node:
        if fed.isdisjoint(node.input) and not any(each.HasField("g") for each in node.attribute):
            scalars.update(_scalar_constant(node))
            continue
        shape = _after(node, shapes, scalars)
        if shape is None:
            return False
        shapes[node.output[0]] = shape
        fed.add(node.output[0])
    return _declared_open(model.proto.graph, shapes)


def _shape_of(port: Port) -> Shape:
    return tuple(
        dim if isinstance(dim, int) else ("", dim) if dim else (port.name, place)
        for place, dim in enumerate(port.shape or ())
    )


def _scalar_constant(node: NodeProto) -> list[str]:
    """The output of a Constant that holds one number."""
    if node.op_type != "Constant" or node.domain:
        return []
    one = any(
        each.name in ("value_float", "value_int") or (each.name == "value" and list(each.t.dims) in ([], [1]))
        for each in node.attribute
    )
    return list(node.output) if one else []


def _after(node: NodeProto, shapes: Mapping[str, Shape], scalars: set[str]) -> Shape | None:
    """The shape that comes out whatever the open sizes are; None where that can't be told."""
    if node.domain or len(node.output) != 1 or not node.input:
        return None
    first, *rest = node.input
    if node.op_type in _ELEMENTWISE:
        plain = all(not name or name in scalars for name in rest)
        return shapes[first] if plain and first in shapes else None
    if node.op_type not in _BROADCASTING:
        return None
    tensors = [name for name in node.input if name not in scalars]
    known = {shapes[name] for name in tensors if name in shapes}
    # A stored vector would fix a size, and two different shapes might not broadcast; of rank 0 a scalar's is not.
    if any(name not in shapes for name in tensors) or len(known) != 1:
        return None
    shape = known.pop()
    return shape if shape or len(tensors) == len(node.input) else None


def _declared_open(graph: GraphProto, shapes: Mapping[str, Shape]) -> bool:
    """No output declares a size where its shape is open."""
    for port in graph.output:
        if not port.type.tensor_type.HasField("shape"):
            continue
        dims = port.type.tensor_type.shape.dim
        shape = shapes.get(port.name)
        if shape is not None and any(
            dim.dim_value > 0 and dim.dim_value != known for dim, known in zip(dims, shape, strict=False)
        ):
            return False
    return True
