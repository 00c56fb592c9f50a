"""Operators that make a tensor from a shape, a range or a pattern."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.shaping import ints
from sysnoise_conform.golden.types import FLOATS, HELD, T
from sysnoise_conform.golden.values import Value


@op("ConstantOfShape", raw=True)
def constant_of_shape(call: Call, dims: Value) -> Value:
    """A tensor of the shape `dims` filled with the attribute `value`, by default float zero."""
    wanted = ints(dims.data) or []
    if any(each < 0 for each in wanted):
        call.bad(f"the shape {wanted} has a negative dimension")
    value = call.get("value")
    if value is None:
        return Value(torch.zeros(wanted, dtype=call.held_float), T.FLOAT)
    if value.data.numel() != 1:
        call.bad("`value` must have exactly one element")
    dtype = call.held_float if value.elem_type == T.FLOAT else value.data.dtype
    return Value(value.data.reshape(()).to(dtype).expand(wanted).contiguous(), value.elem_type)


@op("EyeLike")
def eye_like(call: Call, x: Tensor) -> Typed:
    """A matrix of x's shape with ones on the k-th diagonal."""
    if x.dim() != 2:
        call.bad(f"its input has rank {x.dim()}, not 2")
    rows, columns = x.shape
    k = call.get("k", 0)
    ones = torch.arange(columns).reshape(1, -1) - torch.arange(rows).reshape(-1, 1) == k
    elem_type = call.get("dtype", call.input_types[0])
    return Typed(ones.to(call.held_float if elem_type in FLOATS else HELD[elem_type]), elem_type)


@op("Range", raw=True)
def arange(call: Call, start: Value, limit: Value, delta: Value) -> Value:
    """start, start + delta, ... up to but without limit; how many is decided in the declared type."""
    elem_type = start.elem_type
    if any(each.data.numel() != 1 for each in (start, limit, delta)):
        call.bad("`start`, `limit` and `delta` must be scalars")
    if elem_type in FLOATS:
        declared = torch.float64 if elem_type == T.DOUBLE else torch.float32
        first, last, step = (each.data.reshape(()).to(declared) for each in (start, limit, delta))
        if step == 0:
            call.bad("`delta` is 0")
        quotient = _rounded(_rounded(last - first, elem_type) / step, elem_type)
        if not torch.isfinite(quotient):
            call.bad("`start`, `limit` and `delta` give no finite length")
        count = max(math.ceil(float(quotient)), 0)
        dtype = torch.float64 if elem_type == T.DOUBLE else call.held_float
        # As the function body in the operator's text: start + i * delta.
        values = first.to(dtype) + torch.arange(count, dtype=dtype) * step.to(dtype)
        return Value(values.to(HELD[elem_type]) if elem_type != T.FLOAT else values, elem_type)
    low, high, by = (int(each.data) for each in (start, limit, delta))
    if by == 0:
        call.bad("`delta` is 0")
    return Value(torch.tensor(range(low, high, by), dtype=HELD[elem_type]), elem_type)


def _rounded(tensor: Tensor, elem_type: int) -> Tensor:
    return tensor if elem_type == T.DOUBLE else tensor.to(HELD[elem_type]).to(torch.float32)
