"""Pad: constant, reflected, repeated or wrapped borders; negative pads crop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.shaping import axes_of, ints, shape_of
from sysnoise_conform.golden.types import T

Data = Any  # a torch tensor, or a numpy object array of strings


@op("Pad", until=10, moves=True)
def pad_by_attributes(call: Call, x: Data) -> Data:
    """`x` padded by the attribute `pads` with the attribute `value`."""
    return _padded(call, x, list(call.get("pads")), call.get("value", 0.0), list(range(len(shape_of(x)))))


@op("Pad", since=11, moves=True)
def pad(call: Call, x: Data, pads: Tensor, value: Data | None = None, axes: Tensor | None = None) -> Data:
    """`x` padded by `pads` (all begins, then all ends) along `axes`, by default all."""
    along = ints(axes)
    filler: Any = "" if call.input_types[0] == T.STRING else 0
    if value is not None:
        if math.prod(shape_of(value)) != 1:
            call.bad("`constant_value` must be a scalar")
        filler = value.reshape(-1)[0]
    rank = len(shape_of(x))
    padded = list(range(rank)) if along is None else axes_of(call, along, rank)
    return _padded(call, x, ints(pads) or [], filler, padded)


def _padded(call: Call, x: Data, pads: list[int], value: Any, axes: list[int]) -> Data:
    if len(pads) != 2 * len(axes):
        call.bad(f"{len(pads)} pads for {len(axes)} axes")
    mode = call.get("mode", "constant")
    begins, ends = pads[: len(axes)], pads[len(axes) :]
    if mode == "constant":
        return _filled(call, x, dict(zip(axes, zip(begins, ends, strict=True), strict=True)), value)
    for axis, begin, end in zip(axes, begins, ends, strict=True):
        if begin or end:
            places = _places(call, shape_of(x)[axis], begin, end, mode)
            x = np.take(x, places.numpy(), axis) if isinstance(x, np.ndarray) else torch.index_select(x, axis, places)
    return x


def _filled(call: Call, x: Data, pads: dict[int, tuple[int, int]], value: Any) -> Data:
    dims = shape_of(x)
    around = [pads.get(axis, (0, 0)) for axis in range(len(dims))]
    new = [size + begin + end for size, (begin, end) in zip(dims, around, strict=True)]
    if any(each < 0 for each in new):
        call.bad(f"pads {around} crop more than the shape {list(dims)} has")
    inner = [slice(max(-begin, 0), size - max(-end, 0)) for size, (begin, end) in zip(dims, around, strict=True)]
    outer = [slice(max(begin, 0), size - max(end, 0)) for size, (begin, end) in zip(new, around, strict=True)]
    if isinstance(x, np.ndarray):
        strings = np.full(new, value, dtype=object)
        strings[tuple(outer)] = x[tuple(inner)]
        return strings
    out = torch.empty(new, dtype=x.dtype)
    out.fill_(value)
    if all(part.start < part.stop for part in (*inner, *outer)):
        out[tuple(outer)] = x[tuple(inner)]
    return out


def _places(call: Call, length: int, begin: int, end: int, mode: str) -> Tensor:
    """For each element of the padded axis the element of the axis that it shows."""
    if length == 0:
        call.bad(f"it can't pad an empty axis in mode {mode!r}")
    places = torch.arange(-begin, length + end)
    match mode:
        case "edge":
            return places.clamp(0, length - 1)
        case "wrap":
            return torch.remainder(places, length)
        case "reflect":
            if length == 1:
                return torch.zeros_like(places)
            folded = torch.remainder(places, 2 * (length - 1))
            return torch.where(folded < length, folded, 2 * (length - 1) - folded)
        case _:
            call.bad(f"`mode` {mode!r} is unknown")
