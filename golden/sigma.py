"""How far one operator of correct arithmetic may be off, derived from its own operands.

A result of one rounding to nearest is off by a relative error of variance u**2 / 6, where the unit roundoff u (2**-24
in float32) is half the distance from 1 to the next number (the error is uniform within half a unit in the last place,
and a magnitude's place between two powers of two is log-uniform). So, with sums over all elements of the tensor:

    sigma**2 = (u_y**2 * y**2  +  u_s**2 * inner  +  u_x**2 * 2*q) / 6

    y**2    the rounding of the output itself: to the arithmetic's format where it is stored so, else to float32
    inner   the roundings inside the operator, of sums in the accumulator's type, below
    2*q     the roundings of the operands of a dot product, q = sum((x*w)**2): only where the answer that a result is
            compared with was computed on the operands as they were. A float64 answer to operands that were rounded
            alike holds them already, and is the sharper one: `golden.replay`

float32 rounds no operand, and u_y = u_s. TF32 and float16 round operands to 11 bits, bfloat16 to 8, and all of them add
in float32 (`compare.arithmetic`); float16 may add in itself. An 8-bit integer has steps in place of a unit roundoff,
see `dot_products.of_steps`. Simulated term by term, n = 64 to 4608 (tests/test_sigma_of_arithmetics.py), rms(error) /
sigma is 0.9 to 1.15 with all three terms, 0.8 to 1.3 where a mean of 5 or an outlier of 50 carries the operands, 0.6 to
1.2 without the third; 0.2 in bfloat16 whose result is kept in float32, since many sums of its short products are exact.

What the inputs' own errors become is not in it: `simulation` runs the whole graph with such errors.

**Dot products** (Conv, ConvTranspose, Gemm, MatMul) of n terms, summed one after the other: the partial
sum after a part t of the terms is a random bridge to y, of mean square t*(1-t)*q + t**2*y**2 with
q = sum((x*w)**2), and each is rounded once. Over t in 0..1 that is

    inner = n * (q / 6 + y**2 / 3)

For terms of zero mean (y**2 ~ q) it is n*q/2, so sigma**2 = u**2/12 * n * conv(x**2, w**2): the accumulation
term u**2 * n * conv(x**2, w**2) of the probabilistic error analysis (Higham and Mary, "A New Approach to
Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019) with its constant. An
implementation that sums in blocks is better by up to sqrt(n / block), never worse; Winograd and FFT are
worse by a constant. Measured with torch 2.13 on AVX2: rms(error)/sigma 0.7 to 1.1 for convolutions and
matrix-vector products up to n = 4608, 0.2 to 1.0 for matrix products, which sum in blocks.
`dot_products` tells n and q, `roundings` the rest of the operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor

from sysnoise_conform.compare.arithmetic import FLOAT32, INT8, Arithmetic
from sysnoise_conform.decisions.reach import never_rounded
from sysnoise_conform.golden.dot_products import PRODUCTS, Operands, of_steps, square
from sysnoise_conform.golden.roundings import FORMULAS
from sysnoise_conform.golden.simulation import FLIPPED, gives_codes
from sysnoise_conform.golden.types import FLOATS, T
from sysnoise_conform.golden.values import Value

__all__ = ["FORMULAS", "Sigmas"]

# One rounding of the exact result and nothing else (IEEE 754-2019, 5.4.1): where all results leave bits free, none of
# them was rounded, and a decision behind them is as clear as it looks.
ROUNDED_ONCE = ("Add", "Sub", "Mul")
_DIGITS = 24  # of binary32's significand

UNIT_ROUNDOFF: dict[int, float] = {T.FLOAT: 2.0**-24, T.FLOAT16: 2.0**-11, T.BFLOAT16: 2.0**-8}


class Sigmas:
    """The derived error of each operator of one model's main graph, in one arithmetic."""

    def __init__(self, model: onnx.ModelProto, arithmetic: Arithmetic = FLOAT32) -> None:
        self._arithmetic = arithmetic
        self._opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
        self._attributes = {
            node.output[0]: {
                each.name: onnx.helper.get_attribute_value(each)
                for each in node.attribute
                if each.type not in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR)
            }
            for node in model.graph.node
            if node.op_type in FORMULAS and node.output
        }

    def sum_of_squares(
        self, node: onnx.NodeProto, inputs: Sequence[Any], name: str, value: Value, *, stored: bool = False,
        represented: bool = False,
    ) -> float | None:  # fmt: skip
        """The sum over elements of sigma**2 for the tensor `name`; None where there is no error model.

        `inputs` and `value` are those of a float64 run. Elements that are not finite count as zero. `stored`: the
        result was kept in the arithmetic's format; `represented`: the operands' roundings count, too, since `value`
        was computed without them.
        """
        formula = FORMULAS.get(node.op_type)
        if formula is None or not node.output or name != node.output[0] or value.elem_type not in UNIT_ROUNDOFF:
            return None
        operands = tuple(_float64(each) for each in inputs)
        output = value.data.to(torch.float64)
        unit = UNIT_ROUNDOFF[value.elem_type]
        if stored and value.elem_type == T.FLOAT:
            unit = self._arithmetic.result

        def summed(operands: tuple[Any, ...], output: Tensor) -> float:
            given = Operands(
                operands, output, self._attributes.get(name, {}), self._opset, self._arithmetic.accumulator
            )
            total = (unit**2 * square(output) + self._arithmetic.accumulator**2 * formula(given)) / 6
            return total + (self._representation(node.op_type, given) if represented else 0.0)

        result = summed(operands, output)
        if not math.isfinite(result):
            cleaned = tuple(_finite(each) if isinstance(each, Tensor) else each for each in operands)
            result = summed(cleaned, _finite(output))
        return result if math.isfinite(result) else None

    def relative(
        self, node: onnx.NodeProto, inputs: Sequence[Any], name: str, value: Value, *, stored: bool = False,
        represented: bool = False,
    ) -> float:  # fmt: skip
        """sigma / rms of the tensor, 0 where there is no error model or nothing but zeros; of codes, what flips."""
        if gives_codes(node, value):
            return FLIPPED
        if node.op_type in ROUNDED_ONCE and value.elem_type == T.FLOAT and never_rounded(value.data.numpy(), _DIGITS):
            return 0.0
        total = self.sum_of_squares(node, inputs, name, value, stored=stored, represented=represented)
        if not total:
            return 0.0
        output = value.data.to(torch.float64)
        size = square(output)
        if not math.isfinite(size):
            size = square(_finite(output))
        return math.sqrt(total / size) if size > 0 else 0.0

    def _representation(self, op_type: str, operands: Operands) -> float:
        """What rounding the operands of a dot product costs; those of other operators are rounded by whoever asks."""
        if op_type not in PRODUCTS or not operands.x.numel():
            return 0.0
        if self._arithmetic is INT8:
            return of_steps(op_type, operands)
        if self._arithmetic is FLOAT32:
            return 0.0
        return self._arithmetic.operands**2 / 6 * 2 * PRODUCTS[op_type](operands)[1]


def _float64(value: Any) -> Any:
    if isinstance(value, Value) and value.elem_type in FLOATS:
        return value.data.to(torch.float64)
    return value.data if isinstance(value, Value) else None


def _finite(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)
