"""Ifs whose condition is constant, replaced by the branch that is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import onnx
from onnx import GraphProto, NodeProto

from sysnoise_conform.graph.fold import fold, small_constant
from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.walk import defined_names, reads


def inline_constant_ifs(graph: GraphProto) -> int:
    """Inline, in place, every If of the main graph whose condition is known; how many there were.

    `graph` must be sorted, and its initializers must be constants (inputs of the same name removed). Names
    of the branch are kept where no other scope uses them; its outputs take the If's names.
    """
    if not any(_is_if(node) for node in graph.node):
        return 0
    namer = Namer(graph)
    known = {each.name: value for each in graph.initializer if (value := small_constant(each)) is not None}
    waiting = deque(graph.node)
    result: list[NodeProto] = []
    stored: list[onnx.TensorProto] = []
    count = 0
    while waiting:
        node = waiting.popleft()
        condition = known.get(node.input[0]) if _is_if(node) and node.input else None
        if condition is not None and condition.size == 1:
            count += 1
            branch, other = _branches(node, taken=bool(condition.ravel()[0]))
            namer.drop(other)
            nodes, tensors = _spliced(node, branch, namer)
            known.update({each.name: value for each in tensors if (value := small_constant(each)) is not None})
            stored.extend(tensors)
            waiting.extendleft(reversed(nodes))
            continue
        result.append(node)
        if node.domain == "" and (value := fold(node, known)) is not None:
            known[node.output[0]] = value
    if count:
        del graph.node[:]
        graph.node.extend(result)
        graph.initializer.extend(stored)
        drop_unused(graph, known)
    return count


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
    nodes.extend(
        onnx.helper.make_node("Identity", [mapping.get(source, source)], [name]) for source, name in aliases
    )
    return nodes, tensors
