"""A graph compiled once: every node with its function, attributes, types and the tensors it frees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema

from sysnoise_conform.errors import BadModel, UnsupportedOperator
from sysnoise_conform.golden.constants import constant_value
from sysnoise_conform.golden.op import Call, Registration, find
from sysnoise_conform.golden.signatures import Signature, find_schema, signature_of
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.values import Value, from_proto, from_sparse_proto
from sysnoise_conform.graph.shape_slice import shape_slice
from sysnoise_conform.printable import one_line

OLDEST_OPSET = 7  # before it, operators broadcast by attribute
_DEFAULT_DOMAINS = ("", "ai.onnx")
_DEEPEST_CALL = 32  # functions may not call themselves; this bounds the search for one that does


@dataclass(slots=True)
class Step:
    """One node, ready to run."""

    node: onnx.NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    working: torch.dtype
    registration: Registration | None = None  # None: a model-local function
    function: Plan | None = None
    constant: Value | None = None
    signature: Signature | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    bodies: dict[str, Plan] = field(default_factory=dict)
    frees: tuple[str, ...] = ()  # tensors whose last reader this is
    prepared: dict[tuple[int, ...], tuple[Call, tuple[int | None, ...]]] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """A graph, a body or a function, ready to run."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Value]
    steps: list[Step]
    captured: frozenset[str]  # names that it reads from the graphs around it
    in_slice: frozenset[str]


@dataclass(frozen=True, slots=True)
class Context:
    """What compiling a node needs to know of everything around it."""

    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], onnx.FunctionProto]
    working: torch.dtype  # what FLOAT is computed in outside the shape slice
    in_slice: frozenset[str] = frozenset()
    base_dir: Path | None = None
    given: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)  # attributes of the function's caller
    depth: int = 0


def opsets_of(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Domain -> version; `ai.onnx` under its short name, the empty string."""
    return {"" if each.domain in _DEFAULT_DOMAINS else each.domain: each.version for each in imports}


def compile_model(model: onnx.ModelProto, working: torch.dtype, base_dir: Path | None) -> Plan:
    """The model's main graph as a Plan, FLOAT in `working` except in the shape slice.

    Raises UnsupportedOperator for an operator or opset that the golden does not have, BadModel for a
    graph that ONNX forbids.
    """
    context = Context(
        opsets=opsets_of(model.opset_import),
        functions={(each.domain, each.name, each.overload): each for each in model.functions},
        working=working,
        in_slice=shape_slice(model.graph, model.functions),
        base_dir=base_dir,
    )
    return compile_graph(model.graph, context, visible=frozenset())


def compile_graph(graph: onnx.GraphProto, context: Context, visible: frozenset[str]) -> Plan:
    """A graph or a body; `visible` are the outer names that a body may read."""
    constants = {each.name: _held(from_proto(each, context.base_dir), each.name, context) for each in graph.initializer}
    for sparse in graph.sparse_initializer:
        name = sparse.values.name
        constants[name] = _held(from_sparse_proto(sparse, context.base_dir), name, context)
    return _compile(
        list(graph.node), tuple(each.name for each in graph.input), tuple(each.name for each in graph.output),
        constants, context, visible,
    )  # fmt: skip


def _held(value: Value, name: str, context: Context) -> Value:
    if value.elem_type == T.FLOAT and name not in context.in_slice:
        return Value(value.data.to(context.working), T.FLOAT)
    return value


def _compile(
    nodes: list[onnx.NodeProto], inputs: tuple[str, ...], outputs: tuple[str, ...], constants: dict[str, Value],
    context: Context, visible: frozenset[str],
) -> Plan:  # fmt: skip
    local = {*inputs, *constants}
    captured: set[str] = set()
    steps = []
    for node in nodes:
        step = _compile_node(node, context, local, visible)
        for name in reads(step):
            if name not in local and name not in visible:
                raise BadModel(f"the node that makes {one_line(step.outputs[:1])} reads {one_line(name, 80)!r}, "
                               "which nothing before it computes")
            if name not in local:
                captured.add(name)
        local.update(step.outputs)
        steps.append(step)
    for name in outputs:
        if name not in local:
            if name not in visible:
                raise BadModel(f"nothing computes the output {one_line(name, 80)!r}")
            captured.add(name)
    _schedule_frees(steps, inputs, outputs)
    return Plan(inputs, outputs, constants, steps, frozenset(captured), context.in_slice)


def reads(step: Step) -> set[str]:
    """The names that a node reads, its bodies' captured ones among them."""
    names = {each for each in step.inputs if each}
    for body in step.bodies.values():
        names |= body.captured
    return names


def _schedule_frees(steps: list[Step], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    alive_at_end = set(outputs)
    seen: set[str] = set()
    mine = {*inputs, *(name for step in steps for name in step.outputs)}
    for step in reversed(steps):
        last = (reads(step) | {each for each in step.outputs if each}) & mine
        step.frees = tuple(sorted(last - seen - alive_at_end))
        seen |= last


def _compile_node(node: onnx.NodeProto, context: Context, local: set[str], visible: frozenset[str]) -> Step:
    domain = "" if node.domain in _DEFAULT_DOMAINS else node.domain
    declared = any(name in context.in_slice for name in node.output)
    inner = replace(context, working=torch.float32) if declared else context
    attributes = _resolved(node, context.given)
    function = context.functions.get((node.domain, node.op_type, node.overload))
    own = onnx.NodeProto()  # a copy: a reference would keep the whole model, weights and all, in memory
    own.op_type, own.domain, own.name = node.op_type, node.domain, node.name
    own.input.extend(node.input)
    own.output.extend(node.output)
    step = Step(own, tuple(node.input), tuple(node.output), context.opsets.get(domain, 0), inner.working)
    if function is not None:
        step.function = _compile_function(function, attributes, inner)
        return step
    schema = _schema(node, domain, step.opset)
    registration = find(domain, node.op_type, step.opset)
    if registration is None and (domain, node.op_type) != ("", "Constant"):
        raise _unsupported(node, step.opset, "no such operator here")
    step.registration = registration
    if schema is not None:
        step.signature = signature_of(schema)
        _check_attributes(node, attributes, schema)
        for name, each in schema.attributes.items():
            if name not in attributes and each.default_value.type != onnx.AttributeProto.UNDEFINED:
                step.attributes[name] = decode(each.default_value, context.base_dir)
    for name, attribute in attributes.items():
        if attribute.type == onnx.AttributeProto.GRAPH:
            step.bodies[name] = compile_graph(attribute.g, inner, visible | local)
            step.attributes[name] = _formal_outputs(attribute.g)
        else:
            step.attributes[name] = decode(attribute, context.base_dir)
    if node.op_type == "Constant" and not domain:
        step.constant = _held(constant_value(step.attributes), node.output[0], inner)
    return step


def _formal_outputs(graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, ...]:
    copies = []
    for each in graph.output:
        copies.append(onnx.ValueInfoProto())
        copies[-1].CopyFrom(each)
    return tuple(copies)


def _resolved(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> dict[str, onnx.AttributeProto]:
    found = {}
    for each in node.attribute:
        if not each.ref_attr_name:
            found[each.name] = each
        elif each.ref_attr_name in given:
            found[each.name] = given[each.ref_attr_name]
    return found


def _compile_function(
    function: onnx.FunctionProto, attributes: Mapping[str, onnx.AttributeProto], context: Context
) -> Plan:
    if context.depth >= _DEEPEST_CALL:
        raise BadModel(f"the function {one_line(function.name, 80)!r} calls itself")
    given = {each.name: each for each in function.attribute_proto} | dict(attributes)
    body = onnx.GraphProto()
    body.node.extend(function.node)
    body.input.extend(onnx.ValueInfoProto(name=each) for each in function.input)
    return _compile(
        list(function.node), tuple(function.input), tuple(function.output), {},
        replace(
            context,
            opsets=dict(context.opsets) | opsets_of(function.opset_import),
            in_slice=shape_slice(body, context.functions.values()),
            given=given,
            depth=context.depth + 1,
        ),
        frozenset(),
    )  # fmt: skip


def _schema(node: onnx.NodeProto, domain: str, opset: int) -> OpSchema | None:
    if domain:
        return find_schema(node, opset)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise _unsupported(node, opset, f"the installed onnx defines opsets up to {newest}")
    schema = find_schema(node, opset)
    if opset < OLDEST_OPSET:
        later = find_schema(node, OLDEST_OPSET)
        if schema is None or later is None or schema.since_version != later.since_version:
            raise _unsupported(node, opset, f"the golden runs opsets from {OLDEST_OPSET} on")
    registered = find("", node.op_type, opset) is not None
    if schema is None and registered:
        return None  # a runtime's own operator that it writes into ONNX's domain
    if schema is None:
        raise _unsupported(node, opset, "ONNX defines no such operator in this opset")
    if schema.deprecated and not registered:
        raise _unsupported(node, opset, f"the operator is deprecated since opset {schema.since_version}")
    return schema


def _unsupported(node: onnx.NodeProto, opset: int, why: str) -> UnsupportedOperator:
    call = Call(node, opset, {}, torch.float32, (), ())
    domain = f"{one_line(node.domain, 80)}." if node.domain not in _DEFAULT_DOMAINS else ""
    return UnsupportedOperator(
        f"the golden can't run {domain}{call.where()} (opset {opset}): {why}",
        op=node.op_type, opset=opset, node=node.name,
    )  # fmt: skip


def _check_attributes(node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto], schema: OpSchema) -> None:
    for name, attribute in attributes.items():
        known: Any = schema.attributes.get(name)
        if known is None:
            raise BadModel(f"{_where(node)}: the operator has no attribute {one_line(name, 80)!r}")
        if attribute.type != int(known.type.value):
            kind = known.type.name
            raise BadModel(f"{_where(node)}: the attribute {one_line(name, 80)!r} is not of its type, {kind}")
    for name, known in schema.attributes.items():
        if known.required and name not in attributes:
            raise BadModel(f"{_where(node)}: the attribute {name!r} is missing")


def _where(node: onnx.NodeProto) -> str:
    return Call(node, 0, {}, torch.float32, (), ()).where()


def decode(attribute: onnx.AttributeProto, base_dir: Path | None = None) -> Any:
    """An attribute's value: int, float, str, list, Value, SparseTensorProto, TypeProto."""
    kind = onnx.AttributeProto
    match attribute.type:
        case kind.FLOAT:
            return attribute.f
        case kind.INT:
            return attribute.i
        case kind.STRING:
            return attribute.s.decode("utf-8", "replace")
        case kind.TENSOR:
            return from_proto(attribute.t, base_dir)
        case kind.SPARSE_TENSOR:
            return attribute.sparse_tensor
        case kind.TYPE_PROTO:
            return attribute.tp
        case kind.FLOATS:
            return list(attribute.floats)
        case kind.INTS:
            return list(attribute.ints)
        case kind.STRINGS:
            return [each.decode("utf-8", "replace") for each in attribute.strings]
        case kind.TENSORS:
            return [from_proto(each, base_dir) for each in attribute.tensors]
        case _:
            raise BadModel(f"the attribute {one_line(attribute.name, 80)!r} has a type that no operator uses")
