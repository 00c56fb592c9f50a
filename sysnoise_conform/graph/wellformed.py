"""What the ONNX text says of names, attributes and operators, checked before any native code sees the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.carried import check_bodies
from sysnoise_conform.graph.choices import check_words
from sysnoise_conform.graph.container import VENDOR_DOMAINS, plain_domain
from sysnoise_conform.graph.stored import check_sparse, check_texts
from sysnoise_conform.graph.walk import bodies, named, quoted
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

MAX_NODES = 500_000
MAX_DENSE = 1 << 30  # bytes of all sparse tensors: everybody makes them dense, and a file of 100 bytes can claim 2**62
MAX_DEPTH = 40  # nested bodies; OpenVINO's compile time is exponential in it
KNOWN_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training")

Key = tuple[str, str, str]  # domain, name, overload of a model-local function

_FIELD: dict[int, str] = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s", AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g", AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings", AttributeProto.TENSORS: "tensors", AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor", AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTO: "tp", AttributeProto.TYPE_PROTOS: "type_protos",
}  # fmt: skip

# Window arithmetic is done in 32 bits by every runtime, and divides by the stride and the group.
_LARGEST = (1 << 31) - 1
_LOWEST = {"strides": 1, "dilations": 1, "kernel_shape": 1, "group": 1, "pads": -_LARGEST, "output_padding": 0}


def function_key(node: NodeProto) -> Key:
    """The function that a node would call."""
    return plain_domain(node.domain), node.op_type, getattr(node, "overload", "")


class Checker:
    """Checks graphs of one model: `versions` are its opset imports, `functions` its model-local functions."""

    def __init__(
        self, versions: Mapping[str, int], functions: Iterable[Key] = (), *, in_function: bool = False
    ) -> None:
        self._versions = versions
        self._functions = frozenset(functions)
        self._in_function = in_function
        self._nodes = 0
        self._dense = 0

    def graph(self, graph: GraphProto, depth: int = 0) -> None:
        """Check names, nodes and bodies. Raises BadModel."""
        check_names(_graph_names(graph), f"graph {quoted(graph.name)}")
        for sparse in graph.sparse_initializer:
            self._sparse(sparse, f"initializer {quoted(sparse.values.name)}")
        self.nodes(graph.node, depth)

    def nodes(self, nodes: Iterable[NodeProto], depth: int = 0) -> None:
        """Check the nodes of a graph or function. Raises BadModel."""
        if depth > MAX_DEPTH:
            raise BadModel(f"bodies of If, Loop and Scan are nested more than {MAX_DEPTH} deep")
        for node in nodes:
            self._nodes += 1
            if self._nodes > MAX_NODES:
                raise BadModel(f"the model has more than {MAX_NODES:,} nodes")
            overload = getattr(node, "overload", "")
            check_names((node.name, node.op_type, node.domain, overload, *node.input, *node.output), named(node))
            for attribute in node.attribute:
                self.attribute(attribute, named(node))
                if attribute.ref_attr_name and not self._in_function:
                    raise BadModel(f"{named(node)} refers to a function's attribute, but stands in no function")
            names = [each.name for each in node.attribute]
            if len(set(names)) != len(names):
                raise BadModel(f"{named(node)} carries an attribute twice")
            if function_key(node) not in self._functions:
                self._against_schema(node)
                _check_windows(node)
            for body in bodies(node):
                self.graph(body, depth + 1)

    def attribute(self, attribute: AttributeProto, owner: str) -> None:
        """Check that an attribute holds a value of the type that it says, and nothing else. Raises BadModel."""
        check_names((attribute.name, attribute.ref_attr_name), f"an attribute of {owner}")
        where = f"attribute {quoted(attribute.name)} of {owner}"
        wanted = _FIELD.get(attribute.type)
        if wanted is None:
            raise BadModel(f"{where} has no type")
        filled = {field.name for field, _ in attribute.ListFields()} & set(_FIELD.values())
        if filled - {wanted}:
            raise BadModel(f"{where} holds a value of another type than it says")
        if attribute.ref_attr_name and filled:
            raise BadModel(f"{where} both has a value and refers to a function's attribute")
        if attribute.type in (AttributeProto.STRING, AttributeProto.STRINGS):
            check_texts((attribute.s, *attribute.strings), where)
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for each in (*sparse, *attribute.sparse_tensors):
            self._sparse(each, where)

    def _sparse(self, sparse: SparseTensorProto, where: str) -> None:
        self._dense += check_sparse(sparse, where)
        if self._dense > MAX_DENSE:
            raise BadModel(
                f"{where}: the model's sparse tensors take more than {MAX_DENSE:,} bytes when they are dense"
            )

    def _against_schema(self, node: NodeProto) -> None:
        schema = schema_of(node, self._versions)
        if schema is None:
            return
        for what, count, least, most in (
            ("inputs", len(node.input), schema.min_input, schema.max_input),
            ("outputs", len(node.output), schema.min_output, schema.max_output),
        ):
            if not least <= count <= most:
                raise BadModel(f"{named(node)} has {count} {what}; the operator takes {_span(least, most)}")
        required = _required_inputs(schema.name, schema.since_version, schema.domain)
        for place, name in enumerate(node.input):
            if not name and required[min(place, len(required) - 1)]:
                raise BadModel(f"{named(node)} leaves out its input {place}, which its operator needs")
        check_bodies(node, self._versions.get("", 0))
        formal = _formal_attributes(schema.name, schema.since_version, schema.domain)
        given = {each.name: each.type for each in node.attribute}
        for name, got in given.items():
            if name not in formal:
                raise BadModel(f"{named(node)} has the attribute {quoted(name)}, which its operator does not know")
            wanted, _ = formal[name]
            if got != wanted:
                words = [AttributeProto.AttributeType.Name(each) for each in (got, wanted)]
                raise BadModel(
                    f"attribute {quoted(name)} of {named(node)} is {words[0]}; the operator takes {words[1]}"
                )
        for name, (_, needed) in formal.items():
            if needed and name not in given:
                raise BadModel(f"{named(node)} lacks the attribute {name!r}, which its operator needs")
        check_words(node)


def schema_of(node: NodeProto, versions: Mapping[str, int]) -> onnx.defs.OpSchema | None:
    """The operator's schema at the imported version; None for a vendor's. Raises BadModel for an unknown one."""
    domain = plain_domain(node.domain)
    if domain not in versions:
        raise BadModel(f"{named(node)} is of domain {one_line(domain or 'ai.onnx', 60)!r}, which is not imported")
    if domain in VENDOR_DOMAINS:  # no schemas here; the backends and the golden know which operators they have
        return None
    if domain not in KNOWN_DOMAINS:
        raise BadModel(
            f"{named(node)} is of the unknown domain {one_line(domain, 60)!r}",
            hint="a custom operator needs a model-local function to be understood",
        )
    try:
        return _schema(node.op_type, versions[domain], domain)
    except onnx.defs.SchemaError as err:
        known = {each.name for each in onnx.defs.get_all_schemas() if each.domain == domain}
        raise BadModel(
            f"{named(node)}: {domain or 'ai.onnx'} has no such operator at version {versions[domain]}",
            hint=nearest(node.op_type, known) if node.op_type not in known else "the model imports too old a version",
        ) from err


@lru_cache(maxsize=4096)
def _schema(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(op_type, version, domain)


@lru_cache(maxsize=4096)
def _formal_attributes(op_type: str, since: int, domain: str) -> dict[str, tuple[int, bool]]:
    """Name -> (type, required)."""
    found = {}
    for name, each in onnx.defs.get_schema(op_type, since, domain).attributes.items():
        kind = each.type.value  # type: ignore[attr-defined]  # an enum, which its stub does not say
        found[name] = (int(kind), bool(each.required))
    return found


@lru_cache(maxsize=4096)
def _required_inputs(op_type: str, since: int, domain: str) -> tuple[bool, ...]:
    """For each formal input whether it must be given; the last stands for all further ones."""
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return tuple(each.option != optional for each in onnx.defs.get_schema(op_type, since, domain).inputs)


def _span(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"{least} or more" if most > 1_000_000 else f"{least} to {most}"


def _check_windows(node: NodeProto) -> None:
    for attribute in node.attribute:
        lowest = _LOWEST.get(attribute.name)
        if lowest is None:
            continue
        values = list(attribute.ints) if attribute.type == AttributeProto.INTS else [attribute.i]
        if attribute.type in (AttributeProto.INT, AttributeProto.INTS) and not attribute.ref_attr_name:
            wrong = [each for each in values if not lowest <= each <= _LARGEST]
            if wrong:
                raise BadModel(f"{named(node)} has {attribute.name} {values[:8]}: {wrong[0]} is impossible")


def _graph_names(graph: GraphProto) -> Iterator[object]:
    yield graph.name
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for port in (*graph.input, *graph.output, *graph.value_info):
        yield port.name
        if port.type.HasField("tensor_type"):
            yield from (dim.dim_param for dim in port.type.tensor_type.shape.dim)


def check_names(names: Iterable[object], where: str) -> None:
    """Raise BadModel unless every name is text."""
    for name in names:
        if not isinstance(name, str):  # protobuf hands over bytes that are no UTF-8 as they are
            raise BadModel(f"{where}: the name {one_line(name, 80)} is not UTF-8", hint="export the model again")
