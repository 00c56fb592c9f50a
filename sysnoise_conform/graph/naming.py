"""New names for values that move into another scope."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Mapping

from onnx import AttributeProto, GraphProto, NodeProto

from sysnoise_conform.graph.walk import bodies, defined_names, nested_graphs


class Namer:
    """Knows every name that any scope of a graph gives to a value, and makes names that none has."""

    def __init__(self, graph: GraphProto) -> None:
        self._taken: Counter[str] = Counter()
        for each in nested_graphs(graph):
            self._taken.update(defined_names(each))
        self._next: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted_2`, `wanted_3`, ...: the first that is free, taken from now on."""
        name = wanted
        while not name or self._taken[name]:
            self._next[wanted] = self._next.get(wanted, 1) + 1
            name = f"{wanted}_{self._next[wanted]}"
        self._taken[name] += 1
        return name

    def drop(self, graph: GraphProto) -> None:
        """Forget the names of a body that is removed."""
        for each in nested_graphs(graph):
            self._taken.subtract(defined_names(each))

    def unique(self, name: str) -> bool:
        """Only one scope gives this name."""
        return self._taken[name] <= 1


def rename(node: NodeProto, mapping: Mapping[str, str], new: Callable[[str], str] | None = None) -> None:
    """Rename in place what `node` reads and makes, in its bodies too.

    A name that a body gives itself hides the mapping's; with `new` such a name gets a new one as well.
    """
    for index, name in enumerate(node.input):
        if name in mapping:
            node.input[index] = mapping[name]
    for index, name in enumerate(node.output):
        if name in mapping:
            node.output[index] = mapping[name]
    for body in bodies(node):
        _rename_body(body, mapping, new)


def _rename_body(body: GraphProto, mapping: Mapping[str, str], new: Callable[[str], str] | None) -> None:
    # A scope over the mapping, not a copy of it: a function of many values may have many bodies.
    own = {name: name if new is None else new(name) for name in sorted(set(defined_names(body)))}
    inner = ChainMap(own, mapping)  # type: ignore[arg-type]  # only its first map is ever written
    for port in (*body.input, *body.output, *body.value_info):
        port.name = inner.get(port.name, port.name)
    for tensor in body.initializer:
        tensor.name = inner.get(tensor.name, tensor.name)
    for sparse in body.sparse_initializer:
        sparse.values.name = inner.get(sparse.values.name, sparse.values.name)
    for node in body.node:
        rename(node, inner, new)


def substitute(node: NodeProto, given: Mapping[str, AttributeProto]) -> None:
    """Replace in place attributes that refer to a function's by what the caller gave; without it they go."""
    for index in reversed(range(len(node.attribute))):
        attribute = node.attribute[index]
        if attribute.ref_attr_name:
            value = given.get(attribute.ref_attr_name)
            name = attribute.name
            if value is None:
                del node.attribute[index]
            else:
                attribute.CopyFrom(value)
                attribute.name = name
    for body in bodies(node):
        for inner in body.node:
            substitute(inner, given)
