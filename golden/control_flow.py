"""If, Loop and Scan: bodies that run, with the names of the graphs around them in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.types import HELD, T
from sysnoise_conform.golden.values import Value, from_numpy


def _truth(call: Call, condition: Value) -> bool:
    if condition.data.numel() != 1:
        call.bad(f"its condition has {condition.data.numel()} elements")
    return bool(condition.data.reshape(()))


@op("If", raw=True)
def if_(call: Call, condition: Value) -> tuple[Any, ...]:
    """The outputs of the branch that the condition chooses."""
    return tuple(call.run_graph("then_branch" if _truth(call, condition) else "else_branch"))


@op("Loop", raw=True)
def loop(call: Call, trips: Value | None, condition: Value | None, *carried: Any) -> tuple[Any, ...]:
    """The carried values after the last iteration, then what each iteration yielded, stacked."""
    most = None if trips is None else int(trips.data.reshape(()))
    going = Value(torch.tensor(True), T.BOOL) if condition is None else condition
    state: list[Any] = list(carried)
    formal: Sequence[onnx.ValueInfoProto] = call.get("body")
    yielded: list[list[Value]] = [[] for _ in formal[1 + len(state) :]]
    iteration = 0
    while (most is None or iteration < most) and _truth(call, going):
        count = Value(torch.tensor(iteration, dtype=torch.int64), T.INT64)
        going, *rest = call.run_graph("body", count, going, *state)
        state = rest[: len(state)]
        for collected, each in zip(yielded, rest[len(state) :], strict=True):
            collected.append(each)
        iteration += 1
    scans = [
        stacked(each, 0) if each else _nothing(call, declared)
        for each, declared in zip(yielded, formal[1 + len(carried) :], strict=True)
    ]
    return (*state, *scans)


def _nothing(call: Call, declared: onnx.ValueInfoProto) -> Value:
    """What a loop without iterations yields: no rows of the declared shape, unknown sizes as 0."""
    kind = declared.type.tensor_type
    if kind.elem_type == T.STRING:
        return Value(np.empty((0,), dtype=object), T.STRING)
    if kind.elem_type not in HELD:
        call.unsupported("it makes no iteration and does not declare the type of what it would yield")
    dtype = call.held_float if kind.elem_type == T.FLOAT else HELD[kind.elem_type]
    return Value(torch.empty((0, *(each.dim_value for each in kind.shape.dim)), dtype=dtype), kind.elem_type)


def stacked(values: Sequence[Value], axis: int) -> Value:
    """The tensors stacked along a new axis; the wider dtype wins where FLOAT is held in two."""
    if isinstance(values[0].data, np.ndarray):
        return Value(np.stack([each.data for each in values], axis), T.STRING)
    widest = values[0].data.dtype
    for each in values[1:]:
        widest = torch.promote_types(widest, each.data.dtype)
    return Value(torch.stack([each.data.to(widest) for each in values], axis), values[0].elem_type)


def _slice(value: Value, axis: int, place: int) -> Value:
    if isinstance(value.data, np.ndarray):
        return from_numpy(np.asarray(np.take(value.data, place, axis), dtype=object), T.STRING)
    return Value(value.data.select(axis, place), value.elem_type)


def _axes(call: Call, name: str, count: int) -> list[int]:
    given = call.get(name)
    if given is None:
        return [0] * count
    if len(given) != count:
        call.bad(f"`{name}` has {len(given)} entries, {count} are needed")
    return list(given)


def _scanned(
    call: Call, states: list[Any], sequences: Sequence[Value], axes: Sequence[int], backward: Sequence[int],
    out_axes: Sequence[int], out_backward: Sequence[int],
) -> list[Any]:  # fmt: skip
    lengths = {int(each.data.shape[axis]) for each, axis in zip(sequences, axes, strict=True)}
    if len(lengths) != 1:
        call.bad(f"its scan inputs differ in length: {sorted(lengths)}")
    length = lengths.pop()
    formal = call.get("body")
    yielded: list[list[Value]] = [[] for _ in out_axes]
    for step in range(length):
        parts = [
            _slice(each, axis, length - 1 - step if back else step)
            for each, axis, back in zip(sequences, axes, backward, strict=True)
        ]
        results = call.run_graph("body", *states, *parts)
        states = results[: len(states)]
        for collected, each in zip(yielded, results[len(states) :], strict=True):
            collected.append(each)
    scans = []
    for position, collected in enumerate(yielded):
        if not collected:
            scans.append(_nothing(call, formal[len(states) + position]))
            continue
        axis = out_axes[position]
        rank = np.ndim(collected[0].data) + 1
        if not -rank <= axis < rank:
            call.bad(f"an entry of `scan_output_axes` is {axis}, the output has rank {rank}")
        scans.append(stacked(collected[::-1] if out_backward[position] else collected, axis))
    return [*states, *scans]


@op("Scan", since=9, raw=True)
def scan(call: Call, *inputs: Any) -> tuple[Any, ...]:
    """The states after the last slice, then what each slice yielded, stacked."""
    count = call.get("num_scan_inputs")
    if not 0 < count <= len(inputs):
        call.bad(f"`num_scan_inputs` is {count}, it has {len(inputs)} inputs")
    states, sequences = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    outputs = len(call.get("body")) - len(states)
    axes = _axes(call, "scan_input_axes", count)
    for axis, each in zip(axes, sequences, strict=True):
        rank = np.ndim(each.data)
        if not -rank <= axis < rank:
            call.bad(f"an entry of `scan_input_axes` is {axis}, the input has rank {rank}")
    return tuple(
        _scanned(
            call, states, sequences, axes, _axes(call, "scan_input_directions", count),
            _axes(call, "scan_output_axes", outputs), _axes(call, "scan_output_directions", outputs),
        )
    )  # fmt: skip


@op("Scan", until=8, raw=True)
def scan_over_batches(call: Call, lengths: Value | None, *inputs: Any) -> tuple[Any, ...]:
    """The first form of Scan: every input has the batch in front, and axis 1 is scanned."""
    count = call.get("num_scan_inputs")
    states, sequences = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
    batch, length = sequences[0].data.shape[:2]
    if lengths is not None and bool((lengths.data != length).any()):
        call.unsupported("`sequence_lens` shorter than the sequences")
    outputs = len(call.get("body")) - len(states)
    backward = _axes(call, "directions", count)
    rows = [
        _scanned(
            call, [_slice(each, 0, row) for each in states], [_slice(each, 0, row) for each in sequences],
            [0] * count, backward, [0] * outputs, [0] * outputs,
        )
        for row in range(batch)
    ]  # fmt: skip
    return tuple(stacked([row[position] for row in rows], 0) for position in range(len(rows[0])))
