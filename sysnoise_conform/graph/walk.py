"""Walks over a graph and everything nested in it: bodies, names, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from sysnoise_conform.printable import one_line


def attribute_of(node: NodeProto, name: str) -> AttributeProto | None:
    """The attribute of that name; None where the node has none."""
    return next((each for each in node.attribute if each.name == name), None)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries: branches of If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def nested_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """`graph` itself, then every body inside it, outer before inner."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            waiting.extend(bodies(node))


def defined_names(graph: GraphProto) -> Iterator[str]:
    """Names that this scope gives to values: inputs, initializers, outputs of nodes. Not those of bodies."""
    listed = {each.name for each in graph.input}
    yield from (each.name for each in graph.input)
    # Since IR version 4 an initializer of an input's name is that input's default value.
    yield from (each.name for each in graph.initializer if each.name not in listed)
    yield from (each.values.name for each in graph.sparse_initializer if each.values.name not in listed)
    for node in graph.node:
        yield from (name for name in node.output if name)


def reads(node: NodeProto) -> set[str]:
    """Names that a node reads from its own scope: its inputs, and what its bodies capture."""
    names = {name for name in node.input if name}
    for body in bodies(node):
        names |= captured(body)
    return names


def captured(body: GraphProto) -> set[str]:
    """Names that a body reads from the scopes around it."""
    used = {each.name for each in body.output if each.name}
    for node in body.node:
        used |= reads(node)
    return used - set(defined_names(body))


def tensors(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """Every tensor that the file stores, with words for where it stands."""
    for graph in nested_graphs(model.graph):
        for tensor in graph.initializer:
            yield tensor, f"initializer {quoted(tensor.name)}"
        for sparse in graph.sparse_initializer:
            yield sparse.values, f"sparse initializer {quoted(sparse.values.name)}"
            yield sparse.indices, f"the indices of sparse initializer {quoted(sparse.values.name)}"
        yield from _attribute_tensors(graph.node)
    for function in model.functions:
        yield from _attribute_tensors([function])
        yield from _attribute_tensors(function.node)
        for node in function.node:
            for body in bodies(node):
                for graph in nested_graphs(body):
                    yield from ((each, f"initializer {quoted(each.name)}") for each in graph.initializer)
                    yield from _attribute_tensors(graph.node)


def _attribute_tensors(
    owners: Iterable[NodeProto] | Iterable[onnx.FunctionProto],
) -> Iterator[tuple[TensorProto, str]]:
    for owner in owners:
        attributes = owner.attribute if isinstance(owner, NodeProto) else owner.attribute_proto
        for attribute in attributes:
            where = f"attribute {quoted(attribute.name)} of {named(owner)}"
            if attribute.HasField("t"):
                yield attribute.t, where
            yield from ((each, where) for each in attribute.tensors)
            sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for each in (*sparse, *attribute.sparse_tensors):
                yield each.values, where
                yield each.indices, where


def quoted(name: object) -> str:
    """A name from the model, safe to print, in quotes."""
    return f"'{one_line(name, 80)}'"


def named(node: NodeProto | onnx.FunctionProto) -> str:
    """A node in words: operator, and its name or first output."""
    if isinstance(node, onnx.FunctionProto):
        return f"function {quoted(node.name)}"
    name = node.name or next((each for each in node.output if each), "")
    return f"{one_line(node.op_type, 60)} node {quoted(name)}" if name else f"a {one_line(node.op_type, 60)} node"
