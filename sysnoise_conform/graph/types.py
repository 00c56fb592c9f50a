"""The type of every value, found from the operators' schemas; declared types are checked, not believed.

Types are written as ONNX's schemas write them: `tensor(float16)`, `seq(tensor(int64))`. A value whose
type can't be told (behind a vendor's operator) is left out. Shapes are not inferred.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import attribute_of, named, quoted
from sysnoise_conform.graph.wellformed import schema_of

T = TensorProto
_ELEMENTS: dict[int, str] = {number: name.lower() for name, number in T.DataType.items() if number}
_NUMBERS: dict[str, int] = {f"tensor({name})": number for number, name in _ELEMENTS.items()}

Types = ChainMap[str, str]  # a scope, then the scopes around it


def tensor_type(elem_type: int) -> str:
    """`tensor(float)` for TensorProto.FLOAT. Raises BadModel for a number that onnx does not know."""
    if elem_type not in _ELEMENTS:
        raise BadModel(f"a tensor has element type {elem_type}, which onnx does not know")
    return f"tensor({_ELEMENTS[elem_type]})"


def element_type(text: str) -> int:
    """The element type of a dense tensor's type; 0 for an unknown type and for what is no tensor."""
    return _NUMBERS.get(text, 0)


def declared(proto: TypeProto) -> str:
    """The type that a port declares; "" where it declares none. Raises BadModel for an impossible one."""
    match proto.WhichOneof("value"):
        case "tensor_type":
            return tensor_type(proto.tensor_type.elem_type) if proto.tensor_type.elem_type else ""
        case "sequence_type":
            inner = declared(proto.sequence_type.elem_type)
            return f"seq({inner})" if inner else ""
        case "optional_type":
            inner = declared(proto.optional_type.elem_type)
            return f"optional({inner})" if inner else ""
        case "map_type":
            return "map"
        case "sparse_tensor_type":
            return "sparse_tensor"
        case _:
            return ""


def infer(graph: GraphProto, versions: Mapping[str, int], types: Types | None = None) -> Types:
    """The types of all values of a sorted graph; bodies are checked on the way.

    `types` is the scope to fill, empty or holding what is known of the inputs, before those around it.
    Raises BadModel where an operator gets a type that it does not take, and where a declared output type
    is not what comes out.
    """
    types = ChainMap() if types is None else types
    for port in graph.input:
        text = declared(port.type)
        if text:
            types[port.name] = text
    for tensor in graph.initializer:
        types[tensor.name] = tensor_type(tensor.data_type)
    for sparse in graph.sparse_initializer:
        types[sparse.values.name] = tensor_type(sparse.values.data_type)
    for node in graph.node:
        for name, text in zip(node.output, _outputs(node, types, versions), strict=True):
            if name and text:
                types[name] = text
    for port in graph.output:
        text, wanted = types.get(port.name, ""), declared(port.type)
        if text and wanted and text != wanted and f"optional({text})" != wanted:
            raise BadModel(f"output {quoted(port.name)} is declared as {wanted}, but {text} comes out")
    return types


def _outputs(node: NodeProto, types: Types, versions: Mapping[str, int]) -> list[str]:
    """The types of a node's outputs; "" where they can't be told."""
    count = len(node.output)
    bodies = _body_types(node, types, versions)
    schema = schema_of(node, versions)
    if schema is None:
        return [""] * count
    bound = _bind(node, schema, types)
    special = _SPECIAL.get(node.op_type) if schema.domain == "" else None
    if special is not None:
        found = special(node, [types.get(name, "") for name in node.input], bodies)
        return (found + [""] * count)[:count]
    formal = _formal(schema.name, schema.since_version, schema.domain)
    result = []
    for index in range(count):
        parameter = formal.outputs[min(index, len(formal.outputs) - 1)]
        only = formal.allowed.get(parameter, frozenset((parameter,)))
        result.append(bound.get(parameter) or (next(iter(only)) if len(only) == 1 else ""))
    return result


@dataclass(frozen=True, slots=True)
class _Formal:
    """A schema's types: of inputs (with: must all be the same) and outputs, and what each parameter may be."""

    inputs: tuple[tuple[str, bool], ...]
    outputs: tuple[str, ...]
    allowed: Mapping[str, frozenset[str]]


@lru_cache(maxsize=4096)
def _formal(name: str, since: int, domain: str) -> _Formal:
    schema = onnx.defs.get_schema(name, since, domain)
    return _Formal(
        inputs=tuple((each.type_str, bool(each.is_homogeneous)) for each in schema.inputs),
        outputs=tuple(each.type_str for each in schema.outputs),
        allowed={each.type_param_str: frozenset(each.allowed_type_strs) for each in schema.type_constraints},
    )


def _bind(node: NodeProto, schema: onnx.defs.OpSchema, types: Types) -> dict[str, str]:
    """Type parameter -> type, from the inputs. Raises BadModel for a type that the operator does not take."""
    formal = _formal(schema.name, schema.since_version, schema.domain)
    bound: dict[str, str] = {}
    for index, name in enumerate(node.input):
        text = types.get(name, "") if name else ""
        if not text or not formal.inputs:
            continue
        parameter, same = formal.inputs[min(index, len(formal.inputs) - 1)]
        if text not in formal.allowed.get(parameter, {parameter}):
            raise BadModel(
                f"input {quoted(name)} of {named(node)} is {text}, which the operator does not take",
                hint=f"opset {schema.since_version} of {schema.name} takes other types",
            )
        if same and bound.setdefault(parameter, text) != text:
            raise BadModel(f"the inputs of {named(node)} must be of one type; they are {bound[parameter]} and {text}")
    return bound


def _body_types(node: NodeProto, types: Types, versions: Mapping[str, int]) -> list[list[str]]:
    """The types of the outputs of each body that the node carries, in the order of its attributes."""
    found = []
    inputs = [types.get(name, "") for name in node.input]
    if node.op_type == "Loop":
        inputs = ["tensor(int64)", "tensor(bool)", *inputs[2:]]
    for attribute in node.attribute:
        if attribute.type != AttributeProto.GRAPH:
            continue
        body = attribute.g
        inner = types.new_child()
        if node.op_type in ("Loop", "Scan"):
            fed = inputs[-len(body.input) :] if body.input else []  # Scan of opset 8 has one input before those
            inner.update({port.name: text for port, text in zip(body.input, fed, strict=False) if text})
        made = infer(body, versions, inner)
        found.append([made.get(port.name, "") or declared(port.type) for port in body.output])
    return found


Special = Callable[[NodeProto, list[str], list[list[str]]], list[str]]


def _of(name: str, default: int) -> Special:
    """The element type is an integer attribute."""

    def special(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
        attribute = attribute_of(node, name)
        number = attribute.i if attribute is not None else default
        return [tensor_type(number) if number else (inputs[0] if inputs else "")]

    return special


def _constant(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    for each in node.attribute:
        match each.name:
            case "value":
                return [tensor_type(each.t.data_type)]
            case "sparse_value":
                return [tensor_type(each.sparse_tensor.values.data_type)]
            case "value_float" | "value_floats":
                return ["tensor(float)"]
            case "value_int" | "value_ints":
                return ["tensor(int64)"]
            case "value_string" | "value_strings":
                return ["tensor(string)"]
    return ["tensor(float)" if node.op_type == "ConstantOfShape" else ""]


def _quantize(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    output = attribute_of(node, "output_dtype")
    if output is not None and output.i:
        return [tensor_type(output.i)]
    return [inputs[2] if len(inputs) > 2 and inputs[2] else "tensor(uint8)"]


def _dequantize(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    output = attribute_of(node, "output_dtype")
    return [tensor_type(output.i) if output is not None and output.i else (inputs[1] if len(inputs) > 1 else "")]


def _first_body(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    if not bodies:
        return []
    return bodies[0][1:] if node.op_type == "Loop" else bodies[0]


def _element_of_sequence(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    return [inputs[0][4:-1] if inputs[0].startswith("seq(") else ""]


def _sequence_of_first(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    return [f"seq({inputs[0]})" if inputs and inputs[0] else ""]


def _empty_sequence(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    attribute = attribute_of(node, "dtype")
    return [f"seq({tensor_type(attribute.i if attribute is not None else T.FLOAT)})"]


def _optional(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    attribute = attribute_of(node, "type")
    inner = declared(attribute.tp) if attribute is not None else (inputs[0] if inputs else "")
    return [f"optional({inner})" if inner else ""]


def _element_of_optional(node: NodeProto, inputs: list[str], bodies: list[list[str]]) -> list[str]:
    return [inputs[0][9:-1] if inputs[0].startswith("optional(") else inputs[0]]


# Operators of the default domain whose output type the schema's parameters don't give.
_SPECIAL: dict[str, Special] = {
    "BitCast": _of("to", 0),
    "Bernoulli": _of("dtype", 0),
    "BlackmanWindow": _of("output_datatype", T.FLOAT),
    "Cast": _of("to", 0),
    "Constant": _constant,
    "ConstantOfShape": _constant,
    "DequantizeLinear": _dequantize,
    "EyeLike": _of("dtype", 0),
    "HammingWindow": _of("output_datatype", T.FLOAT),
    "HannWindow": _of("output_datatype", T.FLOAT),
    "If": _first_body,
    "Loop": _first_body,
    "MelWeightMatrix": _of("output_datatype", T.FLOAT),
    "Multinomial": _of("dtype", T.INT32),
    "Optional": _optional,
    "OptionalGetElement": _element_of_optional,
    "QuantizeLinear": _quantize,
    "RandomNormal": _of("dtype", T.FLOAT),
    "RandomNormalLike": _of("dtype", 0),
    "RandomUniform": _of("dtype", T.FLOAT),
    "RandomUniformLike": _of("dtype", 0),
    "Scan": _first_body,
    "SequenceAt": _element_of_sequence,
    "ConcatFromSequence": _element_of_sequence,
    "SequenceConstruct": _sequence_of_first,
    "SequenceEmpty": _empty_sequence,
    "SequenceMap": lambda node, inputs, bodies: [f"seq({each})" if each else "" for each in (bodies or [[]])[0]],
    "SplitToSequence": _sequence_of_first,
}
