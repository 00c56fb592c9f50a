"""Arithmetic on sizes, carried out: once input sizes are fixed, what `Shape` leads to is constant.

Exporters write reshapes whose target is computed (Shape, Cast, Slice, Concat). A converter that can't follow loses the
rank of everything downstream. Only sizes are folded, never weights or data: no rounding moves.

Not one with `graph.fold`, though both compute on small constants: that one decides what the golden itself computes, for
every feed, so it has a short list of operators and believes no declared shape; this one has fixed input sizes, believes
ONNX's shape inference, and may use all of ONNX's reference, since what it gets wrong would show as a departure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TypeProto, numpy_helper

_LARGEST = 64  # elements: sizes, axes, scales; anything larger is data
_SUBGRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def fold_sizes(model: ModelProto) -> None:
    """Replace, in place, nodes that compute with known sizes by constants, inferring shapes again as more are known."""
    if not any(node.op_type == "Shape" for node in model.graph.node):
        return
    known = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer if _small(each.dims)}
    sizes: set[str] = set()
    while _fold_once(model, known, sizes):
        del model.graph.value_info[:]
        model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))


def _fold_once(model: ModelProto, known: dict[str, np.ndarray], sizes: set[str]) -> bool:
    graph = model.graph
    types = {each.name: each.type for each in (*graph.value_info, *graph.input, *graph.output)}
    kept: list[NodeProto] = []
    for node in graph.node:
        values = None
        if node.op_type == "Constant":
            values = _evaluate(model, node, known)
            known.update(values or {})
            kept.append(node)
            continue
        if node.op_type == "Shape":
            if node.input[0] in types and _static(types[node.input[0]]):
                values = _evaluate_shape(model, node, types[node.input[0]])
        elif node.input and all(not name or name in known for name in node.input):
            values = _evaluate(model, node, known)
            if (
                values
                and not sizes.intersection(node.input)
                and any(each.dtype.kind == "f" for each in values.values())
            ):
                values = None  # a float that comes from no size is data
        if values is None:
            kept.append(node)
            continue
        known.update(values)
        sizes.update(values)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    if len(kept) == len(graph.node):
        return False
    del graph.node[:]
    graph.node.extend(kept)
    return True


def _evaluate_shape(model: ModelProto, node: NodeProto, kind: TypeProto) -> dict[str, np.ndarray] | None:
    # Shape reads no element, so a view of one zero stands for the tensor, however large.
    stand_in = np.broadcast_to(np.float32(0), [each.dim_value for each in kind.tensor_type.shape.dim])
    return _evaluate(model, node, {node.input[0]: stand_in})


def _evaluate(model: ModelProto, node: NodeProto, known: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The node's outputs by ONNX's own reference; None where it can't tell or they are too large to be sizes."""
    from onnx.reference import ReferenceEvaluator

    if any(each.type in _SUBGRAPHS for each in node.attribute):
        return None
    inputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    alone = onnx.helper.make_model(
        onnx.helper.make_graph([node], "node", inputs, outputs),
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
    )
    try:
        results = ReferenceEvaluator(alone).run(None, {each.name: known[each.name] for each in inputs})
    except Exception:  # an operator that the reference lacks, or sizes that do not fit: the converter will say
        return None
    arrays = [np.asarray(each) for each in results]
    if not all(each.dtype.kind in "biuf" and each.size <= _LARGEST for each in arrays):
        return None
    return {each.name: array for each, array in zip(outputs, arrays, strict=True)}


def _small(dims: Iterable[int]) -> bool:
    return int(np.prod(list(dims), dtype=np.int64)) <= _LARGEST


def _static(kind: TypeProto) -> bool:
    tensor = kind.tensor_type
    return tensor.HasField("shape") and all(each.HasField("dim_value") for each in tensor.shape.dim)
