"""ONNX Runtime's quantised operators (com.microsoft): what its quantiser and optimiser write."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sysnoise_conform.golden.integer_sums import integer_matmul
from sysnoise_conform.golden.microsoft import MICROSOFT
from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.pooling import average_pool
from sysnoise_conform.golden.quantisation import (
    dequantize_linear,
    dynamic_quantize_linear,
    grid,
    quantize_linear,
    saturated,
)
from sysnoise_conform.golden.types import T

op("QuantizeLinear", domain=MICROSOFT)(quantize_linear)
op("DequantizeLinear", domain=MICROSOFT)(dequantize_linear)


def _real(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """The real numbers that a tensor quantised as a whole stands for."""
    wide = x.to(scale.dtype)
    return (wide if zero is None else wide - zero.to(scale.dtype)) * grid(scale, T.FLOAT)


def _codes(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None, elem_type: int) -> Typed:
    return saturated(call, x / grid(scale, T.FLOAT), zero, elem_type)


def _binary(name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name, domain=MICROSOFT)
    def run(
        call: Call, a: Tensor, a_scale: Tensor, a_zero: Tensor | None, b: Tensor, b_scale: Tensor,
        b_zero: Tensor | None, c_scale: Tensor, c_zero: Tensor | None = None,
    ) -> Typed:  # fmt: skip
        y = compute(_real(a, a_scale, a_zero), _real(b, b_scale, b_zero))
        return _codes(call, y, c_scale, c_zero, call.input_types[0])


def _unary(name: str, compute: Callable[[Call, Tensor], Tensor]) -> None:
    @op(name, domain=MICROSOFT)
    def run(
        call: Call, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None
    ) -> Typed:
        return _codes(call, compute(call, _real(x, x_scale, x_zero)), y_scale, y_zero, call.input_types[0])


def _leaky(call: Call, x: Tensor) -> Tensor:
    return torch.where(x >= 0, x, float(call.get("alpha", 0.01)) * x)


def _softmax(call: Call, x: Tensor) -> Tensor:
    axis = int(call.get("axis", -1))
    if int(call.get("opset", 13)) >= 13:
        return torch.softmax(x, dim=axis)
    # Before opset 13 Softmax flattens all axes from `axis` on.
    return torch.softmax(x.flatten(axis % x.dim()), dim=-1).reshape(x.shape)


def _channel_mean(call: Call, x: Tensor) -> Tensor:
    if x.dim() < 3:
        call.bad(f"an input of shape {list(x.shape)} has no spatial axis")
    first = 1 if call.get("channels_last", 0) else 2
    return x.mean(dim=tuple(range(first, first + x.dim() - 2)), keepdim=True)


def _window_mean(call: Call, x: Tensor) -> Tensor:
    last = bool(call.get("channels_last", 0))
    pooled: Tensor = average_pool(call, x.movedim(-1, 1).contiguous() if last else x)
    return pooled.movedim(1, -1) if last else pooled


_binary("QLinearAdd", torch.add)
_binary("QLinearMul", torch.mul)
_unary("QLinearSigmoid", lambda _, x: torch.sigmoid(x))
_unary("QLinearLeakyRelu", _leaky)
_unary("QLinearSoftmax", _softmax)
_unary("QLinearGlobalAveragePool", _channel_mean)
_unary("QLinearAveragePool", _window_mean)


@op("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(call: Call, y_scale: Tensor, y_zero: Tensor, *parts: Tensor) -> Typed:
    """Parts (codes, scale, zero point) joined along `axis` and quantised alike."""
    if len(parts) % 3 or not parts:
        call.bad(f"{len(parts)} inputs where each part has three")
    real = [_real(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
    joined = torch.cat([each.to(y_scale.dtype) for each in real], dim=int(call.get("axis", 0)))
    return _codes(call, joined, y_scale, y_zero, call.input_types[1])


def _offset(zero: Tensor | None) -> Tensor:
    return torch.zeros((), dtype=torch.int32) if zero is None else zero


@op("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(
    call: Call, a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, a_zero: Tensor | None = None,
    b_zero: Tensor | None = None, bias: Tensor | None = None,
) -> Typed:  # fmt: skip
    """The integer product times both scales; those of `b` may be one per column."""
    types = (call.input_types[0], call.input_types[1])
    product = integer_matmul(call, a, _offset(a_zero), b, _offset(b_zero), types).to(call.working)
    y = product * (grid(a_scale, T.FLOAT) * grid(b_scale, T.FLOAT))
    return Typed(y if bias is None else y + bias, call.input_types[2])


@op("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(
    call: Call, a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """`a` quantised to uint8 by its own range, times the quantised `b`."""
    # Which code a number gets is decided in the declared float32, in both modes.
    codes, scale, zero = dynamic_quantize_linear(call, a.to(torch.float32))
    types = (T.UINT8, call.input_types[1])
    product = integer_matmul(call, codes.data, zero.data, b, _offset(b_zero), types).to(call.working)
    y: Tensor = product * (scale.to(call.working) * grid(b_scale, T.FLOAT))
    return y if bias is None else y + bias


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes of each row of bytes, the lowest bits first."""
    shifts = torch.arange(0, 8, bits, dtype=torch.int32)
    codes: Tensor = (packed.to(torch.int32)[..., None] >> shifts) & (2**bits - 1)
    return codes.flatten(-2)[..., :count]


@op("MatMulNBits", domain=MICROSOFT)
def matmul_nbits(
    call: Call, a: Tensor, b: Tensor, scales: Tensor, zeros: Tensor | None = None, group: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`a` (..., K) times weights (N, K) of 2, 4 or 8 bits, with a scale and zero point per block of K."""
    bits, rows, depth = int(call.get("bits", 4)), int(call.get("N", 0)), int(call.get("K", 0))
    block = int(call.get("block_size", 0))
    if group is not None or call.get("weight_prepacked", 0) or bits not in (2, 4, 8):
        call.unsupported(f"{bits} bits, a group index or prepacked weights")
    if min(rows, depth, block) < 1 or a.shape[-1] != depth:
        call.bad(f"N {rows}, K {depth}, block_size {block} for an input {list(a.shape)}")
    blocks = -(-depth // block)
    codes = _unpacked(b.reshape(rows, blocks, -1), bits, block)
    if codes.shape[-1] != block:
        call.bad(f"weights of shape {list(b.shape)} for blocks of {block}")
    if zeros is None:
        zero = torch.full((rows, blocks), 2 ** (bits - 1), dtype=a.dtype)
    elif zeros.is_floating_point():
        zero = zeros.reshape(rows, blocks).to(a.dtype)
    else:
        zero = _unpacked(zeros.reshape(rows, -1), bits, blocks).to(a.dtype)
    weights = (codes.to(a.dtype) - zero[..., None]) * scales.reshape(rows, blocks, 1)
    y = a @ weights.reshape(rows, blocks * block)[:, :depth].T
    return y if bias is None else y + bias
