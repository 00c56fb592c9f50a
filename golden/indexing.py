"""Gathering, scattering and selecting elements by index or condition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.shaping import axis_of, shape_of
from sysnoise_conform.golden.unsigned import has_uint64, ordered

Data = Any  # a torch tensor, or a numpy object array of strings


def _checked(call: Call, indices: Tensor, length: int | Tensor) -> Tensor:
    """int64 indices counted from the front; BadModel where one is out of [-length, length - 1]."""
    indices = indices.to(torch.int64)
    if indices.numel():
        low, high = torch.aminmax(indices) if isinstance(length, int) else (None, None)
        outside = (
            bool(low < -length) or bool(high >= length)
            if low is not None and high is not None
            else bool(((indices < -length) | (indices >= length)).any())
        )
        if outside:
            first = indices[(indices < -length) | (indices >= length)].reshape(-1)[0]
            call.bad(f"the index {int(first)} is out of range, the length is "
                     f"{length if isinstance(length, int) else length.tolist()}")
        if low is not None and bool(low >= 0):
            return indices
    return torch.where(indices < 0, indices + length, indices)


@op("Gather", moves=True)
def gather(call: Call, x: Data, indices: Tensor) -> Data:
    """Slices of `x` along `axis`, in the shape of `indices`."""
    dims = shape_of(x)
    axis = axis_of(call, call.get("axis", 0), len(dims))
    places = _checked(call, indices, dims[axis])
    if isinstance(x, np.ndarray):
        return np.take(x, places.numpy(), axis)
    chosen = torch.index_select(x, axis, places.reshape(-1))
    return chosen.reshape((*dims[:axis], *places.shape, *dims[axis + 1 :]))


@op("GatherElements", moves=True)
def gather_elements(call: Call, x: Data, indices: Tensor) -> Data:
    """For each index the element at that place along `axis`, elsewhere at the index's own place."""
    dims = shape_of(x)
    axis = axis_of(call, call.get("axis", 0), len(dims))
    places = _checked(call, indices, dims[axis])
    if isinstance(x, np.ndarray):
        grids = list(np.indices(tuple(places.shape)))
        grids[axis] = places.numpy()
        return x[tuple(grids)]
    return torch.gather(x, axis, places)


@op("GatherND", moves=True)
def gather_nd(call: Call, x: Data, indices: Tensor) -> Data:
    """The elements or slices that the tuples in the last dimension of `indices` name."""
    batch = call.get("batch_dims", 0)
    dims, depth = shape_of(x), indices.shape[-1]
    if batch + depth > len(dims) or tuple(indices.shape[:batch]) != dims[:batch] or depth < 1:
        call.bad(f"indices of shape {list(indices.shape)} don't fit data of shape {list(dims)}")
    places = _checked(call, indices, torch.tensor(dims[batch : batch + depth]))
    if isinstance(x, np.ndarray):
        if batch:
            call.unsupported("strings with batch_dims")
        return x[tuple(places.numpy()[..., each] for each in range(depth))]
    groups = math.prod(dims[:batch])
    flat_x = x.reshape(groups, *dims[batch:])
    flat_places = places.reshape(groups, -1, depth)
    which = torch.arange(groups).reshape(-1, 1)
    chosen = flat_x[(which, *flat_places.unbind(-1))]
    return chosen.reshape((*indices.shape[:-1], *dims[batch + depth :]))


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _reduction(call: Call) -> str | None:
    """torch's name of the reduction; None for none."""
    name = call.get("reduction", "none")
    if name == "none":
        return None
    if name not in _REDUCE:
        call.bad(f"`reduction` {name!r} is unknown")
    return _REDUCE[name]


def _scatter(call: Call, x: Tensor, axis: int, places: Tensor, updates: Tensor, reduction: str | None) -> Tensor:
    if reduction is None:
        return x.scatter(axis, places, updates)
    if has_uint64(call) and reduction in ("amax", "amin"):
        return ordered(ordered(x).scatter_reduce(axis, places, ordered(updates), reduction, include_self=True))
    if x.dtype is torch.bool:
        return x.to(torch.uint8).scatter_reduce(axis, places, updates.to(torch.uint8), reduction).to(torch.bool)
    return x.scatter_reduce(axis, places, updates, reduction, include_self=True)


@op("Scatter")
@op("ScatterElements")
def scatter_elements(call: Call, x: Data, indices: Tensor, updates: Data) -> Data:
    """`x` with the updates at the places that the indices give along `axis`."""
    dims = shape_of(x)
    axis = axis_of(call, call.get("axis", 0), len(dims))
    if tuple(indices.shape) != shape_of(updates):
        call.bad(f"{list(indices.shape)} indices for updates of shape {list(shape_of(updates))}")
    places = _checked(call, indices, dims[axis])
    reduction = _reduction(call)
    if isinstance(x, np.ndarray):
        if reduction is not None:
            call.unsupported("a reduction of strings")
        grids = list(np.indices(tuple(places.shape)))
        grids[axis] = places.numpy()
        out = x.copy()
        out[tuple(grids)] = updates
        return out
    return _scatter(call, x, axis, places, updates, reduction)


@op("ScatterND")
def scatter_nd(call: Call, x: Data, indices: Tensor, updates: Data) -> Data:
    """`x` with the updates at the elements or slices that the index tuples name."""
    dims, depth = shape_of(x), indices.shape[-1]
    if depth > len(dims) or shape_of(updates) != (*indices.shape[:-1], *dims[depth:]):
        call.bad(f"indices {list(indices.shape)} and updates {list(shape_of(updates))} don't fit data {list(dims)}")
    places = _checked(call, indices, torch.tensor(dims[:depth], dtype=torch.int64))
    reduction = _reduction(call)
    if isinstance(x, np.ndarray):
        if reduction is not None:
            call.unsupported("a reduction of strings")
        out = x.copy()
        out[tuple(places.numpy()[..., each] for each in range(depth))] = updates
        return out
    strides = torch.tensor([math.prod(dims[each + 1 : depth]) for each in range(depth)], dtype=torch.int64)
    rows = (places * strides).sum(-1).reshape(-1, 1)
    width = math.prod(dims[depth:])
    flat = x.reshape(math.prod(dims[:depth]), width)
    return _scatter(call, flat, 0, rows.expand(-1, width), updates.reshape(-1, width), reduction).reshape(dims)


@op("TensorScatter", moves=True)
def tensor_scatter(call: Call, past: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
    """A cache with the update written along `axis` from each sample's start on."""
    axis = axis_of(call, call.get("axis", -2), past.dim())
    if axis == 0:
        call.bad("`axis` can't be 0, the batch")
    length, count = past.shape[axis], update.shape[axis]
    begin = torch.zeros(past.shape[0], dtype=torch.int64) if starts is None else starts
    places = begin.reshape(-1, 1) + torch.arange(count)
    match call.get("mode", "linear"):
        case "circular":
            places = torch.remainder(places, length)
        case "linear":
            if places.numel() and (int(places.min()) < 0 or int(places.max()) >= length):
                call.bad(f"it writes beyond the cache's {length} entries")
        case other:
            call.bad(f"`mode` {other!r} is unknown")
    shape = [1] * past.dim()
    shape[0], shape[axis] = places.shape
    return past.scatter(axis, places.reshape(shape).expand(update.shape), update)


@op("NonZero")
def non_zero(call: Call, x: Data) -> Tensor:
    """The places of the elements that are not zero, one row per axis."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(np.stack(np.nonzero(x)).astype(np.int64))
    if x.dim() == 0:
        return torch.zeros((1, int(x != 0)), dtype=torch.int64)
    return torch.nonzero(x).T.contiguous()


@op("Compress", moves=True)
def compress(call: Call, x: Data, condition: Tensor) -> Data:
    """The slices along `axis`, or the elements, whose condition is true; a short condition ends early."""
    axis = call.get("axis")
    chosen = torch.nonzero(condition.reshape(-1)).reshape(-1)
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = axis_of(call, axis, len(shape_of(x)))
    chosen = _checked(call, chosen, shape_of(x)[axis])
    return np.take(x, chosen.numpy(), axis) if isinstance(x, np.ndarray) else torch.index_select(x, axis, chosen)


@op("OneHot", moves=True)
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Data) -> Data:
    """on_value where the new axis's place is the index, off_value elsewhere; -1 is the last place."""
    if depth.numel() != 1 or shape_of(values) != (2,):
        call.bad("`depth` must be a scalar and `values` [off, on]")
    count = int(depth.reshape(()))
    axis = axis_of(call, call.get("axis", -1), indices.dim() + 1)
    places = indices.to(torch.int64)
    places = torch.where(places < 0, places + count, places).unsqueeze(axis)
    shape = [1] * places.dim()
    shape[axis] = count
    hot = places == torch.arange(count).reshape(shape)
    if isinstance(values, np.ndarray):
        return np.where(hot.numpy(), values[1], values[0])
    return torch.where(hot, values[1], values[0])


@op("ReverseSequence", moves=True)
def reverse_sequence(call: Call, x: Data, lengths: Tensor) -> Data:
    """The first `lengths[b]` elements along `time_axis` of each batch b reversed."""
    batch, time = call.get("batch_axis", 1), call.get("time_axis", 0)
    dims = shape_of(x)
    if {batch, time} != {0, 1} or len(dims) < 2:
        call.bad(f"`batch_axis` {batch} and `time_axis` {time} must be 0 and 1")
    if tuple(lengths.shape) != (dims[batch],) or bool(((lengths < 0) | (lengths > dims[time])).any()):
        call.bad(f"`sequence_lens` {lengths.tolist()} doesn't fit the shape {list(dims)}")
    steps = torch.arange(dims[time]).reshape(1, -1)
    ends = lengths.reshape(-1, 1)
    places = torch.where(steps < ends, ends - 1 - steps, steps)  # (batch, time)
    which = torch.arange(dims[batch]).reshape(-1, 1)
    if batch == 1:
        places, which = places.T, which.T
    if isinstance(x, np.ndarray):
        return x[(places.numpy(), which.numpy()) if batch == 1 else (which.numpy(), places.numpy())]
    return x[(places, which) if batch == 1 else (which, places)]

