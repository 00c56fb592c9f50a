"""Sampling at positions that are themselves data: GridSample, AffineGrid, DeformConv."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.sliding import window

_MODES = {
    "bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "cubic": "bicubic",
}  # fmt: skip


@op("GridSample", since=16)
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """`x` (N, C, D1..Dr) sampled at `grid` (N, *out, r), whose last axis counts from the innermost.

    Before opset 20 the modes are called bilinear, nearest and bicubic, from then on linear, nearest and
    cubic; a cubic filter has PyTorch's coefficient -0.75.
    """
    axes = x.dim() - 2
    mode = _MODES.get(str(call.get("mode", "linear")))
    padding = str(call.get("padding_mode", "zeros"))
    if mode is None or padding not in ("zeros", "border", "reflection"):
        call.bad(f"mode {call.get('mode')!r} with padding_mode {padding!r}")
    if axes < 1 or grid.dim() != x.dim() or grid.shape[-1] != axes or grid.shape[0] != x.shape[0]:
        call.bad(f"an input of shape {list(x.shape)} with a grid of shape {list(grid.shape)}")
    if axes > 3 or (axes == 3 and mode == "bicubic"):
        call.unsupported(f"mode {call.get('mode', 'linear')} over {axes} spatial axes")
    if x.is_complex():
        call.unsupported("complex numbers")
    given = x.dtype
    x = x if x.is_floating_point() else x.to(torch.float64)
    dtype = torch.promote_types(x.dtype, grid.dtype)
    x, grid = x.to(dtype), grid.to(dtype)
    align = bool(call.get("align_corners", 0))
    if axes == 1:
        # One axis is an image of height 1, sampled at its only row.
        flat = torch.stack([grid[..., 0], torch.zeros_like(grid[..., 0])], dim=-1)[:, None]
        y = F.grid_sample(x[:, :, None], flat, mode=mode, padding_mode=padding, align_corners=align)[:, :, 0]
    else:
        y = F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=align)
    return y.to(given)


@op("AffineGrid", since=20)
def affine_grid(call: Call, theta: Tensor, size: Tensor) -> Tensor:
    """The positions, in [-1, 1], of an affine map `theta` (N, r, r + 1) over an image of `size`."""
    shape = [int(v) for v in size.tolist()]
    axes = len(shape) - 2
    if axes not in (2, 3) or tuple(theta.shape) != (shape[0], axes, axes + 1) or min(shape) < 1:
        call.bad(f"theta {list(theta.shape)} for an image of size {shape}")
    return F.affine_grid(theta, shape, align_corners=bool(call.get("align_corners", 0)))


def bilinear(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`x` (B, C, H, W) at fractional `rows` and `columns` (B, P), zero outside: (B, C, P)."""
    height, width = x.shape[2:]
    flat = x.reshape(x.shape[0], x.shape[1], height * width)
    top, left = torch.floor(rows), torch.floor(columns)
    total: Tensor | None = None
    for row, weight_row in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, weight_column in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = torch.where(inside, row * width + column, 0.0).to(torch.int64)
            weight = torch.where(inside, weight_row * weight_column, 0.0)
            corner = flat.gather(2, index[:, None, :].expand(-1, x.shape[1], -1)) * weight[:, None, :]
            total = corner if total is None else total + corner
    assert total is not None, "four corners"
    return total


@op("DeformConv", since=19)
def deform_conv(
    call: Call, x: Tensor, w: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """A convolution of `x` (N, C, H, W) whose taps are moved by `offset` and weighted by `mask`.

    `offset` is (N, offset_group * kH * kW * 2, oH, oW), rows before columns; samples outside are zero.
    """
    if x.dim() != 4:
        call.unsupported(f"an input of rank {x.dim()}; only images are deformed here")
    group, offset_group = int(call.get("group", 1)), int(call.get("offset_group", 1))
    batch, channels = x.shape[:2]
    if w.dim() != 4 or min(group, offset_group) < 1 or channels != w.shape[1] * group or w.shape[0] % group:
        call.bad(f"group {group} does not fit an input {list(x.shape)} and a weight {list(w.shape)}")
    over = window(call, tuple(x.shape[2:]), tuple(w.shape[2:]))
    height, width = (
        (size + b + e - extent) // stride + 1
        for size, b, e, extent, stride in zip(
            x.shape[2:], over.begin, over.end, over.extents, over.strides, strict=True
        )
    )
    taps = prod(over.kernel)
    expected = (batch, offset_group * taps * 2, height, width)
    if channels % offset_group or tuple(offset.shape) != expected:
        call.bad(f"offset has shape {list(offset.shape)}, not {list(expected)}")
    moves = offset.reshape(batch, offset_group, taps, 2, height, width)
    regular = [
        torch.arange(count, dtype=x.dtype) * stride - begin
        for count, stride, begin in zip((height, width), over.strides, over.begin, strict=True)
    ]
    tap_rows = torch.arange(over.kernel[0], dtype=x.dtype).repeat_interleave(over.kernel[1]) * over.dilations[0]
    tap_columns = torch.arange(over.kernel[1], dtype=x.dtype).repeat(over.kernel[0]) * over.dilations[1]
    rows = moves[:, :, :, 0] + tap_rows[:, None, None] + regular[0][:, None]
    columns = moves[:, :, :, 1] + tap_columns[:, None, None] + regular[1]
    each = channels // offset_group
    sampled = bilinear(
        x.reshape(batch * offset_group, each, *x.shape[2:]),
        rows.reshape(batch * offset_group, -1),
        columns.reshape(batch * offset_group, -1),
    ).reshape(batch, offset_group, each, taps, height, width)
    if mask is not None:
        if tuple(mask.shape) != (batch, offset_group * taps, height, width):
            call.bad(f"mask has shape {list(mask.shape)}, not {[batch, offset_group * taps, height, width]}")
        sampled = sampled * mask.reshape(batch, offset_group, 1, taps, height, width)
    columns_of_group = sampled.reshape(batch, group, channels // group * taps, height * width)
    weights = w.reshape(group, w.shape[0] // group, -1)
    y = torch.matmul(weights, columns_of_group).reshape(batch, w.shape[0], height, width)
    return y if bias is None else y + bias.reshape(-1, 1, 1)
