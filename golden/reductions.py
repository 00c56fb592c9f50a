"""Operators that reduce, scan or sort along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.shaping import axes_of, axis_of, ints, shape_of
from sysnoise_conform.golden.types import INTEGER_RANGE, T
from sysnoise_conform.golden.unsigned import has_uint64, ordered, to_float
from sysnoise_conform.golden.values import within_float32_range

Reduce = Callable[[Call, Tensor, list[int]], Tensor]  # keeps the reduced dimensions


def _reduction(name: str) -> Callable[[Reduce], Reduce]:
    def register(function: Reduce) -> Reduce:
        @op(name)
        def run(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
            given = call.get("axes")
            named = list(given) if given is not None else ints(axes)
            if not named:
                if call.get("noop_with_empty_axes", 0):
                    # Reduced over nothing, but the steps around the sum (a square, a logarithm) are taken.
                    return function(call, x.unsqueeze(-1), [x.dim()]).squeeze(-1)
                named = list(range(x.dim()))
            reduced = axes_of(call, named, x.dim())
            result = function(call, x, reduced)
            if call.get("keepdims", 1):
                return result
            return result.reshape([size for axis, size in enumerate(x.shape) if axis not in reduced])

        return function

    return register


def _as_float(call: Call, x: Tensor) -> Tensor:
    """Integers as float64, for reductions that leave the integers on their way."""
    if x.is_floating_point():
        return x
    return to_float(x) if has_uint64(call) else x.to(torch.float64)


def _as_given(x: Tensor, result: Tensor) -> Tensor:
    return result if x.is_floating_point() else result.to(torch.int64)


def _sum(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    if not axes:
        return x
    return torch.sum(x, axes, keepdim=True, dtype=x.dtype if x.is_floating_point() else torch.int64)


def _in_range(call: Call, x: Tensor) -> Tensor:
    """An intermediate that the operator's text computes in FLOAT, with FLOAT's range."""
    return within_float32_range(x) if call.input_types[0] == T.FLOAT and x.dtype is torch.float64 else x


_reduction("ReduceSum")(_sum)


@_reduction("ReduceMean")
def mean(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The sum over the number of elements; integers truncate."""
    return _as_given(x, torch.mean(_as_float(call, x), axes, keepdim=True)) if axes else x


@_reduction("ReduceProd")
def prod(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The product."""
    for axis in axes:
        x = torch.prod(x, axis, keepdim=True, dtype=x.dtype if x.is_floating_point() else torch.int64)
    return x


@_reduction("ReduceL1")
def l1(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The sum of the magnitudes."""
    return _sum(call, x if has_uint64(call) else torch.abs(x), axes)


@_reduction("ReduceSumSquare")
def sum_square(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The sum of the squares."""
    wide = x if x.is_floating_point() else x.to(torch.int64)
    return _sum(call, wide * wide, axes)


@_reduction("ReduceL2")
def l2(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The root of the sum of the squares."""
    wide = _as_float(call, x)
    return _as_given(x, torch.sqrt(_in_range(call, _sum(call, wide * wide, axes))))


@_reduction("ReduceLogSum")
def log_sum(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The logarithm of the sum."""
    return _as_given(x, torch.log(_in_range(call, _sum(call, _as_float(call, x), axes))))


@_reduction("ReduceLogSumExp")
def log_sum_exp(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The logarithm of the sum of the exponentials, without overflow."""
    return _as_given(x, torch.logsumexp(_as_float(call, x), axes, keepdim=True)) if axes else x


def _extremum(call: Call, x: Tensor, axes: list[int], *, largest: bool) -> Tensor:
    if not axes:
        return x
    if any(x.shape[axis] == 0 for axis in axes):  # torch has no maximum of nothing
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        if x.is_floating_point():
            return torch.full(shape, -math.inf if largest else math.inf, dtype=x.dtype)
        if x.dtype is torch.bool:
            return torch.full(shape, not largest)
        low, high = INTEGER_RANGE[call.input_types[0]]
        edge = low if largest else high
        return torch.full(shape, edge - 2**64 if edge > torch.iinfo(torch.int64).max else edge, dtype=x.dtype)
    reduce = torch.amax if largest else torch.amin
    return ordered(reduce(ordered(x), axes, keepdim=True)) if has_uint64(call) else reduce(x, axes, keepdim=True)


@_reduction("ReduceMax")
def largest(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The maximum; NaN wins, as in torch; of nothing the lowest value of the type."""
    return _extremum(call, x, axes, largest=True)


@_reduction("ReduceMin")
def smallest(call: Call, x: Tensor, axes: list[int]) -> Tensor:
    """The minimum; NaN wins, as in torch; of nothing the highest value of the type."""
    return _extremum(call, x, axes, largest=False)


def _arg(call: Call, x: Tensor, find: Callable[..., Tensor]) -> Tensor:
    axis = axis_of(call, call.get("axis", 0), x.dim())
    x = ordered(x) if has_uint64(call) else x
    if x.shape[axis] == 0:
        call.bad(f"axis {axis} is empty")
    if call.get("select_last_index", 0):
        found = x.shape[axis] - 1 - find(torch.flip(x, [axis]), axis, keepdim=True)
    else:
        found = find(x, axis, keepdim=True)
    return found if call.get("keepdims", 1) else found.squeeze(axis)


@op("ArgMax")
def argmax(call: Call, x: Tensor) -> Tensor:
    """The index of the first (or last) maximum; NaN counts as the largest, as in torch."""
    return _arg(call, x, torch.argmax)


@op("ArgMin")
def argmin(call: Call, x: Tensor) -> Tensor:
    """The index of the first (or last) minimum; NaN counts as the smallest, as in torch."""
    return _arg(call, x, torch.argmin)


def _cumulative(call: Call, x: Tensor, axis: Tensor, step: Callable[..., Tensor], neutral: int) -> Tensor:
    if axis.numel() != 1:
        call.bad("`axis` must be a scalar")
    along = axis_of(call, int(axis.reshape(())), x.dim())
    if call.get("reverse", 0):
        x = torch.flip(x, [along])
    if call.get("exclusive", 0):
        kept = x.narrow(along, 0, max(x.shape[along] - 1, 0))
        first = torch.full_like(x.narrow(along, 0, min(x.shape[along], 1)), neutral)
        x = torch.cat([first, kept], along)
    result = step(x, along, dtype=x.dtype)
    return torch.flip(result, [along]) if call.get("reverse", 0) else result


@op("CumSum")
def cumsum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """The running sum, with or without the element itself, from either end."""
    return _cumulative(call, x, axis, torch.cumsum, 0)


@op("CumProd")
def cumprod(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """The running product, with or without the element itself, from either end."""
    return _cumulative(call, x, axis, torch.cumprod, 1)


def _top(call: Call, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    axis = axis_of(call, call.get("axis", -1), x.dim())
    if not 0 <= k <= x.shape[axis]:
        call.bad(f"k is {k}, axis {axis} has {x.shape[axis]} elements")
    unsigned = has_uint64(call) and call.input_types[0] == T.UINT64
    # A stable sort leaves equal values in the order of their indices, as the ONNX text demands.
    values, indices = torch.sort(
        ordered(x) if unsigned else x, dim=axis, descending=bool(call.get("largest", 1)), stable=True
    )
    values, indices = values.narrow(axis, 0, k), indices.narrow(axis, 0, k)
    return (ordered(values) if unsigned else values).contiguous(), indices.contiguous()


@op("TopK", until=9, moves=True)
def top_k_by_attribute(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """The attribute k's many largest elements and their indices."""
    return _top(call, x, call.get("k"))


@op("TopK", since=10, moves=True)
def top_k(call: Call, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements and their indices, the lower index first among equals."""
    if k.numel() != 1:
        call.bad("`K` must have one element")
    return _top(call, x, int(k.reshape(())))


@op("Unique", moves=True)
def unique(call: Call, x: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
    """The distinct elements (or slices), where each occurs first, which one each is, how often.

    Whether two FLOATs are equal is decided in FLOAT: it determines the result's shape.
    """
    axis = call.get("axis")
    if axis is not None:
        axis = axis_of(call, axis, len(shape_of(x)))
    data = x if isinstance(x, np.ndarray) else _comparable(call, x)
    _, first, inverse, counts = np.unique(data, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not call.get("sorted", 1):
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, counts, inverse = first[order], counts[order], rank[inverse]
    chosen: Any
    if isinstance(x, np.ndarray):
        chosen = x.reshape(-1)[first] if axis is None else np.take(x, first, axis)
    else:
        places = torch.from_numpy(np.ascontiguousarray(first))
        chosen = x.reshape(-1)[places] if axis is None else torch.index_select(x, axis, places)
    as_int64 = [torch.from_numpy(np.ascontiguousarray(each).astype(np.int64)) for each in (first, inverse, counts)]
    return chosen, as_int64[0], as_int64[1], as_int64[2]


def _comparable(call: Call, x: Tensor) -> np.ndarray[Any, Any]:
    if has_uint64(call):
        return x.contiguous().cpu().numpy().view(np.uint64)
    if call.input_types[0] in (T.FLOAT, T.FLOAT16, T.BFLOAT16):
        x = x.to(torch.float32)
    return np.asarray(x.cpu().numpy())
