"""Runs an ONNX graph with torch, operator by operator, in float64 or float32."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.errors import BadInput, BadModel, UnsupportedOperator
from sysnoise_conform.golden import families as _families  # noqa: F401  registers every operator
from sysnoise_conform.golden.op import Call, Typed
from sysnoise_conform.golden.plan import Plan, Step, compile_model, reads
from sysnoise_conform.golden.types import FLOATS, T, type_name
from sysnoise_conform.golden.values import Value, as_working, from_numpy, settle, to_numpy
from sysnoise_conform.printable import one_line

__all__ = ["Disturbance", "Executor", "Listener", "Mode", "Value", "to_numpy"]

Anything = Value | list[Any] | None  # a tensor, a sequence or an optional
Listener = Callable[[onnx.NodeProto, Sequence[Anything], str, Value], None]
Disturbance = Callable[[str, Value], Value]
Bindings = dict[str, Anything]


class Mode(enum.Enum):
    """What FLOAT tensors are computed in."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"

    @property
    def dtype(self) -> torch.dtype:
        """The mode's working dtype."""
        return torch.float64 if self is Mode.FLOAT64 else torch.float32


class Executor:
    """A model, compiled once, that runs any number of times.

    In FLOAT64 mode FLOAT tensors keep float64's digits, but not its range: what overflows float32 is
    Inf. Declared FLOAT16, BFLOAT16 and quantised types are rounded to, DOUBLE is float64 in both modes,
    integers wrap, and the shape slice is computed in its declared types.

    Raises UnsupportedOperator for an operator, opset or form that the golden does not have, and
    BadModel for what ONNX forbids.
    """

    def __init__(self, model: onnx.ModelProto, mode: Mode, *, base_dir: Path | None = None) -> None:
        self.mode = mode
        with torch.inference_mode():
            self._plan = compile_model(model, mode.dtype, base_dir)
        self._inputs = {each.name: each.type for each in model.graph.input}
        for name in self._plan.constants:
            self._inputs.pop(name, None)
        self._defaults = {each.name: each.type for each in model.graph.input if each.name in self._plan.constants}
        self._slice = self._plan.in_slice

    def run(
        self, feeds: Mapping[str, np.ndarray[Any, Any]], *, listen: Listener | None = None,
        keep: Collection[str] | None = None, disturb: Disturbance | None = None,
    ) -> dict[str, Anything]:  # fmt: skip
        """The graph's outputs by name, and the tensors named in `keep`.

        `listen(node, inputs, name, value)` is called for each tensor output of each node of the main graph
        as it is computed. A tensor is freed after its last reader unless it is an output or kept. What
        `disturb(name, value)` returns takes the place of such an output, outside of the shape slice.
        """
        wanted = dict.fromkeys([*self._plan.outputs, *(keep or ())])
        known = {*self._plan.constants, *self._inputs, *(name for step in self._plan.steps for name in step.outputs)}
        for name in wanted:
            if name not in known:
                raise BadInput(f"the model has no tensor {one_line(name, 80)!r}")
        with torch.inference_mode():
            bindings = dict(self._plan.constants) | self._bind(feeds)
            _run_plan(self._plan, bindings, listen=listen, disturb=disturb, keep=frozenset(keep or ()))
        return {name: bindings[name] for name in wanted}

    def follow(self, known: Mapping[str, Anything], changed: Mapping[str, Value]) -> dict[str, Anything]:
        """The graph's outputs where the tensors `changed` are others than in `known`, which holds all tensors of a run.

        Only what is computed from them is computed again.
        """
        stale = set(changed)
        with torch.inference_mode():
            bindings = {**self._plan.constants, **known, **changed}
            for step in self._plan.steps:
                if stale.isdisjoint(reads(step)):
                    continue
                outputs = _run_step(step, [bindings[name] if name else None for name in step.inputs], bindings)
                for name, value in zip(step.outputs, outputs, strict=False):
                    if name and name not in changed:
                        bindings[name] = value
                        stale.add(name)
        return {name: bindings[name] for name in self._plan.outputs}

    def _bind(self, feeds: Mapping[str, Any]) -> Bindings:
        for name in feeds:
            if name not in self._inputs and name not in self._defaults:
                raise BadInput(f"the model has no input {one_line(name, 80)!r}",
                               hint=f"its inputs are {one_line(', '.join(self._inputs))}")
        bound: Bindings = {}
        for name, kind in {**self._inputs, **self._defaults}.items():
            if name in feeds:
                bound[name] = self._convert(name, feeds[name], kind)
            elif name in self._inputs:
                if kind.WhichOneof("value") != "optional_type":
                    raise BadInput(f"the input {one_line(name, 80)!r} is missing")
                bound[name] = None
        return bound

    def _convert(self, name: str, given: Any, kind: onnx.TypeProto) -> Anything:
        match kind.WhichOneof("value"):
            case "optional_type":
                return None if given is None else self._convert(name, given, kind.optional_type.elem_type)
            case "sequence_type":
                return [self._convert(name, each, kind.sequence_type.elem_type) for each in given]
            case "tensor_type":
                return self._tensor(name, np.asarray(given), kind.tensor_type)
            case _:
                raise UnsupportedOperator(f"the input {one_line(name, 80)!r} is neither tensor, sequence nor optional")

    def _tensor(self, name: str, array: np.ndarray[Any, Any], kind: onnx.TypeProto.Tensor) -> Value:
        elem_type = kind.elem_type
        if elem_type == T.STRING:
            if array.dtype.kind not in "OSU":
                raise BadInput(f"the input {one_line(name, 80)!r} is {array.dtype}, the model declares STRING")
        elif array.dtype != tensor_dtype_to_np_dtype(elem_type):
            raise BadInput(
                f"the input {one_line(name, 80)!r} is {array.dtype}, the model declares {type_name(elem_type)}",
                hint=f"convert it to {tensor_dtype_to_np_dtype(elem_type)}",
            )
        if kind.HasField("shape"):
            # Some exporters write -1 or 0 for a size that they leave open.
            dims = [each.dim_value if each.dim_value > 0 else None for each in kind.shape.dim]
            if len(dims) != array.ndim or any(
                want is not None and want != got for want, got in zip(dims, array.shape, strict=True)
            ):
                text = ", ".join("?" if each is None else str(each) for each in dims)
                raise BadInput(
                    f"the input {one_line(name, 80)!r} has the shape {array.shape}, the model declares ({text})"
                )
        value = from_numpy(array, elem_type)
        if elem_type == T.FLOAT and name not in self._slice:
            return Value(value.data.to(self.mode.dtype), elem_type)
        return value


def _run_plan(
    plan: Plan, bindings: Bindings, *, listen: Listener | None = None, disturb: Disturbance | None = None,
    keep: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Compute everything into `bindings`, freeing what nobody reads any more."""
    for step in plan.steps:
        inputs = [bindings[name] if name else None for name in step.inputs]
        outputs = _run_step(step, inputs, bindings)
        for name, value in zip(step.outputs, outputs, strict=False):
            if name:
                if disturb is not None and isinstance(value, Value) and name not in plan.in_slice:
                    value = disturb(name, value)
                bindings[name] = value
                if listen is not None and isinstance(value, Value):
                    listen(step.node, inputs, name, value)
        del inputs, outputs
        for name in step.frees:
            if name not in keep:
                bindings.pop(name, None)


def _run_body(plan: Plan, inputs: Sequence[Anything], around: Bindings) -> list[Anything]:
    bindings = {name: around[name] for name in plan.captured} | plan.constants
    bindings |= dict(zip(plan.inputs, [*inputs, *([None] * (len(plan.inputs) - len(inputs)))], strict=True))
    _run_plan(plan, bindings)
    return [bindings[name] for name in plan.outputs]


def _run_step(step: Step, inputs: list[Anything], bindings: Bindings) -> Sequence[Anything]:
    if step.constant is not None:
        return (step.constant,)
    if step.function is not None:
        return _run_body(step.function, inputs, {})
    types = tuple(each.elem_type if isinstance(each, Value) else 0 for each in inputs)
    prepared = step.prepared.get(types)
    if prepared is None:
        prepared = step.prepared[types] = _prepare(step, types)
    call, output_types = prepared
    assert step.registration is not None
    try:
        if step.registration.raw:
            if step.bodies:
                bodies = step.bodies
                call = replace(call, run_graph=lambda name, *given: _run_body(bodies[name], given, bindings))
            results = step.registration.run(call, *inputs)
            return results if isinstance(results, tuple) else (results,)
        moves = step.registration.moves
        working = call.held_float if moves else call.working
        results = step.registration.run(call, *(_opened(each, working, moves) for each in inputs))
        if not isinstance(results, tuple):
            results = (results,)
        return [
            _closed(result, output_types[position], types, call, moves)
            for position, result in enumerate(results[: len(step.outputs)])
        ]
    except NotImplementedError as error:
        call.unsupported(one_line(_first_line(error)))
    except (RuntimeError, IndexError, ValueError) as error:
        if "not implemented for" in str(error):
            call.unsupported(one_line(_first_line(error)))
        if "allocate memory" in str(error):
            raise MemoryError(f"{call.where()}: {_first_line(error)}") from error
        raise BadModel(
            f"{call.where()}: {one_line(_first_line(error))}", node=call.node.name or next(iter(call.node.output), "")
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _prepare(step: Step, types: tuple[int, ...]) -> tuple[Call, tuple[int | None, ...]]:
    call = Call(
        node=step.node,
        opset=step.opset,
        attributes=step.attributes,
        working=torch.float64 if T.DOUBLE in types else step.working,
        input_types=types,
        outputs_wanted=tuple(bool(name) for name in step.outputs),
        seed=zlib.crc32((step.outputs[0] if step.outputs else "").encode()),
        held_float=step.working,
    )
    if step.signature is None:
        return call, tuple(types[0] if types else None for _ in step.outputs)
    why = step.signature.mismatch(types)
    if why is not None:
        call.bad(why)
    return call, step.signature.output_types(types, len(step.outputs))


def _opened(value: Anything, working: torch.dtype, moves: bool) -> Any:
    """What an operator's function gets for an input."""
    if not isinstance(value, Value):
        return value
    if value.elem_type in FLOATS and (not moves or value.elem_type == T.FLOAT):
        return as_working(value, working)
    return value.data


def _closed(result: Any, elem_type: int | None, types: tuple[int, ...], call: Call, moves: bool) -> Anything:
    """What an operator's function gave, as it is held between nodes."""
    if isinstance(result, Typed):
        result, elem_type = result.data, result.elem_type
    elif isinstance(result, Value) or result is None or isinstance(result, list):
        return result
    elif isinstance(result, np.ndarray):
        elem_type = T.STRING
    if elem_type is None:
        raise TypeError(f"{call.where()}: the schema leaves the output's type open and the function does not tell it")
    if elem_type == T.STRING:
        return Value(result, T.STRING)
    if moves and elem_type in types:
        return Value(result, elem_type)
    return Value(settle(result, elem_type, call.held_float), elem_type)
