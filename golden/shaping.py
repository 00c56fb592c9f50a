"""Operators that change a tensor's shape or the order of its elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op

Data = Any  # a torch tensor, or a numpy object array of strings


def axis_of(call: Call, axis: int, rank: int, *, name: str = "axis") -> int:
    """`axis` counted from the front; BadModel where it is outside of [-rank, rank - 1]."""
    if not -rank <= axis < rank:
        call.bad(f"`{name}` is {axis}, the tensor has rank {rank}")
    return axis % rank


def axes_of(call: Call, axes: list[int], rank: int) -> list[int]:
    """`axes` counted from the front; BadModel where one is out of range or occurs twice."""
    found = [axis_of(call, each, rank, name="axes") for each in axes]
    if len(set(found)) != len(found):
        call.bad(f"`axes` {axes} names an axis twice")
    return found


def ints(tensor: Tensor | None) -> list[int] | None:
    """A 1-D (or scalar) integer tensor as a list; None stays None."""
    return None if tensor is None else [int(each) for each in tensor.reshape(-1).tolist()]


def shape_of(data: Data) -> tuple[int, ...]:
    """The shape of a tensor or a string array."""
    return tuple(int(each) for each in data.shape)


@op("Identity", raw=True)
def identity(call: Call, x: Any) -> Any:
    """Its input, whatever it is."""
    return x


@op("Shape")
def shape(call: Call, x: Data) -> Tensor:
    """The shape (int64), or the part of it from `start` to `end`; both are clamped."""
    dims = list(shape_of(x))
    return torch.tensor(dims[slice(call.get("start", 0), call.get("end"))], dtype=torch.int64)


@op("Size")
def size(call: Call, x: Data) -> Tensor:
    """The number of elements (int64 scalar)."""
    return torch.tensor(math.prod(shape_of(x)), dtype=torch.int64)


@op("Reshape", moves=True)
def reshape(call: Call, x: Data, wanted: Tensor) -> Data:
    """`x` in another shape; 0 copies a dimension (unless `allowzero`), one -1 is inferred."""
    old, new = shape_of(x), ints(wanted) or []
    if any(each < -1 for each in new) or new.count(-1) > 1:
        call.bad(f"it can't reshape to {new}")
    if not call.get("allowzero", 0):
        if any(each == 0 and position >= len(old) for position, each in enumerate(new)):
            call.bad(f"a 0 in {new} has no dimension to copy from the shape {list(old)}")
        new = [old[position] if each == 0 else each for position, each in enumerate(new)]
    elif -1 in new and 0 in new:
        call.bad("with allowzero=1 the shape can't hold both 0 and -1")
    if -1 in new:
        rest = math.prod(each for each in new if each != -1)
        total = math.prod(old)
        if (rest == 0 and total != 0) or (rest and total % rest):
            call.bad(f"it can't reshape {list(old)} to {new}")
        new[new.index(-1)] = total // rest if rest else 0
    if math.prod(new) != math.prod(old):
        call.bad(f"it can't reshape {list(old)} to {new}")
    return x.reshape(new)


@op("Flatten", moves=True)
def flatten(call: Call, x: Data) -> Data:
    """A matrix: the dimensions before `axis` in its rows, the others in its columns."""
    dims = shape_of(x)
    axis = call.get("axis", 1)
    if not -len(dims) <= axis <= len(dims):
        call.bad(f"`axis` is {axis}, the tensor has rank {len(dims)}")
    axis = axis + len(dims) if axis < 0 else axis
    return x.reshape((math.prod(dims[:axis]), math.prod(dims[axis:])))


@op("Transpose", moves=True)
def transpose(call: Call, x: Data) -> Data:
    """The axes permuted by `perm`, by default reversed."""
    rank = len(shape_of(x))
    perm = call.get("perm")
    if perm is None:
        perm = list(range(rank))[::-1]
    elif sorted(perm) != list(range(rank)):
        call.bad(f"`perm` {perm} is no permutation of {rank} axes")
    return x.transpose(perm) if isinstance(x, np.ndarray) else x.permute(perm)


def _given_axes(call: Call, axes: Tensor | None) -> list[int] | None:
    """The axes: an attribute before opset 13, an input from then on."""
    given = call.get("axes")
    return list(given) if given is not None else ints(axes)


@op("Squeeze", moves=True)
def squeeze(call: Call, x: Data, axes: Tensor | None = None) -> Data:
    """Without the axes of length 1 that are named, or without all of them."""
    dims = shape_of(x)
    given = _given_axes(call, axes)
    if given is None:
        return x.reshape([each for each in dims if each != 1])
    dropped = axes_of(call, given, len(dims))
    if any(dims[each] != 1 for each in dropped):
        call.bad(f"it can't squeeze the axes {given} of the shape {list(dims)}")
    return x.reshape([each for position, each in enumerate(dims) if position not in dropped])


@op("Unsqueeze", moves=True)
def unsqueeze(call: Call, x: Data, axes: Tensor | None = None) -> Data:
    """With new axes of length 1 at the places `axes` of the result."""
    given = _given_axes(call, axes)
    if given is None:
        call.bad("it has no `axes`")
    old = list(shape_of(x))
    added = axes_of(call, given, len(old) + len(given))
    rest = iter(old)
    return x.reshape([1 if each in added else next(rest) for each in range(len(old) + len(given))])


@op("Concat", moves=True)
def concat(call: Call, *inputs: Data) -> Data:
    """The inputs one after another along `axis`."""
    axis = axis_of(call, call.get("axis"), len(shape_of(inputs[0])))
    if any(len(shape_of(each)) != len(shape_of(inputs[0])) for each in inputs):
        call.bad("its inputs differ in rank")
    if isinstance(inputs[0], np.ndarray):
        return np.concatenate(inputs, axis)
    # torch.cat would let an empty 1-D tensor pass whatever the others' shape is
    rests = {(*shape_of(each)[:axis], *shape_of(each)[axis + 1 :]) for each in inputs}
    if len(rests) > 1:
        call.bad(f"its inputs' shapes differ outside of axis {axis}")
    return torch.cat(inputs, axis)


def split_lengths(call: Call, total: int, count: int, given: list[int] | None) -> list[int]:
    """The lengths of the parts along the split axis."""
    if given is None:
        if call.opset >= 18:
            parts = call.get("num_outputs", count)
            if parts < 1:
                call.bad(f"`num_outputs` is {parts}")
            each = -(-total // parts)
            given = [each] * (parts - 1) + [total - each * (parts - 1)]
        elif total % count:
            call.bad(f"it can't split {total} into {count} equal parts")
        else:
            given = [total // count] * count
    elif "num_outputs" in call.attributes:
        call.bad("it has both `split` and `num_outputs`")
    if sum(given) != total or any(each < 0 for each in given) or len(given) != count:
        call.bad(f"it can't split {total} into {given}, {count} outputs")
    return given


@op("Split", moves=True)
def split(call: Call, x: Data, lengths: Tensor | None = None) -> tuple[Data, ...]:
    """The parts of `x` along `axis`."""
    axis = axis_of(call, call.get("axis", 0), len(shape_of(x)))
    given = call.get("split")
    count = len(call.outputs_wanted)
    parts = split_lengths(call, shape_of(x)[axis], count, list(given) if given is not None else ints(lengths))
    if isinstance(x, np.ndarray):
        return tuple(np.split(x, np.cumsum(parts)[:-1], axis))
    return tuple(torch.split(x, parts, axis))


@op("Slice", until=9, moves=True)
def slice_by_attributes(call: Call, x: Data) -> Data:
    """The part of `x` that the attributes `starts`, `ends`, `axes` name."""
    starts, ends = call.get("starts"), call.get("ends")
    axes = call.get("axes")
    return _sliced(call, x, starts, ends, list(range(len(starts))) if axes is None else axes, [1] * len(starts))


@op("Slice", since=10, moves=True)
def slice_by_inputs(
    call: Call, x: Data, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Data:
    """The part of `x` from `starts` to `ends` by `steps` (also negative) along `axes`."""
    first, last = ints(starts) or [], ints(ends) or []
    along = list(range(len(first))) if axes is None else ints(axes) or []
    by = [1] * len(first) if steps is None else ints(steps) or []
    return _sliced(call, x, first, last, along, by)


def _sliced(call: Call, x: Data, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Data:
    if not len(starts) == len(ends) == len(axes) == len(steps):
        call.bad("`starts`, `ends`, `axes` and `steps` differ in length")
    dims = shape_of(x)
    index: list[slice] = [slice(None)] * len(dims)
    flipped = []
    for axis, start, end, step in zip(axes_of(call, axes, len(dims)), starts, ends, steps, strict=True):
        if step == 0:
            call.bad("a step of `steps` is 0")
        first, stop, by = _bounds(start, end, step, dims[axis])
        if by < 0:  # torch has no negative steps: take the same elements in rising order, then flip
            count = max(0, -(-(first - stop) // -by))
            last = first + (count - 1) * by
            index[axis] = slice(last, first + 1, -by) if count else slice(0, 0)
            flipped.append(axis)
        else:
            index[axis] = slice(first, max(stop, first), by)
    part = x[tuple(index)]
    if not flipped:
        return part
    return np.flip(part, tuple(flipped)) if isinstance(part, np.ndarray) else torch.flip(part, flipped)


def _bounds(start: int, end: int, step: int, length: int) -> tuple[int, int, int]:
    """Start and end as ONNX clamps them: [0, length] going up, [0, length-1] and [-1, length-1] going down."""
    start = start + length if start < 0 else start
    end = end + length if end < 0 else end
    if step > 0:
        return min(max(start, 0), length), min(max(end, 0), length), step
    return min(max(start, 0), length - 1), min(max(end, -1), length - 1), step


@op("Expand", moves=True)
def expand(call: Call, x: Data, wanted: Tensor) -> Data:
    """`x` broadcast, in both directions, with `wanted`."""
    dims = np.broadcast_shapes(shape_of(x), tuple(ints(wanted) or []))
    return np.broadcast_to(x, dims).copy() if isinstance(x, np.ndarray) else x.expand(dims)


@op("Tile", moves=True)
def tile(call: Call, x: Data, repeats: Tensor) -> Data:
    """`x` repeated along each axis."""
    times = ints(repeats) or []
    if len(times) != len(shape_of(x)) or any(each < 0 for each in times):
        call.bad(f"`repeats` {times} does not fit the shape {list(shape_of(x))}")
    return np.tile(x, times) if isinstance(x, np.ndarray) else x.repeat(times)


@op("DepthToSpace", moves=True)
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Blocks of channels as blocks of pixels: DCR (the default) or CRD order."""
    block, mode = call.get("blocksize"), call.get("mode", "DCR")
    n, c, h, w = x.shape
    if block < 1 or c % (block * block):
        call.bad(f"{c} channels don't fit `blocksize` {block}")
    deep = c // (block * block)
    if mode == "DCR":
        moved = x.reshape(n, block, block, deep, h, w).permute(0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        moved = x.reshape(n, deep, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        call.bad("`mode` must be DCR or CRD")
    return moved.reshape(n, deep, h * block, w * block)


@op("SpaceToDepth", moves=True)
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Blocks of pixels as channels: the inverse of DepthToSpace in the chosen order."""
    block, mode = call.get("blocksize"), call.get("mode", "DCR")
    n, c, h, w = x.shape
    if block < 1 or h % block or w % block:
        call.bad(f"a {h}x{w} image does not fit `blocksize` {block}")
    cells = x.reshape(n, c, h // block, block, w // block, block)
    if mode == "DCR":
        moved = cells.permute(0, 3, 5, 1, 2, 4)
    elif mode == "CRD":
        moved = cells.permute(0, 1, 3, 5, 2, 4)
    else:
        call.bad("`mode` must be DCR or CRD")
    return moved.reshape(n, c * block * block, h // block, w // block)


@op("Trilu", moves=True)
def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle of each matrix, zero elsewhere."""
    diagonal = 0 if k is None else int(k.reshape(()))
    limit = max(x.shape[-2:]) + 1
    diagonal = max(-limit, min(limit, diagonal))
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)
