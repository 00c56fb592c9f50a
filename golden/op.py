"""How an operator is written for the golden: a plain function on torch tensors, registered by name.

    @op("Relu", since=1)
    def relu(call: Call, x: Tensor) -> Tensor:
        return torch.clamp(x, min=0)

What a function sees. Inputs come positionally, an omitted optional input as None, variadic inputs
as further arguments. Floating-point tensors arrive in the *working* dtype of the mode (FLOAT,
FLOAT16, BFLOAT16 and the float8/float4 types as float64 or float32; DOUBLE always as float64);
integers and bools stay what they are (4-bit and 2-bit integers arrive as int8/uint8, unsigned
types that torch barely knows, uint16/32/64, arrive as int32/int64/int64 holding their value, see
`types.py`); strings arrive as numpy object arrays, sequences as lists, an empty optional as None.

What it returns. One tensor, or a tuple for several outputs. The executor finds each output's
declared type from the operator's ONNX schema and rounds to it (FLOAT16 rounds, FLOAT in float64
mode only has its range applied, integers wrap to their width). An output whose type the schema
can't tell (Cast, QuantizeLinear, ...) is returned as `Typed(tensor, elem_type)`.

Two flags of `op` change what a function gets. `moves=True` is for operators that only move or select
elements (Reshape, Gather, MaxPool, ...): inputs come as they are held, FLOAT16 as float16, and the
output is neither rounded nor range-checked. `raw=True` is for control flow and containers: inputs and
outputs are `values.Value`, lists of them, or None. An operator without an ONNX schema (another
domain) declares its outputs by `Typed`; a bare tensor there has the first input's type.

What it raises. `UnsupportedOperator` through `call.unsupported(why)`; `BadModel` through
`call.bad(why)` for what the ONNX text forbids (index out of range, division by zero, impossible
attribute).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import onnx
import torch

from sysnoise_conform.errors import BadModel, UnsupportedOperator
from sysnoise_conform.printable import one_line


@dataclass(frozen=True, slots=True)
class Typed:
    """An output together with its declared ONNX element type (`onnx.TensorProto.FLOAT16`, ...)."""

    data: Any
    elem_type: int


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of one node: attributes, types and what the graph wants of it."""

    node: onnx.NodeProto
    opset: int  # the version of the node's domain that the model imports
    # Decoded: int, float, str, list, TypeProto; a tensor as a `values.Value`, a body as the
    # ValueInfoProtos of its outputs. Defaults come from the schema.
    attributes: dict[str, Any]
    working: torch.dtype  # float64 or float32: what FLOAT is computed in; float64 where an input is DOUBLE
    input_types: tuple[int, ...]  # declared element types; 0 for an omitted or non-tensor input
    outputs_wanted: tuple[bool, ...]  # False where the node leaves the output's name empty
    # Control flow, for `raw` functions: run_graph("body", *inputs) gives the body's outputs.
    run_graph: Callable[..., list[Any]] = field(repr=False, default=lambda *_: [])
    held_float: torch.dtype = torch.float32  # what FLOAT is held in between nodes
    seed: int = 0  # for operators that draw random numbers without a seed attribute

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or `default` where the node does not carry it."""
        return self.attributes.get(name, default)

    def where(self) -> str:
        """The node in words, for messages: op, name, first output."""
        name = self.node.name or (self.node.output[0] if self.node.output else "?")
        return f"{one_line(self.node.op_type, 80)} node {one_line(name, 80)!r}"

    def unsupported(self, why: str) -> NoReturn:
        """The golden does not compute this form of the operator."""
        raise UnsupportedOperator(
            f"the golden can't run {self.where()} (opset {self.opset}): {why}",
            op=self.node.op_type, opset=self.opset, node=self.node.name,
        )

    def bad(self, why: str) -> NoReturn:
        """The ONNX text forbids what this node asks."""
        raise BadModel(f"{self.where()}: {why}", node=self.node.name or next(iter(self.node.output), ""))


Operator = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Registration:
    """A function and the opset versions that it implements, both ends included."""

    run: Operator
    since: int
    until: int | None
    moves: bool = False
    raw: bool = False


_REGISTRY: dict[tuple[str, str], list[Registration]] = {}


def op(
    name: str, *, since: int = 1, until: int | None = None, domain: str = "", moves: bool = False, raw: bool = False,
) -> Callable[[Operator], Operator]:
    """Register the decorated function for `domain`'s operator `name`, opsets `since` to `until`."""

    def register(run: Operator) -> Operator:
        _REGISTRY.setdefault((domain, name), []).append(Registration(run, since, until, moves, raw))
        return run

    return register


def find(domain: str, name: str, opset: int) -> Registration | None:
    """What is registered for this operator at this opset, or None."""
    for each in _REGISTRY.get((domain, name), []):
        if each.since <= opset and (each.until is None or opset <= each.until):
            return each
    return None


def known() -> dict[tuple[str, str], list[Registration]]:
    """Everything registered so far, by (domain, operator)."""
    return dict(_REGISTRY)
