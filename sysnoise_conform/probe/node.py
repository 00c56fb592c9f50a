"""A node as the triggers of cases see it: attributes with their defaults, and what is known of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, helper

from sysnoise_conform.graph.fold import fold, small_constant
from sysnoise_conform.graph.ranks import Shape, shapes_after

_BODIES = (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.TENSOR, AttributeProto.SPARSE_TENSOR)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Node:
    """One node of a model. An input that is left out, or of which nothing is known, has type 0 and shape None."""

    name: str
    op_type: str
    domain: str
    opset: int
    attributes: Mapping[str, Any]
    types: tuple[int, ...]
    shapes: tuple[Shape | None, ...]
    constants: Mapping[int, np.ndarray]  # by the input's position, where it is small and known
    outputs: tuple[str, ...] = ()

    def constant(self, position: int) -> np.ndarray | None:
        """A small constant input, or None."""
        return self.constants.get(position)

    def shape(self, position: int = 0) -> Shape | None:
        """What is known of an input's shape, or None."""
        return self.shapes[position] if position < len(self.shapes) else None


def attributes_of(node: NodeProto, opset: int) -> dict[str, Any]:
    """The node's attributes by name, with the operator's defaults; graphs and tensors are left out."""
    found: dict[str, Any] = {}
    if node.domain in ("", "ai.onnx"):
        try:
            schema = onnx.defs.get_schema(node.op_type, opset, "")
        except onnx.defs.SchemaError:  # an operator that this onnx does not know, at this opset
            pass
        else:
            for name, attribute in schema.attributes.items():
                if attribute.default_value.name:
                    found[name] = _value(attribute.default_value)
    for each in node.attribute:
        if each.type not in _BODIES and not each.ref_attr_name:
            found[each.name] = _value(each)
    return found


def _value(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    match value:
        case bytes():
            return value.decode(errors="replace")
        case list() | tuple():
            return tuple(value)
        case _:
            return value


def nodes_of(graph: GraphProto, opset: int, types: Mapping[str, int]) -> Iterator[Node]:
    """The nodes of a sorted graph; `types` are the element types known so far.

    Shapes are what the file declares and what follows: they decide about a remark, not about a number.
    """
    known = {each.name: value for each in graph.initializer if (value := small_constant(each)) is not None}
    kinds = {each.name: each.data_type for each in graph.initializer} | dict(types)
    shapes: dict[str, Shape] = {each.name: tuple(each.dims) for each in graph.initializer}
    for port in (*graph.input, *graph.value_info, *graph.output):
        if port.type.tensor_type.HasField("shape"):
            shapes[port.name] = tuple(d.dim_value or None for d in port.type.tensor_type.shape.dim)
        kinds.setdefault(port.name, port.type.tensor_type.elem_type)
    for node in graph.node:
        yield Node(
            name=node.name or next(iter(node.output), ""),
            op_type=node.op_type,
            domain=node.domain,
            opset=opset,
            attributes=attributes_of(node, opset),
            types=tuple(kinds.get(name, 0) for name in node.input),
            shapes=tuple(shapes.get(name) for name in node.input),
            constants={index: known[name] for index, name in enumerate(node.input) if name in known},
            outputs=tuple(node.output),
        )
        value = fold(node, known)
        if value is not None:
            known[node.output[0]] = value
            shapes.setdefault(node.output[0], value.shape)
        for name, shape in shapes_after(node, shapes, known).items():
            shapes.setdefault(name, shape)
