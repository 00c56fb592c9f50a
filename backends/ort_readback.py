"""In which types ONNX Runtime really computes, read from the graph that its optimiser left."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto

from sysnoise_conform.backends.declared import FLOAT_WORDS
from sysnoise_conform.backends.shares import Shares

# Nodes that compute nothing: they move, view or convert.
_PLUMBING = frozenset({
    "Cast", "Constant", "ConstantOfShape", "Identity", "Shape", "Size", "Reshape", "Flatten", "Squeeze", "Unsqueeze",
    "Transpose", "Concat", "Split", "Slice", "Gather", "Expand", "Tile", "Pad", "ReorderInput", "ReorderOutput",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
})  # fmt: skip
_INTEGER = frozenset({
    "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm",
    "QAttention", "QEmbedLayerNormalization", "MatMulNBits",
})  # fmt: skip
_TO_FLOAT = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention")
_CODES = (TensorProto.INT8, TensorProto.UINT8)


def shares(optimised: Path, model: Path, shapes: Mapping[str, tuple[int, ...]]) -> Shares | None:
    """The precisions of the operators in the file `optimised`; None where it can't be read back (above 2 GiB).

    `model` is what was compiled, `shapes` those of its feeds. Where the CPU has no kernel for a narrow float, ONNX
    Runtime computes in float32 between casts of its own. In a quantised graph an operator is int8 where it became one
    that reads codes, and float32 where its DequantizeLinear is still before it.
    """
    try:
        graph = onnx.load(str(optimised), load_external_data=False).graph
    except Exception:  # protobuf's own errors
        return None
    optimised.unlink(missing_ok=True)
    types = _types(graph)
    nodes = [node for node in graph.node if node.op_type not in _PLUMBING]
    products = _matched([node for node in nodes if _is_product(node)], _products(model, shapes))
    found = Shares()
    for node in nodes:
        word = _word(node, types)
        if word is not None:
            found.add(word, products.get(id(node), 0.0))
    return found


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    """The element type of each tensor as far as a precision hangs on it, carried from operator to operator."""
    types = {each.name: each.data_type for each in graph.initializer}
    types |= {each.name: each.type.tensor_type.elem_type for each in graph.input}
    for node in graph.node:
        given = [types[name] for name in node.input if name in types]
        if node.op_type == "Cast":
            kind = next(each.i for each in node.attribute if each.name == "to")
        elif node.op_type == "QuantizeLinear":
            kind = types.get(node.input[2], TensorProto.UINT8) if len(node.input) > 2 else TensorProto.UINT8
        elif node.op_type == "DequantizeLinear":
            kind = types.get(node.input[1], TensorProto.FLOAT)
        elif node.op_type in _TO_FLOAT:
            kind = TensorProto.FLOAT
        elif node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
            kind = TensorProto.INT64
        else:
            kind = given[0] if given else TensorProto.UNDEFINED
        types |= dict.fromkeys(node.output, kind)
    return types


def _word(node: onnx.NodeProto, types: Mapping[str, int]) -> str | None:
    """The precision that an operator computes in: int8 where it reads codes; None where no number is concerned."""
    if node.op_type.startswith("QLinear") or node.op_type in _INTEGER:
        return "int8"
    kinds = [types.get(name, TensorProto.UNDEFINED) for name in (*node.input, *node.output)]
    return next((FLOAT_WORDS[each] for each in kinds if each in FLOAT_WORDS), "int8" if kinds[0] in _CODES else None)


def _is_product(node: onnx.NodeProto) -> bool:
    return any(word in node.op_type for word in ("Conv", "MatMul", "Gemm"))


def _products(model: Path, shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, float]]:
    """The convolutions and matrix products of the model as it was given: the name of the weight, and operations.

    Two for each product. Empty where a size is not known.
    """
    try:
        graph = _inferred(model, shapes)
    except Exception:  # inference is a convenience: without it operations are not counted
        return []
    sizes = _sizes(graph)
    roots = {each.name: each.name for each in graph.initializer}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "Cast", "Transpose", "Identity") and node.input[0] in roots:
            roots[node.output[0]] = roots[node.input[0]]
    found = []
    for node in graph.node:
        if not _is_product(node):
            continue
        quantised = node.op_type.startswith("QLinear")
        weight = node.input[3 if quantised else 1]
        shape, out = sizes.get(weight), sizes.get(node.output[0])
        if shape is None or out is None or len(shape) < 2:
            return []
        summed = prod(shape[1:]) if "Conv" in node.op_type else prod(shape[-2:]) / max(1, out[-1])
        found.append((roots.get(weight, ""), 2.0 * prod(out) * summed))
    return found


def _matched(nodes: list[onnx.NodeProto], products: list[tuple[str, float]]) -> dict[int, float]:
    """Operations by `id` of the node: by the weight's name, as far as packing has left it, else in graph order."""
    left, found = list(products), {}
    waiting = []
    for node in nodes:
        hit = next(
            (each for each in left if each[0] and any(n == each[0] or n.endswith(f"_{each[0]}") for n in node.input)),
            None,
        )
        if hit is None:
            waiting.append(node)
        else:
            left.remove(hit)
            found[id(node)] = hit[1]
    if len(waiting) != len(left):  # a share of some of them would be none
        return {}
    return found | {id(node): flops for node, (_, flops) in zip(waiting, left, strict=True)}


def _inferred(model: Path, shapes: Mapping[str, tuple[int, ...]]) -> onnx.GraphProto:
    proto = onnx.load(str(model), load_external_data=False)
    for info in proto.graph.input:
        if info.name in shapes:
            kind = info.type.tensor_type.elem_type
            info.CopyFrom(onnx.helper.make_tensor_value_info(info.name, kind, shapes[info.name]))
    return onnx.shape_inference.infer_shapes(proto, data_prop=True).graph


def _sizes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    found = {each.name: tuple(each.dims) for each in graph.initializer}
    for info in (*graph.value_info, *graph.output):
        dims = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(each.HasField("dim_value") for each in dims):
            found[info.name] = tuple(each.dim_value for each in dims)
    return found
