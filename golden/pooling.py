"""Poolings over a sliding window and over whole channels: Max, Average, Lp, Global*, MaxUnpool."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.sliding import Window, explicit_pads, per_axis, window

_MAX_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MAX_POOL_WITH_INDICES: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: F.max_pool1d_with_indices,
    2: F.max_pool2d_with_indices,
    3: F.max_pool3d_with_indices,
}
_AVERAGE_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _pool_window(call: Call, x: Tensor) -> Window:
    if x.dim() < 3:
        call.bad(f"an input of shape {list(x.shape)} has no spatial axis")
    kernel = call.get("kernel_shape")
    if not kernel:
        call.bad("kernel_shape is missing")
    over = window(call, tuple(x.shape[2:]), tuple(kernel))
    if over.auto_pad.startswith("SAME"):
        for size, stride, extent in zip(x.shape[2:], over.strides, over.extents, strict=True):
            if (-(-size // stride) - 1) * stride + extent - size < -1:
                call.unsupported(
                    f"auto_pad {over.auto_pad} with a negative padding, which TensorFlow and the text place differently"
                )
    return over


def output_sizes(call: Call, over: Window, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """How many windows fit along each axis.

    With `ceil_mode` a last window that would start in the padding behind the input is dropped, as
    PyTorch does and the ONNX text says from opset 22 on (earlier texts have the plain ceil).
    """
    ceil = bool(call.get("ceil_mode", 0)) and over.auto_pad == "NOTSET"
    counts = []
    rows = zip(sizes, over.begin, over.end, over.extents, over.strides, strict=True)
    for size, begin, end, extent, stride in rows:
        span = size + begin + end - extent
        if span < 0:
            call.bad(f"a kernel that spans {list(over.extents)} is larger than the padded input {list(sizes)}")
        count = span // stride + 1
        if ceil and span % stride and count * stride < size + begin:
            count += 1
        counts.append(count)
    return tuple(counts)


def _end_for(over: Window, sizes: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
    """The padding behind each axis that gives exactly `counts` windows (negative: a crop)."""
    rows = zip(sizes, over.begin, over.extents, over.strides, counts, strict=True)
    return tuple((count - 1) * stride + extent - size - begin for size, begin, extent, stride, count in rows)


def _windows(x: Tensor, over: Window) -> Tensor:
    """A view (N, C, *counts, *kernel) of an already padded `x`."""
    for axis, (extent, stride) in enumerate(zip(over.extents, over.strides, strict=True)):
        x = x.unfold(2 + axis, extent, stride)
    for axis, dilation in enumerate(over.dilations):
        if dilation > 1:
            x = x[(slice(None),) * (x.dim() - len(over.kernel) + axis) + (slice(None, None, dilation),)]
    return x


def _torch_can(call: Call, over: Window) -> bool:
    """Whether PyTorch's own pooling has exactly this padding and rounding."""
    halves = zip(over.begin, over.kernel, strict=True)
    same_rounding = over.auto_pad == "NOTSET" or not call.get("ceil_mode", 0)
    return len(over.kernel) in _MAX_POOL and over.symmetric and same_rounding and all(2 * p <= k for p, k in halves)


@op("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """The largest element of each window, NaN if there is one; indices count within the whole tensor."""
    over = _pool_window(call, x)
    order = int(call.get("storage_order", 0))
    if order not in (0, 1):
        call.bad(f"storage_order is {order}")
    given = x.dtype
    if not x.is_floating_point():
        x = x.to(torch.float32)  # 8-bit integers, exact
    wants_indices = len(call.outputs_wanted) > 1 and call.outputs_wanted[1]
    sizes = tuple(x.shape[2:])
    counts = output_sizes(call, over, sizes)
    if _torch_can(call, over) and not wants_indices:
        ceil = bool(call.get("ceil_mode", 0))
        y = _MAX_POOL[len(sizes)](x, over.kernel, over.strides, over.begin, over.dilations, ceil)
        return y.to(given)
    end = _end_for(over, sizes, counts)
    whole = over.padded(x, -inf, end)
    if not wants_indices:
        return _windows(whole, over).amax(dim=tuple(range(-len(sizes), 0))).to(given)
    if len(sizes) not in _MAX_POOL_WITH_INDICES:
        call.unsupported(f"indices over {len(sizes)} spatial axes")
    y, flat = _MAX_POOL_WITH_INDICES[len(sizes)](whole, over.kernel, over.strides, 0, over.dilations)
    return y.to(given), _onnx_indices(flat, tuple(whole.shape[2:]), over.begin, tuple(x.shape), order)


def _onnx_indices(
    flat: Tensor, padded: tuple[int, ...], begin: tuple[int, ...], shape: tuple[int, ...], order: int
) -> Tensor:
    """Positions inside one padded channel, as positions in the unpadded tensor of this `shape`."""
    sizes = shape[2:]
    coordinates: list[Tensor] = []
    for size, first in zip(reversed(padded), reversed(begin), strict=True):
        coordinates.insert(0, flat % size - first)
        flat = flat // size
    # storage_order 1 is column major within the channel.
    axes = list(range(len(sizes))) if order == 0 else list(reversed(range(len(sizes))))
    index = torch.zeros_like(flat)
    for axis in axes:
        index = index * sizes[axis] + coordinates[axis]
    channel = torch.arange(shape[0] * shape[1]).reshape(shape[0], shape[1], *(1,) * len(sizes))
    return index + channel * prod(sizes)


@op("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean of each window.

    With `count_include_pad` the divisor counts the padding that the attribute `pads` adds, but never
    what lies beyond it: a last window of `ceil_mode` divides by the cells inside (as PyTorch does).
    """
    over = _pool_window(call, x)
    sizes = tuple(x.shape[2:])
    counts = output_sizes(call, over, sizes)
    include = bool(call.get("count_include_pad", 0))
    if _torch_can(call, over) and all(d == 1 for d in over.dilations):
        ceil = bool(call.get("ceil_mode", 0))
        return _AVERAGE_POOL[len(sizes)](x, over.kernel, over.strides, over.begin, ceil, include)
    end = _end_for(over, sizes, counts)
    spatial = tuple(range(-len(sizes), 0))
    total = _windows(over.padded(x, 0.0, end), over).sum(dim=spatial)
    divisor = torch.ones((), dtype=x.dtype)
    rows = zip(sizes, over.begin, over.end, over.kernel, over.dilations, over.strides, counts, strict=True)
    for size, begin, behind, kernel, dilation, stride, count in rows:
        cell = torch.arange(count)[:, None] * stride + torch.arange(kernel)[None, :] * dilation - begin
        low, high = (-begin, size + behind) if include else (0, size)
        inside = ((cell >= low) & (cell < high)).sum(dim=1).to(x.dtype)
        divisor = divisor[..., None] * inside
    if bool((divisor == 0).any()):
        call.unsupported("a window that lies wholly in the padding has no mean")
    return total / divisor


@op("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    """The Lp norm of each window."""
    over = _pool_window(call, x)
    sizes = tuple(x.shape[2:])
    whole = over.padded(x, 0.0, _end_for(over, sizes, output_sizes(call, over, sizes)))
    return _lp_norm(call, _windows(whole, over), tuple(range(-len(sizes), 0)), keepdim=False)


def _lp_norm(call: Call, x: Tensor, dims: tuple[int, ...], *, keepdim: bool) -> Tensor:
    p = int(call.get("p", 2))
    if p < 1:
        call.bad(f"p is {p}")
    if p == 1:
        return x.abs().sum(dim=dims, keepdim=keepdim)
    if p == 2:
        return x.square().sum(dim=dims, keepdim=keepdim).sqrt()
    return x.abs().pow(p).sum(dim=dims, keepdim=keepdim).pow(1.0 / p)


def _whole_channel(call: Call, x: Tensor) -> tuple[int, ...]:
    if x.dim() < 3:
        call.bad(f"an input of shape {list(x.shape)} has no spatial axis")
    return tuple(range(2, x.dim()))


@op("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean of each channel: (N, C, 1..1)."""
    return x.mean(dim=_whole_channel(call, x), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    """The largest element of each channel: (N, C, 1..1)."""
    return x.amax(dim=_whole_channel(call, x), keepdim=True)


@op("GlobalLpPool")
def global_lp_pool(call: Call, x: Tensor) -> Tensor:
    """The Lp norm of each channel: (N, C, 1..1)."""
    return _lp_norm(call, x, _whole_channel(call, x), keepdim=True)


@op("MaxUnpool")
def max_unpool(call: Call, x: Tensor, indices: Tensor, output_shape: Tensor | None = None) -> Tensor:
    """`x` put back where MaxPool found it, zero elsewhere; `indices` count within the whole output."""
    kernel = tuple(call.get("kernel_shape") or ())
    axes = x.dim() - 2
    if axes < 1 or len(kernel) != axes or indices.shape != x.shape:
        call.bad(f"an input {list(x.shape)} with indices {list(indices.shape)} and kernel_shape {list(kernel)}")
    strides = per_axis(call, "strides", axes, least=1)
    begin, end = explicit_pads(call, axes)
    rows = zip(x.shape[2:], strides, kernel, begin, end, strict=True)
    inferred = (*x.shape[:2], *((size - 1) * s - b - e + k for size, s, k, b, e in rows))
    if output_shape is not None and tuple(output_shape.tolist()) != inferred:
        call.unsupported(
            f"output_shape {output_shape.tolist()} instead of {list(inferred)}: ONNX's own test counts the indices"
            " within the latter, runtimes and PyTorch within the former"
        )
    if bool((indices < 0).any()) or bool((indices >= prod(inferred)).any()):
        call.bad(f"an index lies outside the tensor of shape {list(inferred)}")
    y = x.new_zeros(prod(inferred))
    y[indices.reshape(-1)] = x.reshape(-1)
    return y.reshape(inferred)
