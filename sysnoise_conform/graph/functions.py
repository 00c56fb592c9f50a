"""Model-local functions: counted first, then replaced by the nodes of their bodies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import FunctionProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.container import imports, plain_domain
from sysnoise_conform.graph.naming import Namer, rename, substitute
from sysnoise_conform.graph.walk import bodies, named, quoted
from sysnoise_conform.graph.wellformed import Checker, Key, check_names, function_key, schema_of

MAX_EXPANDED_NODES = 200_000
MAX_EXPANDED_BYTES = (1 << 31) - 1
MAX_CALL_DEPTH = 100

Functions = dict[Key, FunctionProto]


def table(model: onnx.ModelProto) -> Functions:
    """The model's functions by domain, name and overload. Raises BadModel for one that stands twice."""
    found: Functions = {}
    for function in model.functions:
        overload = getattr(function, "overload", "")
        check_names(
            (function.domain, function.name, overload, *function.input, *function.output, *function.attribute),
            "a model-local function",
        )
        key = (plain_domain(function.domain), function.name, overload)
        if key in found:
            raise BadModel(f"the model defines function {quoted(function.name)} twice")
        found[key] = function
    return found


def check_functions(functions: Functions, versions: dict[str, int]) -> None:
    """Check the functions' own nodes, and that they mean the same under the model's opset imports.

    A domain that only functions import joins `versions`.

    Inlined nodes are read at the model's version of a domain: a function that imports another one is
    refused where an operator changed in between. Raises BadModel.
    """
    for key, function in functions.items():
        where = f"function {quoted(key[1])}"
        own = imports(function.opset_import, where)
        for domain, version in own.items():
            versions.setdefault(domain, version)
        checker = Checker({**versions, **own}, functions, in_function=True)
        checker.nodes(function.node)
        for default in function.attribute_proto:
            checker.attribute(default, where)
        made = list(function.input) + [name for node in function.node for name in node.output if name]
        if len(set(made)) != len(made) or "" in function.input:
            raise BadModel(f"{where} makes a value twice")
        for node in function.node:
            if function_key(node) in functions:
                continue
            domain = plain_domain(node.domain)
            if domain not in own or own[domain] == versions[domain]:
                continue
            there, here = schema_of(node, own), schema_of(node, versions)
            if there is not None and here is not None and there.since_version != here.since_version:
                raise BadModel(
                    f"{where} uses {quoted(node.op_type)} of opset {own[domain]}, the model imports"
                    f" {versions[domain]}, and the operator changed in between",
                    hint="export the model with one opset",
                )


def check_expansion(model: onnx.ModelProto, functions: Functions) -> None:
    """Count what inlining would make, before anything is inlined.

    24 functions that call each other twice are a few kB and 2**24 nodes. Raises BadModel beyond the caps,
    and for a function that calls itself.
    """
    sizes: dict[Key, tuple[int, int, int]] = {}  # nodes, bytes, depth of calls
    for start in functions:
        waiting = [(start, iter(list(_calls(functions[start].node, functions))))]
        path = {start}
        while waiting:
            key, callees = waiting[-1]
            callee = next((each for each in callees if each not in sizes), None)
            if callee is None:
                sizes.setdefault(key, _total(functions[key].node, functions[key].ByteSize(), functions, sizes))
                path.discard(key)
                waiting.pop()
            elif callee in path:
                raise BadModel(f"function {quoted(callee[1])} calls itself")
            else:
                path.add(callee)
                waiting.append((callee, iter(list(_calls(functions[callee].node, functions)))))
    nodes, size, depth = _total(model.graph.node, 0, functions, sizes)
    if nodes > MAX_EXPANDED_NODES or size > MAX_EXPANDED_BYTES or depth > MAX_CALL_DEPTH:
        raise BadModel(
            f"its functions expand to {nodes:,} nodes, {size:,} bytes, {depth} calls deep;"
            f" the limits are {MAX_EXPANDED_NODES:,}, {MAX_EXPANDED_BYTES:,} and {MAX_CALL_DEPTH}"
        )


def _calls(nodes: Iterable[NodeProto], functions: Functions) -> Iterator[Key]:
    for node in nodes:
        key = function_key(node)
        if key in functions:
            yield key
        for body in bodies(node):
            yield from _calls(body.node, functions)


def _total(
    nodes: Iterable[NodeProto], size: int, functions: Functions, sizes: Mapping[Key, tuple[int, int, int]]
) -> tuple[int, int, int]:
    count, depth = _count(nodes), 0
    for key in _calls(nodes, functions):
        count += sizes[key][0]
        size += sizes[key][1]
        depth = max(depth, 1 + sizes[key][2])
    return count, size, depth


def _count(nodes: Iterable[NodeProto]) -> int:
    return sum(1 + sum(_count(body.node) for body in bodies(node)) for node in nodes)


def inline_functions(model: onnx.ModelProto, functions: Functions) -> None:
    """Replace every call by the function's nodes, in place, and drop the functions."""
    namer = Namer(model.graph)
    _expand_graph(model.graph, functions, namer)
    del model.functions[:]


def _expand_graph(graph: onnx.GraphProto, functions: Functions, namer: Namer) -> None:
    expanded = [each for node in graph.node for each in _expand(node, functions, namer)]
    if len(expanded) != len(graph.node) or any(function_key(node) in functions for node in graph.node):
        del graph.node[:]
        graph.node.extend(expanded)
    for node in graph.node:
        for body in bodies(node):
            _expand_graph(body, functions, namer)


def _expand(node: NodeProto, functions: Functions, namer: Namer) -> Iterator[NodeProto]:
    function = functions.get(function_key(node))
    if function is None:
        yield node
        return
    for each in _instance(function, node, namer):
        yield from _expand(each, functions, namer)


def _instance(function: FunctionProto, call: NodeProto, namer: Namer) -> list[NodeProto]:
    """The nodes of one call, under names of their own."""
    if len(call.input) > len(function.input) or len(call.output) > len(function.output):
        raise BadModel(f"{named(call)} passes more values than its function has")
    prefix = call.name or next((each for each in call.output if each), function.name)
    actual = list(call.input) + [""] * (len(function.input) - len(call.input))
    mapping = dict(zip(function.input, actual, strict=True))
    aliases: list[tuple[str, str]] = []  # a formal output that is an input, or stands twice
    for formal, name in zip(function.output, call.output, strict=False):
        if name and formal in mapping:
            aliases.append((formal, name))
        elif name:
            mapping[formal] = name
    for node in function.node:
        for name in node.output:
            if name and name not in mapping:
                mapping[name] = namer.fresh(f"{prefix}/{name}")
    given = {each.name: each for each in function.attribute_proto}
    given.update({each.name: each for each in call.attribute})
    made = []
    for node in function.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        substitute(copy, given)
        rename(copy, mapping, lambda name: namer.fresh(f"{prefix}/{name}"))
        copy.name = f"{prefix}/{node.name}" if node.name else ""
        made.append(copy)
    made.extend(onnx.helper.make_node("Identity", [mapping[formal]], [name]) for formal, name in aliases)
    return made
