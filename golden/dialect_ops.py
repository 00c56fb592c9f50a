"""Operators as some hardware computes them, in a domain of their own: `golden.dialects` puts them into a graph.

They stand where the graph has ONNX's operator, with its attributes and one more that tells the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sysnoise_conform.compare.arithmetic import TF32
from sysnoise_conform.golden import linear_algebra, microsoft_quantised, quantisation
from sysnoise_conform.golden.integer_sums import integer_matmul
from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.unfolding import convolve_by
from sysnoise_conform.golden.values import round_to

DOMAIN = "sysnoise_conform.dialect"
VERSION = 1
FORMAT = "conform_format"  # of an operand: tf32, bf16, fp16
_SMALLEST_NORMAL = 2.0**-126  # of binary32

# The same functions under our domain, where a node may carry the attributes that they look for.
QUANTISED = {
    "QuantizeLinear": quantisation.quantize_linear,
    "QLinearConv": quantisation.qlinear_conv,
    "QLinearMatMul": quantisation.qlinear_matmul,
    "ConvInteger": quantisation.conv_integer,
    "MatMulInteger": linear_algebra.matmul_integer,
    "MatMulIntegerToFloat": microsoft_quantised.matmul_integer_to_float,
    "DynamicQuantizeMatMul": microsoft_quantised.dynamic_quantize_matmul,
}
for _name, _run in QUANTISED.items():
    op(_name, domain=DOMAIN)(_run)


@op("Rounded", domain=DOMAIN)
def rounded(call: Call, x: Tensor) -> Typed:
    """A FLOAT operand as a matrix unit reads it, in TF32, bfloat16 or float16; other types as they are.

    Ties of TF32 go away from zero (`compare.arithmetic`), those of the others to even.
    """
    elem_type = call.input_types[0]
    if elem_type != T.FLOAT:
        return Typed(x, elem_type)
    kind = str(call.get(FORMAT))
    if kind == "tf32":
        single = x.to(torch.float32).contiguous().numpy()
        return Typed(torch.from_numpy(TF32.rounded(single)).to(x.dtype), T.FLOAT)
    return Typed(round_to(x, {"bf16": T.BFLOAT16, "fp16": T.FLOAT16}[kind]).to(x.dtype), T.FLOAT)


@op("Flushed", domain=DOMAIN)
def flushed(call: Call, x: Tensor) -> Typed:
    """A FLOAT tensor with each subnormal as a zero of its sign (DAZ and FTZ of MXCSR; Intel SDM, volume 1, 10.2.3)."""
    elem_type = call.input_types[0]
    return Typed(torch.where(x.abs() < _SMALLEST_NORMAL, x * 0, x) if elem_type == T.FLOAT else x, elem_type)


def half_sums(a: Tensor, b: Tensor) -> Tensor:
    """`a` (..., M, K) @ `b` (..., K, N) as float64, one product after the other onto a sum that is always float16.

    Each step is a fused multiply-add with one rounding, as FMLA on float16 (Arm ARM, FMLA (vector)); operands are
    rounded to float16 first.
    """
    left = round_to(a, T.FLOAT16).to(torch.float64)
    right = round_to(b, T.FLOAT16).to(torch.float64)
    total = torch.matmul(left[..., :0], right[..., :0, :])
    for k in range(left.shape[-1]):
        total = round_to(torch.addcmul(total, left[..., k, None], right[..., k, None, :]), T.FLOAT16).to(torch.float64)
    return total


@op("MatMul", domain=DOMAIN)
def half_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """MatMul with float16 sums."""
    y = half_sums(a[None] if a.dim() == 1 else a, b[:, None] if b.dim() == 1 else b).to(call.working)
    if a.dim() == 1:
        y = y.squeeze(-2)
    return y.squeeze(-1) if b.dim() == 1 else y


@op("Gemm", domain=DOMAIN)
def half_gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm with float16 sums; alpha, beta and C come after them."""
    y = half_sums(a.T if call.get("transA", 0) else a, b.T if call.get("transB", 0) else b).to(call.working)
    y = y * float(call.get("alpha", 1.0))
    return y if c is None else y + float(call.get("beta", 1.0)) * c


@op("Conv", domain=DOMAIN)
def half_conv(call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv with float16 sums; the bias comes after them."""
    y = convolve_by(call, x, w, lambda rows, columns, _: half_sums(rows, columns)).to(call.working)
    return y if bias is None else y + bias.reshape(-1, *([1] * (y.dim() - 2)))


@op("CodesConv", domain=DOMAIN)
def codes_conv(
    call: Call, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, w: Tensor, w_scale: Tensor, w_zero: Tensor | None,
    bias: Tensor | None = None,
) -> Typed:  # fmt: skip
    """Conv of two dequantised tensors, summed in codes: (sum of products) * x_scale * w_scale + bias, as FLOAT."""
    sums = quantisation.code_sums(call, x, x_zero, w, w_zero, (call.input_types[0], call.input_types[3]))
    y = sums.to(call.working) * quantisation.per_channel(x_scale.reshape(()) * w_scale, sums.dim() - 1)
    return Typed(y if bias is None else y + quantisation.per_channel(bias, sums.dim() - 1), call.input_types[1])


@op("CodesGemm", domain=DOMAIN)
def codes_gemm(
    call: Call, a: Tensor, a_scale: Tensor, a_zero: Tensor | None, b: Tensor, b_scale: Tensor, b_zero: Tensor | None,
    c: Tensor | None = None,
) -> Typed:  # fmt: skip
    """MatMul or Gemm of two dequantised tensors, summed in codes, as FLOAT."""
    left = a.mT if call.get("transA", 0) else a
    right = b.mT if call.get("transB", 0) else b
    none = torch.zeros((), dtype=torch.float64)
    sums = integer_matmul(
        call, left, none if a_zero is None else a_zero.reshape(()), right,
        none if b_zero is None else b_zero, (call.input_types[0], call.input_types[3]),
    )  # fmt: skip
    y = sums.to(call.working) * (a_scale.reshape(()) * b_scale) * float(call.get("alpha", 1.0))
    return Typed(y if c is None else y + float(call.get("beta", 1.0)) * c, call.input_types[1])
