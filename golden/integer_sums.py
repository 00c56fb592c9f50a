"""Sums of products of 8-bit codes: exact, or as x86 makes them without VNNI, where pairs of products saturate.

Before VNNI the fast instruction is VPMADDUBSW: it multiplies unsigned by signed bytes and adds the products of two
neighbours into 16 bits with signed saturation (Intel 64 and IA-32 SDM, volume 2, PMADDUBSW); VPMADDWD and VPADDD add
on in 32 bits. What the runtimes make of it, by ONNX Runtime's MLAS (qgemm_kernel_avx2.cpp, QgemmU8X8KernelAvx2.S):
signed weights take this way, whatever the activations are (signed ones are shifted by 128 to unsigned), pairs are
neighbours along the summed axis, from its beginning; unsigned weights are widened and exact; zero points are taken
off the sum afterwards. A convolution sums over (kernel position, channel), the channel fastest; a depthwise one has a
kernel of its own, which is exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.unfolding import convolve_by

SUMS = "conform_sums"  # the attribute that asks for it, see `golden.dialects`
PAIRS = "u8s8_pairs"
_LOW, _HIGH = -(2**15), 2**15 - 1
_AT_ONCE = 1 << 22  # products held at once
_RISK = 129  # |w0 + w1| from which 255 * (w0 + w1) leaves 16 bits; below it nothing saturates


def saturating_matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a` (M, K) of 0 to 255 times `b` (K, N) of -128 to 127, float64 integers, each pair of products saturated."""
    if b.shape[0] % 2:
        a, b = F.pad(a, (0, 1)), F.pad(b, (0, 0, 0, 1))
    total = a @ b
    first, second = b[0::2], b[1::2]
    pairs, columns = ((first + second).abs() >= _RISK).nonzero(as_tuple=True)
    step = max(1, _AT_ONCE // max(1, a.shape[0]))
    for start in range(0, len(pairs), step):
        pair, column = pairs[start : start + step], columns[start : start + step]
        products = a[:, 2 * pair] * first[pair, column]
        products += a[:, 2 * pair + 1] * second[pair, column]
        total.index_add_(1, column, products.clamp(_LOW, _HIGH) - products)
    return total


def integer_matmul(call: Call, a: Tensor, a_zero: Tensor, b: Tensor, b_zero: Tensor, types: tuple[int, int]) -> Tensor:
    """(a - a_zero) @ (b - b_zero) in float64; `types` are the element types of `a` and `b`.

    `a_zero` broadcasts over the rows of `a`, `b_zero` over the columns of `b`. Exact while sums stay below 2**53, which
    takes an inner size beyond 2**37.
    """
    a, b = a.to(torch.float64), b.to(torch.float64)
    a_zero, b_zero = a_zero.to(torch.float64), b_zero.to(torch.float64)
    exact = torch.matmul(a - a_zero, b - b_zero)
    if call.get(SUMS) != PAIRS or types[1] != T.INT8 or a.dim() < 2 or b.dim() < 2:
        return exact
    unsigned = a + 128 if types[0] == T.INT8 else a
    if b.dim() == 2:
        rows = unsigned.reshape(-1, unsigned.shape[-1])
        return exact + (saturating_matmul(rows, b) - rows @ b).reshape(exact.shape)
    batch = exact.shape[:-2]
    left = unsigned.expand(*batch, *unsigned.shape[-2:]).reshape(-1, *unsigned.shape[-2:])
    right = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
    lost = [saturating_matmul(one, other) - one @ other for one, other in zip(left, right, strict=True)]
    return exact + torch.stack(lost).reshape(exact.shape) if lost else exact


def saturating_convolution(call: Call, x: Tensor, x_zero: Tensor, w: Tensor, x_type: int) -> Tensor:
    """How far the sums of a convolution of codes miss the exact ones: `x` (N, C, D1..Dn), `w` (M, C/group, k1..kn)."""
    shift = 128 if x_type == T.INT8 else 0

    def lost(rows: Tensor, columns: Tensor, _: int) -> Tensor:
        return saturating_matmul(rows, columns) - rows @ columns

    unsigned = x.to(torch.float64) + shift
    return convolve_by(call, unsigned, w.to(torch.float64), lost, fill=float(x_zero) + shift)


def lost_in_pairs(call: Call, x: Tensor, x_zero: Tensor | None, w: Tensor, types: tuple[int, int]) -> Tensor | float:
    """What saturation takes from the exact sums of a convolution of codes; 0 where nobody asked or nothing can."""
    depthwise = w.shape[1] == 1 and w.shape[0] == int(call.get("group", 1))
    if call.get(SUMS) != PAIRS or types[1] != T.INT8 or depthwise:
        return 0.0
    zero = torch.zeros(()) if x_zero is None else x_zero.reshape(())
    return saturating_convolution(call, x, zero, w, types[0])
