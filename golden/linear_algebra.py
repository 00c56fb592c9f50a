"""Matrix products, contractions and determinants."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.integer_sums import integer_matmul
from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.types import T


@op("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The matrix product as numpy.matmul defines it; integers wrap."""
    return torch.matmul(a, b)


@op("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha * A' * B' + beta * C; C broadcasts in one direction."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if a.dim() != 2 or b.dim() != 2:
        call.bad(f"A has rank {a.dim()}, B has rank {b.dim()}, both must be matrices")
    transposed_a, transposed_b = call.get("transA", 0), call.get("transB", 0)
    left = a.T if transposed_a else a
    shape = (left.shape[0], b.shape[0] if transposed_b else b.shape[1])
    if c is not None and np.broadcast_shapes(tuple(c.shape), shape) != shape:
        call.bad(f"C of shape {list(c.shape)} does not broadcast to {list(shape)}")
    if not a.is_floating_point():
        return _integer_gemm(left, b.T if transposed_b else b, c, alpha, beta)
    if alpha == 1.0 and beta == 1.0 and transposed_b and c is not None and c.dim() == 1 and c.shape[0] == shape[1]:
        return F.linear(left, b, c)
    right = b.T if transposed_b else b
    product = torch.mm(left, right)
    if alpha != 1.0:
        product = alpha * product
    if c is None:
        return product
    return product + (c if beta == 1.0 else beta * c)


def _integer_gemm(a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float) -> Tensor:
    product = torch.mm(a.to(torch.int64), b.to(torch.int64))
    if alpha != 1.0:
        product = (alpha * product.to(torch.float64)).to(torch.int64)
    if c is None:
        return product
    return product + (c if beta == 1.0 else (beta * c.to(torch.float64)).to(torch.int64))


@op("Einsum")
def einsum(call: Call, *inputs: Tensor) -> Tensor:
    """The contraction that `equation` writes in Einstein's notation."""
    return torch.einsum(call.get("equation"), *inputs)


@op("Det")
def det(call: Call, x: Tensor) -> Tensor:
    """The determinant of each square matrix in the last two dimensions."""
    determinant: Tensor = torch.linalg.det(x)
    return determinant


@op("MatMulInteger")
def matmul_integer(
    call: Call, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Typed:
    """The int32 product of 8-bit matrices, zero points (per row of A, per column of B) subtracted first."""
    none = torch.zeros((), dtype=torch.int32)
    left, right = none if a_zero is None else per_row(a_zero, a), none if b_zero is None else b_zero
    product = integer_matmul(call, a, left, b, right, (call.input_types[0], call.input_types[1]))
    return Typed(product.to(torch.int64), T.INT32)


def per_row(values: Tensor, matrix: Tensor) -> Tensor:
    """A scalar, or one value per row of `matrix`, shaped to broadcast along the rows."""
    if values.dim() == 1 and values.numel() > 1 and matrix.dim() > 1:
        return values.unsqueeze(-1)
    return values

