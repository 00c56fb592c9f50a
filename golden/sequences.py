"""Sequences (lists of tensors) and optionals (a value or None)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sysnoise_conform.golden.control_flow import stacked
from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.shaping import axis_of, ints, shape_of
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.values import Value

Sequence = list[Any]


def _place(call: Call, position: Value | None, length: int, *, end: bool) -> int:
    """A position counted from the front; `end` allows the place behind the last element."""
    if position is None:
        return length if end else length - 1
    place = int(position.data.reshape(()))
    if not -length <= place < length + (1 if end else 0):
        call.bad(f"the position {place} is out of range, the sequence has {length} elements")
    return place + length if place < 0 else place


@op("SequenceEmpty", raw=True)
def sequence_empty(call: Call) -> Sequence:
    """A sequence without elements."""
    return []


@op("SequenceConstruct", raw=True)
def sequence_construct(call: Call, *inputs: Value) -> Sequence:
    """A sequence of the inputs."""
    return list(inputs)


@op("SequenceAt", raw=True)
def sequence_at(call: Call, sequence: Sequence, position: Value) -> Any:
    """One element."""
    return sequence[_place(call, position, len(sequence), end=False)]


@op("SequenceInsert", raw=True)
def sequence_insert(call: Call, sequence: Sequence, tensor: Value, position: Value | None = None) -> Sequence:
    """A sequence with one more element, by default at the end."""
    place = _place(call, position, len(sequence), end=True)
    return [*sequence[:place], tensor, *sequence[place:]]


@op("SequenceErase", raw=True)
def sequence_erase(call: Call, sequence: Sequence, position: Value | None = None) -> Sequence:
    """A sequence without one element, by default the last."""
    place = _place(call, position, len(sequence), end=False)
    if not sequence:
        call.bad("the sequence is empty")
    return [*sequence[:place], *sequence[place + 1 :]]


@op("SequenceLength", raw=True)
def sequence_length(call: Call, sequence: Sequence) -> Value:
    """The number of elements."""
    return Value(torch.tensor(len(sequence), dtype=torch.int64), T.INT64)


@op("SequenceMap", raw=True)
def sequence_map(call: Call, sequence: Sequence, *others: Any) -> tuple[Any, ...]:
    """The body's outputs for each element, as one sequence per output; tensors are given to each."""
    if any(isinstance(each, list) and len(each) != len(sequence) for each in others):
        call.bad("its sequences differ in length")
    rows = [
        call.run_graph("body", element, *(each[row] if isinstance(each, list) else each for each in others))
        for row, element in enumerate(sequence)
    ]
    return tuple([row[position] for row in rows] for position in range(len(call.get("body"))))


@op("ConcatFromSequence", raw=True)
def concat_from_sequence(call: Call, sequence: Sequence) -> Value:
    """The elements one after another along `axis`, or stacked along a new one."""
    if not sequence:
        call.bad("the sequence is empty")
    rank = np.ndim(sequence[0].data)
    if call.get("new_axis", 0):
        return stacked(sequence, axis_of(call, call.get("axis"), rank + 1))
    axis = axis_of(call, call.get("axis"), rank)
    if isinstance(sequence[0].data, np.ndarray):
        return Value(np.concatenate([each.data for each in sequence], axis), T.STRING)
    return Value(torch.cat([each.data for each in sequence], axis), sequence[0].elem_type)


@op("SplitToSequence", raw=True)
def split_to_sequence(call: Call, x: Value, lengths: Value | None = None) -> Sequence:
    """Parts of a tensor along `axis` as a sequence; without lengths single slices."""
    axis = axis_of(call, call.get("axis", 0), len(shape_of(x.data)))
    total = shape_of(x.data)[axis]
    if lengths is None:
        parts = [1] * total
    elif np.ndim(lengths.data) == 0:
        size = int(lengths.data)
        if size < 1:
            call.bad(f"`split` is {size}")
        parts = [size] * (total // size) + ([total % size] if total % size else [])
    else:
        parts = ints(lengths.data) or []
        if sum(parts) != total or any(each < 0 for each in parts):
            call.bad(f"it can't split {total} into {parts}")
    pieces: list[Any]
    if isinstance(x.data, np.ndarray):
        pieces = np.split(x.data, np.cumsum(parts)[:-1], axis) if parts else []
    else:
        pieces = list(torch.split(x.data, parts, axis)) if parts else []
    if lengths is None and not call.get("keepdims", 1):
        pieces = [each.squeeze(axis) for each in pieces]
    return [Value(each, x.elem_type) for each in pieces]


@op("Optional", raw=True)
def optional(call: Call, x: Any = None) -> Any:
    """An optional that holds the input, or nothing."""
    return x


@op("OptionalHasElement", raw=True)
def optional_has_element(call: Call, x: Any = None) -> Value:
    """Whether there is a value."""
    return Value(torch.tensor(x is not None), T.BOOL)


@op("OptionalGetElement", raw=True)
def optional_get_element(call: Call, x: Any) -> Any:
    """The value of an optional that has one."""
    if x is None:
        call.bad("the optional is empty")
    return x
