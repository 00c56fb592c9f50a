"""Model-local functions: checked, then replaced by the nodes of their bodies."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import FunctionProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.container import imports, plain_domain
from sysnoise_conform.graph.expansion import Functions
from sysnoise_conform.graph.naming import Namer, rename, substitute
from sysnoise_conform.graph.walk import bodies, function_bodies, graphs_of, named, nested_graphs, quoted
from sysnoise_conform.graph.wellformed import Checker, check_names, function_key, schema_of


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
        _check_defaults(function, Checker({**versions, **own}, functions), where)
        made = list(function.input) + [name for node in function.node for name in node.output if name]
        if len(set(made)) != len(made) or "" in function.input:
            raise BadModel(f"{where} makes a value twice")
        for node in _all_nodes(function):
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


def _check_defaults(function: FunctionProto, checker: Checker, where: str) -> None:
    """What stands in for an attribute that a call leaves out is a value, which refers to no attribute itself."""
    names = [each.name for each in function.attribute_proto]
    if len(set(names)) != len(names):
        raise BadModel(f"{where} gives an attribute two defaults")
    for default in function.attribute_proto:
        checker.attribute(default, where)
        if default.ref_attr_name:
            raise BadModel(f"{where} has a default that refers to another attribute")
    for graph in graphs_of(function.attribute_proto):
        checker.graph(graph, 1)


def _all_nodes(function: FunctionProto) -> Iterator[NodeProto]:
    yield from function.node
    for body in function_bodies(function):
        for graph in nested_graphs(body):
            yield from graph.node


def inline_functions(model: onnx.ModelProto, functions: Functions) -> None:
    """Replace every call by the function's nodes, in place, and drop the functions.

    Raises BadModel where the result is nested deeper than a file can be: protobuf copies, writes and reads no such
    message.
    """
    namer = Namer(model.graph)
    try:
        _expand_graph(model.graph, functions, namer)
        for node in model.graph.node:
            if any(True for _ in bodies(node)):
                alone = onnx.ModelProto()
                alone.graph.node.append(node)
                onnx.ModelProto.FromString(alone.SerializeToString())
    except (DecodeError, EncodeError) as err:
        raise BadModel("its functions expand to a model that is nested too deep to be read") from err
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
