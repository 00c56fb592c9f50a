"""The convolutions and matrix products of a graph: how many operations each costs, and which are in integers.

Read in children too, so it stays with Python 3.10, numpy and onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnx.helper import make_tensor_value_info

_MOST_SHAPE_ELEMENTS = 1024  # shapes, axes and sizes are short vectors; what is longer is weights
_VIEWS = ("DequantizeLinear", "Cast", "Transpose", "Identity")


@dataclass(frozen=True)
class Product:
    """One of them. `weight` is the stored tensor that it reads, "" where there is none; two operations a product."""

    weight: str
    operations: float
    integers: bool  # both operands are dequantised, or it takes codes


def is_product(node: onnx.NodeProto) -> bool:
    """Whether an operator is a convolution or a matrix product, in whatever runtime's dialect."""
    return any(word in node.op_type for word in ("Conv", "MatMul", "Gemm"))


def products(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[Product]:
    """Those of the main graph, in its order; `shapes` are those of the feeds. Empty where a size is not known."""
    graph = proto.graph
    sizes = _sizes(proto, shapes)
    roots = {each.name: each.name for each in graph.initializer}
    dequantised = set()
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            dequantised.add(node.output[0])
        if node.op_type in _VIEWS and node.input[0] in roots:
            roots[node.output[0]] = roots[node.input[0]]
    found = []
    for node in graph.node:
        if not is_product(node):
            continue
        quantised = node.op_type.startswith("QLinear")
        weight = node.input[3 if quantised else 1]
        shape, out = sizes.get(weight), sizes.get(node.output[0])
        if shape is None or out is None or len(shape) < 2:
            return []
        summed = prod(shape[1:]) if "Conv" in node.op_type else prod(shape[-2:]) / max(1, out[-1])
        integers = quantised or all(each in dequantised for each in node.input[:2])
        found.append(Product(roots.get(weight, ""), 2.0 * prod(out) * summed, integers))
    return found


def in_integers(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> float | None:
    """The share of all operations that the graph has in integers; None where they are not known."""
    known = products(proto, shapes)
    total = sum(each.operations for each in known)
    return sum(each.operations for each in known if each.integers) / total if total else None


def _sizes(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors, as far as ONNX's own inference finds them."""
    bare = onnx.ModelProto(ir_version=proto.ir_version)
    bare.opset_import.extend(proto.opset_import)
    bare.functions.extend(proto.functions)
    graph = proto.graph
    bare.graph.node.extend(graph.node)
    bare.graph.output.extend(graph.output)
    stored = {each.name for each in graph.initializer}
    for port in graph.input:
        if port.name in shapes:
            kind = port.type.tensor_type.elem_type
            bare.graph.input.append(make_tensor_value_info(port.name, kind, list(shapes[port.name])))
        elif port.name not in stored:
            bare.graph.input.append(port)
    found = {each.name: tuple(each.dims) for each in graph.initializer}
    for weight in graph.initializer:
        if prod(weight.dims) <= _MOST_SHAPE_ELEMENTS and not weight.external_data:
            bare.graph.initializer.append(weight)
        else:  # no shape hangs on its values
            bare.graph.input.append(make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # inference is a convenience: without it operations are not counted
        return {}
    for info in (*inferred.value_info, *inferred.output):
        dims = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(each.HasField("dim_value") for each in dims):
            found[info.name] = tuple(each.dim_value for each in dims)
    return found
