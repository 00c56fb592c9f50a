"""Convolutions: Conv, ConvTranspose, CausalConvWithState, and Col2Im, which puts their columns back."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.sliding import Window, explicit_pads, per_axis, split_padding, window

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def _spatial_axes(call: Call, x: Tensor, w: Tensor) -> int:
    axes = x.dim() - 2
    if axes < 1 or w.dim() != x.dim():
        call.bad(f"an input of shape {list(x.shape)} with a weight of shape {list(w.shape)}")
    if axes not in _CONV:
        call.unsupported(f"{axes} spatial axes; PyTorch convolves 1 to 3")
    return axes


def convolve(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution that the node's attributes describe.

    `x` (N, C, D1..Dn), `w` (M, C/group, k1..kn) and `bias` (M) share one floating dtype; so do
    integers that were converted to float64 without loss, for the quantised convolutions.
    """
    axes = _spatial_axes(call, x, w)
    group = int(call.get("group", 1))
    if group < 1 or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        call.bad(f"group {group} does not divide an input {list(x.shape)} and a weight {list(w.shape)}")
    over = window(call, tuple(x.shape[2:]), tuple(w.shape[2:]))
    padding = over.begin
    if not over.symmetric:
        x = over.padded(x)
        padding = (0,) * axes
    spans = zip(x.shape[2:], padding, over.extents, strict=True)
    if any(size + 2 * pad < extent for size, pad, extent in spans):
        call.bad(f"a kernel that spans {list(over.extents)} is larger than the padded input")
    return _CONV[axes](x, w, bias, over.strides, padding, over.dilations, group)


@op("Conv")
def conv(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-correlation of `x` (N, C, D1..Dn) with `w` (M, C/group, k1..kn), plus `bias` (M)."""
    return convolve(call, x, w, bias)


def _transposed_padding(call: Call, sizes: tuple[int, ...], over: Window, extra: tuple[int, ...]) -> Window:
    """The window with the pads of a ConvTranspose, where `output_shape` or `auto_pad` decide them."""
    shape = call.get("output_shape")
    same = over.auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if shape is None and not same:
        return over
    if shape is not None:
        # Some exporters write the batch and channel sizes too.
        shape = tuple(shape)[-len(sizes) :]
        if len(shape) != len(sizes):
            call.bad(f"output_shape {list(call.get('output_shape'))} for {len(sizes)} spatial axes")
    else:
        shape = tuple(size * stride for size, stride in zip(sizes, over.strides, strict=True))
    begin, end = [], []
    for size, stride, extent, more, wanted in zip(sizes, over.strides, over.extents, extra, shape, strict=True):
        total = stride * (size - 1) + more + extent - wanted
        if total < 0 and call.get("output_shape") is None:
            call.unsupported(f"auto_pad {over.auto_pad} where the full output is smaller than input times stride")
        if total < 0:
            # The wanted output is larger than the full one: it grows at its end, as an output padding.
            first, last = 0, total
        else:
            first, last = split_padding(total, extra_first=over.auto_pad == "SAME_LOWER")
            if total % 2 and over.auto_pad in ("NOTSET", "VALID"):
                call.unsupported(
                    "output_shape needs an odd padding without auto_pad; the texts of opset 1 and 11 put the odd"
                    " element on opposite sides"
                )
        begin.append(first)
        end.append(last)
    return Window(
        kernel=over.kernel,
        strides=over.strides,
        dilations=over.dilations,
        begin=tuple(begin),
        end=tuple(end),
        auto_pad=over.auto_pad,
    )


@op("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """The gradient of a convolution: `x` (N, C, D1..Dn), `w` (C, M/group, k1..kn), `bias` (M)."""
    axes = _spatial_axes(call, x, w)
    group = int(call.get("group", 1))
    if group < 1 or x.shape[1] != w.shape[0] or x.shape[1] % group:
        call.bad(f"group {group} does not divide an input {list(x.shape)} and a weight {list(w.shape)}")
    sizes = tuple(x.shape[2:])
    extra = per_axis(call, "output_padding", axes, least=0)
    over = _transposed_padding(call, sizes, window(call, sizes, tuple(w.shape[2:])), extra)
    run = _CONV_TRANSPOSE[axes]
    steps = zip(extra, over.strides, over.dilations, strict=True)
    if over.symmetric and all(more < max(stride, dilation) for more, stride, dilation in steps):
        return run(x, w, bias, over.strides, over.begin, extra, group, over.dilations)
    # The full output, cropped by the pads; what lies beyond it (output padding) is the bias alone.
    full = run(x, w, None, over.strides, 0, 0, group, over.dilations)
    margins = [
        margin
        for first, last, more in zip(reversed(over.begin), reversed(over.end), reversed(extra), strict=True)
        for margin in (-first, more - last)
    ]
    y = F.pad(full, margins)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


@op("CausalConvWithState", since=27)
def causal_conv_with_state(
    call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None, past: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution of `x` (N, C, L) with `w` (C, 1, k); the state is (N, C, k - 1)."""
    if x.dim() != 3 or w.dim() != 3 or w.shape[0] != x.shape[1] or w.shape[1] != 1:
        call.bad(f"an input of shape {list(x.shape)} with a weight of shape {list(w.shape)}")
    reach = w.shape[2] - 1
    if past is None:
        past = x.new_zeros((x.shape[0], x.shape[1], reach))
    if tuple(past.shape) != (x.shape[0], x.shape[1], reach):
        call.bad(f"past_state has shape {list(past.shape)}, not {[x.shape[0], x.shape[1], reach]}")
    history = torch.cat([past, x], dim=2)
    y = F.conv1d(history, w, bias, groups=x.shape[1])
    match call.get("activation", "none"):
        case "none":
            pass
        case "silu" | "swish":
            y = y * torch.sigmoid(y)
        case other:
            call.bad(f"activation is {other!r}; the text knows silu, swish and none")
    return y, history[:, :, history.shape[2] - reach :]


@op("Col2Im", since=18)
def col2im(call: Call, x: Tensor, image_shape: Tensor, block_shape: Tensor) -> Tensor:
    """Columns (N, C * prod(block), L) added back into images (N, C, *image_shape)."""
    image = tuple(int(v) for v in image_shape.tolist())
    block = tuple(int(v) for v in block_shape.tolist())
    axes = len(image)
    if x.dim() != 3 or len(block) != axes or min(image + block, default=0) < 1 or x.shape[1] % prod(block):
        call.bad(f"columns {list(x.shape)}, image_shape {list(image)} and block_shape {list(block)} don't fit")
    strides = per_axis(call, "strides", axes, least=1)
    dilations = per_axis(call, "dilations", axes, least=1)
    begin, end = explicit_pads(call, axes)
    padded = tuple(size + b + e for size, b, e in zip(image, begin, end, strict=True))
    counts = tuple(
        (size - (k - 1) * d - 1) // s + 1 for size, k, d, s in zip(padded, block, dilations, strides, strict=True)
    )
    if min(counts) < 1 or prod(counts) != x.shape[2]:
        call.bad(f"{x.shape[2]} columns where the attributes give {list(counts)} blocks")
    # Flat position in the padded image of block element k (rows) of block l (columns).
    position = torch.zeros((1, 1), dtype=torch.int64)
    for size, k, count, dilation, stride in zip(padded, block, counts, dilations, strides, strict=True):
        along = torch.arange(k)[:, None] * dilation + torch.arange(count)[None, :] * stride
        position = position[:, None, :, None] * size + along[None, :, None, :]
        position = position.reshape(position.shape[0] * k, -1)
    batch, channels = x.shape[0], x.shape[1] // prod(block)
    flat = x.new_zeros((batch, channels, prod(padded)))
    flat.index_add_(2, position.reshape(-1), x.reshape(batch, channels, -1))
    whole = flat.reshape(batch, channels, *padded)
    inner = tuple(slice(b, b + size) for b, size in zip(begin, image, strict=True))
    return whole[(slice(None), slice(None), *inner)].contiguous()
