"""Ifs whose condition is constant, replaced by the branch that is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import GraphProto, NodeProto

from sysnoise_conform.graph.fold import fold, small_constant
from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.ranks import Shape, shapes_after
from sysnoise_conform.graph.walk import defined_names, reads


def inline_constant_ifs(graph: GraphProto) -> int:
    """Inline, in place, every If of the main graph whose condition is known; how many there were.

    `graph` must be sorted, and its initializers must be constants (inputs of the same name removed). Names
    of the branch are kept where no other scope uses them; its outputs take the If's names.
    """
    if not any(_is_if(node) for node in graph.node):
        return 0
    namer = Namer(graph)
    facts = _Facts()
    for port in graph.input:
        facts.port(port)
    facts.stored(graph.initializer)
    waiting = deque(graph.node)
    result: list[NodeProto] = []
    stored: list[onnx.TensorProto] = []
    count = 0
    while waiting:
        node = waiting.popleft()
        condition = facts.known.get(node.input[0]) if _is_if(node) and node.input else None
        if condition is not None and condition.size == 1:
            count += 1
            branch, other = _branches(node, taken=bool(condition.ravel()[0]))
            namer.drop(other)
            nodes, tensors = _spliced(node, branch, namer)
            facts.stored(tensors)
            stored.extend(tensors)
            waiting.extendleft(reversed(nodes))
            continue
        result.append(node)
        facts.node(node)
    if count:
        del graph.node[:]
        graph.node.extend(result)
        graph.initializer.extend(stored)
        drop_unused(graph, facts.known)
    return count


class _Facts:
    """What is known of the values of a graph for every feed: small constants, ranks, fixed sizes."""

    def __init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}
        self._shapes: dict[str, Shape] = {}
        self._sizes: dict[str, Shape] = {}  # results of Shape, whose elements may be known in part

    def port(self, port: onnx.ValueInfoProto) -> None:
        """Learn a graph input; feeds are held against what it declares."""
        if port.type.tensor_type.HasField("shape"):
            dims = port.type.tensor_type.shape.dim
            self._shapes[port.name] = tuple(each.dim_value if each.dim_value > 0 else None for each in dims)

    def stored(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """Learn initializers."""
        for each in tensors:
            self._shapes[each.name] = tuple(each.dims)
            if (value := small_constant(each)) is not None:
                self.known[each.name] = value

    def node(self, node: NodeProto) -> None:
        """Learn what a node makes."""
        if node.domain or not node.output:
            return
        value = fold(node, self.known)
        if value is None:
            value = self._of_shape(node)
        if value is not None:
            self.known[node.output[0]] = value
            self._shapes[node.output[0]] = value.shape
        else:
            self._shapes.update(shapes_after(node, self._shapes, self.known))

    def _of_shape(self, node: NodeProto) -> np.ndarray | None:
        """Shape's result, one element of it, and how many it has, where these don't depend on the feed."""
        source = node.input[0] if node.input else ""
        if node.op_type == "Shape" and not node.attribute and source in self._shapes:
            sizes = self._shapes[source]
            self._sizes[node.output[0]] = sizes
            return None if None in sizes else np.array(sizes, np.int64)
        if source not in self._sizes:
            return None
        sizes = self._sizes[source]
        if node.op_type == "Size":
            return np.array(len(sizes), np.int64)
        index = self.known.get(node.input[1]) if node.op_type == "Gather" and len(node.input) == 2 else None
        if index is None or not all(-len(sizes) <= each < len(sizes) for each in index.ravel().tolist()):
            return None
        picked = [sizes[each] for each in index.ravel().tolist()]
        return None if None in picked else np.array(picked, np.int64).reshape(index.shape)


def drop_unused(graph: GraphProto, constants: Iterable[str]) -> None:
    """Remove, in place, what made the conditions and is now read by nobody; `constants` are candidates."""
    candidates = set(constants)
    used = {each.name for each in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.isdisjoint(node.output) and candidates.issuperset(node.output):
            continue
        kept.append(node)
        used |= reads(node)
    if len(kept) < len(graph.node):
        kept.reverse()
        del graph.node[:]
        graph.node.extend(kept)
    for index in reversed(range(len(graph.initializer))):
        name = graph.initializer[index].name
        if name in candidates and name not in used:
            del graph.initializer[index]


def _is_if(node: NodeProto) -> bool:
    return node.op_type == "If" and node.domain == ""


def _branches(node: NodeProto, *, taken: bool) -> tuple[GraphProto, GraphProto]:
    graphs = {each.name: each.g for each in node.attribute}
    pair = graphs["then_branch"], graphs["else_branch"]
    return pair if taken else (pair[1], pair[0])


def _spliced(node: NodeProto, branch: GraphProto, namer: Namer) -> tuple[list[NodeProto], list[onnx.TensorProto]]:
    """The branch's nodes and stored tensors under names that fit the graph around the If."""
    prefix = node.name or next((each for each in node.output if each), "If")
    made = {name for each in branch.node for name in each.output if name}
    mapping: dict[str, str] = {}
    aliases: list[tuple[str, str]] = []  # an output that the branch does not make, or that stands twice
    for port, name in zip(branch.output, node.output, strict=False):
        if name and port.name in made and port.name not in mapping:
            mapping[port.name] = name
        elif name:
            aliases.append((port.name, name))
    for name in defined_names(branch):
        if name not in mapping and not namer.unique(name):
            mapping[name] = namer.fresh(f"{prefix}/{name}")
    tensors = []
    for tensor in branch.initializer:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = mapping.get(tensor.name, tensor.name)
        tensors.append(copy)
    nodes = []
    for sparse in branch.sparse_initializer:
        name = sparse.values.name
        nodes.append(onnx.helper.make_node("Constant", [], [mapping.get(name, name)], sparse_value=sparse))
    for each in branch.node:
        moved = NodeProto()
        moved.CopyFrom(each)
        rename(moved, mapping, lambda name: name if namer.unique(name) else namer.fresh(f"{prefix}/{name}"))
        nodes.append(moved)
    nodes.extend(onnx.helper.make_node("Identity", [mapping.get(source, source)], [name]) for source, name in aliases)
    return nodes, tensors
