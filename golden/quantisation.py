"""Quantised arithmetic: to and from integers and small floats, per tensor, axis or block."""

from __future__ import annotations

import torch
from torch import Tensor

from sysnoise_conform.golden.casting import small_float
from sysnoise_conform.golden.convolution import convolve
from sysnoise_conform.golden.integer_sums import integer_matmul, lost_in_pairs
from sysnoise_conform.golden.linear_algebra import per_row
from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.shaping import axis_of
from sysnoise_conform.golden.types import INTEGER_RANGE, SMALL_FLOATS, T, type_name
from sysnoise_conform.golden.values import settle

ROUNDING = "conform_rounding"  # an attribute that `golden.dialects` adds; without it ties go to even
HALF_AWAY = "half_away"


def along(call: Call, x: Tensor, parameter: Tensor) -> Tensor:
    """A scale or zero point shaped to broadcast over `x`: per tensor, per axis or per block."""
    if parameter.dim() == 0 or (parameter.dim() == 1 and parameter.numel() == 1):
        return parameter.reshape(())
    axis = call.get("axis", 1)
    block = call.get("block_size", 0)
    if parameter.dim() == 1 and not (block and x.dim() == 1):
        axis = 0 if x.dim() == 1 else axis_of(call, axis, x.dim())
        if parameter.shape[0] != x.shape[axis]:
            call.bad(f"{parameter.shape[0]} scales for axis {axis} of length {x.shape[axis]}")
        shape = [1] * x.dim()
        shape[axis] = -1
        return parameter.reshape(shape)
    axis = axis_of(call, axis, x.dim())
    if parameter.dim() != x.dim():
        call.bad(f"a scale of shape {list(parameter.shape)} for a tensor of shape {list(x.shape)}")
    if not block:
        block = -(-x.shape[axis] // max(parameter.shape[axis], 1))
    blocks = -(-x.shape[axis] // block)
    expected = [blocks if each == axis else size for each, size in enumerate(x.shape)]
    if list(parameter.shape) != expected:
        call.bad(f"a scale of shape {list(parameter.shape)}, blocks of {block} need {expected}")
    return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


def in_precision(x: Tensor, elem_type: int) -> Tensor:
    """A quotient rounded to the precision that the operator's text gives it, in the dtype of `x`.

    FLOAT too, in float64 mode: the integer that follows depends on it where the quotient is a tie.
    """
    return x if elem_type == T.DOUBLE else settle(x, elem_type, torch.float32).to(x.dtype)


def grid(scale: Tensor, elem_type: int) -> Tensor:
    """A scale as its declared type holds it: it fixes the grid that values are rounded to, in both modes."""
    return scale.to(torch.float32).to(scale.dtype) if elem_type == T.FLOAT else scale


def saturated(call: Call, quotient: Tensor, zero: Tensor | None, elem_type: int) -> Typed:
    """A quotient rounded to a quantised type, the zero point added, limited to the type's range."""
    if elem_type in SMALL_FLOATS:
        shifted = quotient if zero is None else quotient + zero.to(quotient.dtype)
        return Typed(small_float(call, shifted, elem_type), elem_type)
    if elem_type not in INTEGER_RANGE:
        call.bad(f"it can't quantise to {type_name(elem_type)}")
    low, high = INTEGER_RANGE[elem_type]
    rounded = _half_away(quotient) if call.get(ROUNDING) == HALF_AWAY else torch.round(quotient)
    if zero is not None:
        rounded = rounded + zero.to(rounded.dtype)
    # NaN has no integer; the lowest value is what conversions on this hardware give.
    limited = torch.clamp(torch.nan_to_num(rounded, nan=float(low)), low, high)
    return Typed(limited.to(torch.int64), elem_type)


def _half_away(quotient: Tensor) -> Tensor:
    """To the nearest integer, ties away from zero: C's round(). Adding a half before truncating would round twice."""
    whole = torch.trunc(quotient)
    return torch.where((quotient - whole).abs() >= 0.5, whole + torch.sign(quotient), whole)


@op("QuantizeLinear")
def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Typed:
    """round(x / scale) + zero point, saturated."""
    target = call.get("output_dtype", 0) or (call.input_types[2] if zero is not None else T.UINT8)
    if zero is not None and call.input_types[2] != target:
        call.bad(f"`output_dtype` is {type_name(target)}, the zero point is {type_name(call.input_types[2])}")
    if zero is not None and zero.numel() != scale.numel():
        call.bad("its scale and its zero point differ in shape")
    precision = call.get("precision", 0) or call.input_types[1]
    wide = scale.dtype if scale.is_floating_point() else call.working
    numerator = x.to(wide) if precision == T.FLOAT else in_precision(x.to(wide), precision)
    quotient = in_precision(numerator / along(call, x, grid(scale, call.input_types[1])), precision)
    return saturated(call, quotient, None if zero is None else along(call, x, zero), target)


@op("DequantizeLinear")
def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Typed:
    """(x - zero point) * scale in the scale's type."""
    if zero is not None and zero.numel() != scale.numel():
        call.bad("its scale and its zero point differ in shape")
    wide = x if x.is_floating_point() else x.to(torch.int64)
    if zero is not None:
        offset = along(call, x, zero)
        wide = wide - (offset if wide.is_floating_point() else offset.to(torch.int64))
    target = call.get("output_dtype", 0) or call.input_types[1]
    return Typed(wide.to(scale.dtype) * along(call, x, grid(scale, call.input_types[1])), target)


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Typed, Tensor, Typed]:
    """uint8 with a scale and zero point that cover the data's range and zero."""
    low = torch.clamp(x.amin(), max=0) if x.numel() else torch.zeros((), dtype=x.dtype)
    high = torch.clamp(x.amax(), min=0) if x.numel() else torch.zeros((), dtype=x.dtype)
    scale = grid((high - low) / 255, T.FLOAT)
    if bool(scale == 0):  # all zero: the quotients below would be NaN
        nothing = Typed(torch.zeros((), dtype=torch.int64), T.UINT8)
        return Typed(torch.zeros(x.shape, dtype=torch.int64), T.UINT8), scale, nothing
    zero = saturated(call, in_precision((0 - low) / scale, T.FLOAT), None, T.UINT8)
    return saturated(call, in_precision(x / scale, T.FLOAT), zero.data, T.UINT8), scale, zero


@op("QLinearMatMul")
def qlinear_matmul(
    call: Call, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor,
    y_scale: Tensor, y_zero: Tensor,
) -> Typed:  # fmt: skip
    """The product of two quantised matrices, quantised again."""
    types = (call.input_types[0], call.input_types[3])
    product = integer_matmul(call, a, per_row(a_zero, a), b, b_zero, types).to(call.working)
    factor = per_row(a_scale, a) * b_scale / y_scale
    zero = y_zero if y_zero.numel() == 1 else per_row(y_zero, product)
    quotient = in_precision(product * factor, call.input_types[6])
    return saturated(call, quotient, zero.reshape(()) if zero.numel() == 1 else zero, call.input_types[7])


def per_channel(values: Tensor, rank: int) -> Tensor:
    """A scalar, or one value per output channel, shaped to broadcast along the first axis."""
    return values.reshape(()) if values.numel() == 1 else values.reshape(-1, *([1] * (rank - 1)))


def code_sums(
    call: Call, x: Tensor, x_zero: Tensor | None, w: Tensor, w_zero: Tensor | None, types: tuple[int, int]
) -> Tensor:
    """The convolution of codes less their zero points, in float64; sums are exact (below 2**53) or saturate in pairs.

    `types` are the element types of `x` and `w`.
    """
    wide = torch.float64
    left, right = x.to(wide), w.to(wide)
    lost = lost_in_pairs(call, left, x_zero, right, types)
    if x_zero is not None:
        left = left - x_zero.to(wide).reshape(())
    if w_zero is not None:
        right = right - per_channel(w_zero.to(wide), w.dim())
    return convolve(call, left, right) + lost


@op("QLinearConv")
def qlinear_conv(
    call: Call, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor, w_zero: Tensor,
    y_scale: Tensor, y_zero: Tensor, bias: Tensor | None = None,
) -> Typed:  # fmt: skip
    """The convolution of quantised tensors, quantised again."""
    total = code_sums(call, x, x_zero, w, w_zero, (call.input_types[0], call.input_types[3]))
    if bias is not None:
        total = total + per_channel(bias.to(torch.float64), total.dim() - 1)
    factor = x_scale.reshape(()) * w_scale / y_scale.reshape(())
    quotient = total.to(call.working) * per_channel(factor, total.dim() - 1)
    return saturated(call, in_precision(quotient, T.FLOAT), y_zero.reshape(()), call.input_types[7])


@op("ConvInteger")
def conv_integer(
    call: Call, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Typed:
    """The int32 convolution of 8-bit tensors, zero points subtracted first."""
    total = code_sums(call, x, x_zero, w, w_zero, (call.input_types[0], call.input_types[1]))
    return Typed(total.to(torch.int64), T.INT32)
