"""Graphs put into an order in which every value is made before it is read."""

from __future__ import annotations

import heapq
from collections import Counter

from onnx import GraphProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import bodies, named, quoted, reads

Scopes = tuple[frozenset[str], ...]


def sort(graph: GraphProto, outer: Scopes = ()) -> None:
    """Sort `graph` and every body in it, in place, keeping the given order where it is possible.

    `outer` are the scopes whose names a body may read. Raises BadModel for a value that is made
    twice, a value that nobody makes, and nodes that feed each other.
    """
    given = _given(graph)
    maker: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name in maker or name in given:
                raise BadModel(f"two values are called {quoted(name)}, the second made by {named(node)}")
            if name:
                maker[name] = index
    needs = [_needed(node, maker, given, outer) for node in graph.node]
    for port in graph.output:
        if port.name not in maker and port.name not in given and not _in(outer, port.name):
            raise BadModel(f"output {quoted(port.name)} is made by no node")
    if any(each >= index for index, group in enumerate(needs) for each in group):
        nodes = list(graph.node)
        ordered = [nodes[index] for index in _topological(nodes, needs)]
        copies = [NodeProto.FromString(each.SerializeToString()) for each in ordered]
        del graph.node[:]
        graph.node.extend(copies)
    inner = (given | frozenset(maker), *outer)
    for node in graph.node:
        for body in bodies(node):
            sort(body, inner)


def _in(scopes: Scopes, name: str) -> bool:
    return any(name in scope for scope in scopes)


def _given(graph: GraphProto) -> frozenset[str]:
    inputs = [each.name for each in graph.input]
    stored = [each.name for each in graph.initializer] + [each.values.name for each in graph.sparse_initializer]
    for names, what in ((inputs, "inputs"), (stored, "initializers")):
        if len(set(names)) != len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise BadModel(f"two {what} are called {quoted(twice)}")
        if "" in names:
            raise BadModel(f"one of the {what} of graph {quoted(graph.name)} has no name")
    return frozenset(inputs) | frozenset(stored)


def _needed(node: NodeProto, maker: dict[str, int], given: frozenset[str], outer: Scopes) -> set[int]:
    found = set()
    for name in reads(node):
        if name in maker:
            found.add(maker[name])
        elif name not in given and not _in(outer, name):
            raise BadModel(f"{named(node)} reads {quoted(name)}, which is no input and made by no node")
    return found


def _topological(nodes: list[NodeProto], needs: list[set[int]]) -> list[int]:
    readers: list[list[int]] = [[] for _ in nodes]
    waits = [len(group) for group in needs]
    for index, group in enumerate(needs):
        for each in group:
            readers[each].append(index)
    ready = [index for index, count in enumerate(waits) if not count]  # ascending, so already a heap
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for each in readers[index]:
            waits[each] -= 1
            if not waits[each]:
                heapq.heappush(ready, each)
    if len(order) < len(nodes):
        stuck = next(index for index, count in enumerate(waits) if count)
        raise BadModel(f"{named(nodes[stuck])} needs its own result: nodes feed each other in a circle")
    return order


def dependent(graph: GraphProto, sources: frozenset[str]) -> set[str]:
    """The names, `sources` among them, whose values depend on `sources`; `graph` must be sorted."""
    reached = set(sources)
    for node in graph.node:
        if not reached.isdisjoint(reads(node)):
            reached.update(name for name in node.output if name)
    return reached
