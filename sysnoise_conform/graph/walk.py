"""Walks over a graph and everything nested in it: bodies, names, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from sysnoise_conform.printable import one_line


def attribute_of(node: NodeProto, name: str) -> AttributeProto | None:
    """The attribute of that name; None where the node has none."""
    return next((each for each in node.attribute if each.name == name), None)


def graphs_of(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    """The graphs that attributes hold."""
    for attribute in attributes:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries: branches of If, bodies of Loop and Scan."""
    return graphs_of(node.attribute)


def function_bodies(function: onnx.FunctionProto) -> Iterator[GraphProto]:
    """The graphs in a function: those that its nodes carry, and those that stand in for what a call leaves out."""
    for node in function.node:
        yield from bodies(node)
    yield from graphs_of(function.attribute_proto)


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


def all_graphs(model: onnx.ModelProto) -> Iterator[GraphProto]:
    """Every graph of a model, outer before inner: the one that runs, those for training, those in its functions."""
    yield from nested_graphs(model.graph)
    for training in model.training_info:
        yield from nested_graphs(training.initialization)
        yield from nested_graphs(training.algorithm)
    for function in model.functions:
        for body in function_bodies(function):
            yield from nested_graphs(body)


def tensors(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """Every tensor that the file stores, with words for where it stands."""
    for graph in all_graphs(model):
        for tensor in graph.initializer:
            yield tensor, f"initializer {quoted(tensor.name)}"
        for sparse in graph.sparse_initializer:
            yield sparse.values, f"sparse initializer {quoted(sparse.values.name)}"
            yield sparse.indices, f"the indices of sparse initializer {quoted(sparse.values.name)}"
        yield from _attribute_tensors(graph.node)
    for function in model.functions:
        yield from _attribute_tensors([function])
        yield from _attribute_tensors(function.node)


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
