"""Which element types a node's outputs have, by its ONNX schema and the types of its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import onnx
from onnx.defs import OpSchema

from sysnoise_conform.golden.types import T, type_name

_BY_TEXT = {f"tensor({name.lower()})": number for name, number in T.DataType.items()}
_OPTIONAL = re.compile(r"optional\((.*)\)")  # a full one is held as what is in it


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of an operator's formal inputs and outputs.

    Each entry is a type variable (`T`) or a type's text (`tensor(int64)`). `allowed` holds the element types that an
    input's entry allows, `fixed` resolves those that allow one alone. The last of a variadic list stands for all
    further ones.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variadic_input: bool
    homogeneous: bool  # a variadic input's tensors share one type
    fixed: dict[str, int]
    allowed: dict[str, frozenset[int]]

    def mismatch(self, input_types: tuple[int, ...]) -> str | None:
        """Why these input types contradict the schema, or None."""
        bound: dict[str, int] = {}
        for position, elem_type in enumerate(input_types):
            variable = self._input(position)
            if not elem_type or variable is None:
                continue
            if elem_type not in self.allowed[variable]:
                return f"its input {position} is {type_name(elem_type)}, which the operator does not take"
            first = bound.setdefault(variable, elem_type)
            if first != elem_type:
                return f"its inputs of type {variable} are {type_name(first)} and {type_name(elem_type)}"
        if len(input_types) > len(self.inputs) and not self.variadic_input:
            return f"it has {len(input_types)} inputs, the operator takes {len(self.inputs)}"
        return None

    def output_types(self, input_types: tuple[int, ...], count: int) -> tuple[int | None, ...]:
        """The declared element type of each of `count` outputs; None where the schema leaves it open."""
        bound = dict(self.fixed)
        for position, elem_type in enumerate(input_types):
            variable = self._input(position)
            if elem_type and variable is not None:
                bound.setdefault(variable, elem_type)
        last = len(self.outputs) - 1
        return tuple(bound.get(self.outputs[min(each, last)]) if last >= 0 else None for each in range(count))

    def _input(self, position: int) -> str | None:
        if position < len(self.inputs) - 1 or (position < len(self.inputs) and not self.variadic_input):
            return self.inputs[position]
        if self.variadic_input and self.homogeneous:
            return self.inputs[-1]
        return None


def signature_of(schema: OpSchema) -> Signature:
    """The signature that an ONNX schema describes."""
    return _signature(schema.name, schema.since_version, schema.domain)


@lru_cache(maxsize=4096)
def _signature(name: str, since: int, domain: str) -> Signature:
    schema = onnx.defs.get_schema(name, since, domain)
    variadic = bool(schema.inputs) and schema.inputs[-1].option == OpSchema.FormalParameterOption.Variadic
    allowed = {each.type_param_str: list(each.allowed_type_strs) for each in schema.type_constraints}
    fixed = {}
    for formal in (*schema.inputs, *schema.outputs):
        texts = allowed.get(formal.type_str, [formal.type_str])
        if len(texts) == 1 and texts[0] in _BY_TEXT:
            fixed[formal.type_str] = _BY_TEXT[texts[0]]
    return Signature(
        inputs=tuple(each.type_str for each in schema.inputs),
        outputs=tuple(each.type_str for each in schema.outputs),
        variadic_input=variadic,
        homogeneous=variadic and schema.inputs[-1].is_homogeneous,
        fixed=fixed,
        allowed={
            each.type_str: _tensor_types(allowed.get(each.type_str, [each.type_str])) for each in schema.inputs
        },
    )


def _tensor_types(texts: Iterable[str]) -> frozenset[int]:
    plain = (_OPTIONAL.sub(r"\1", each) for each in texts)
    return frozenset(_BY_TEXT[each] for each in plain if each in _BY_TEXT)


def find_schema(node: onnx.NodeProto, opset: int) -> OpSchema | None:
    """The operator's schema at this opset; None where onnx defines none (or only a newer one)."""
    try:
        return onnx.defs.get_schema(node.op_type, opset, "" if node.domain == "ai.onnx" else node.domain)
    except onnx.defs.SchemaError:
        return None
