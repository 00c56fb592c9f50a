"""In which types ONNX Runtime really computes, read from the graph that its optimiser left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from sysnoise_conform.backends.declared import FLOAT_WORDS
from sysnoise_conform.backends.shares import Shares
from sysnoise_conform.graph.products import Product, is_product, products

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
    given = onnx.load(str(model), load_external_data=False)
    operations = _matched([node for node in nodes if is_product(node)], products(given, shapes))
    found = Shares()
    for node in nodes:
        word = _word(node, types)
        if word is not None:
            found.add(word, operations.get(id(node), 0.0))
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


def _matched(nodes: list[onnx.NodeProto], known: list[Product]) -> dict[int, float]:
    """Operations by `id` of the node: by the weight's name, as far as packing has left it, else in graph order."""
    left, found = list(known), {}
    waiting = []
    for node in nodes:
        hit = next(
            (
                each for each in left
                if each.weight and any(n == each.weight or n.endswith(f"_{each.weight}") for n in node.input)
            ),
            None,
        )
        if hit is None:
            waiting.append(node)
        else:
            left.remove(hit)
            found[id(node)] = hit.operations
    if len(waiting) != len(left):  # a share of some of them would be none
        return {}
    return found | {id(node): each.operations for node, each in zip(waiting, left, strict=True)}
