"""What the roundings inside of each operator add up to: `inner` of `golden.sigma`, with the source of each formula.

**Sums, means, pooling, the sums inside of Softmax and of normalisations** are summed one after the other: ONNX
Runtime 1.31 and MNN 3.6 pool so, MNN's Softmax of n terms was measured 0.25 * sqrt(n) * u off in each row's scale, and
LiteRT's builtin kernels add so. PyTorch sums in blocks and is several times better.

The roundings of a long sum are independent only where its terms are. Of terms with few different values, as they come
out of a Round or a DequantizeLinear, many round the same way: MNN, which divides before it adds, was measured 5 sigma
off at the means of 324 multiples of 1/7. So the sums of reductions and of global pooling are also made in the
accumulator's type, one after the other (a mean's with its terms divided first, too), and what that is off counts where
it is more.

Everything that only moves or selects data (Relu, MaxPool, Reshape, ...) has no error of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.dot_products import PRODUCTS, Formula, Operands, along, rounded_once, square

_FLOAT32 = 2.0**-24


def _summed(n: float, squares: float, sums: float) -> float:
    """Sums of `n` terms; `squares` and `sums` = total of terms**2 and of results**2."""
    return n * (squares / 6 + sums / 3)


def _terms(operands: Operands) -> float:
    """How many elements of the input there are for each of the output."""
    return operands.x.numel() / max(1, operands.output.numel())


def _one_after_the_other(rows: Tensor, accumulator: float, *, divided: bool = False) -> float:
    """What the sums along the last axis are off, in the unit of `inner`; with their terms `divided` first.

    Made in float32, or in float16 where that is the accumulator.
    """
    made_in: Any = np.float16 if accumulator > _FLOAT32 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        terms = rows.to(torch.float32).numpy().astype(made_in, copy=False)
        number = terms.shape[-1]
        if number < 2 or not terms.size:
            return 0.0
        shares = terms * made_in(1 / number) if divided else terms
        made = np.add.accumulate(shares, axis=-1, dtype=made_in)[..., -1].astype(np.float64)
        error = made * (number if divided else 1) - terms.astype(np.float64).sum(-1)
    return square(torch.from_numpy(np.atleast_1d(error))) / (accumulator**2 / 6)


def _averaged(rows: Tensor, accumulator: float) -> float:
    """The larger of what sums are off whose terms are divided last or first: kernels of both kinds are there."""
    return max(_one_after_the_other(rows, accumulator), _one_after_the_other(rows, accumulator, divided=True))


def _reduced(operands: Operands) -> Tensor:
    """The first input, what is summed flat in its last axis."""
    axes = operands.input(1)
    given = operands.attributes.get("axes") if axes is None else axes.reshape(-1).tolist()
    rank = operands.x.dim()
    summed = sorted({int(each) % rank for each in given}) if given else list(range(rank))
    if not given and operands.attributes.get("noop_with_empty_axes"):
        summed = []
    kept = [each for each in range(rank) if each not in summed]
    return operands.x.permute(*kept, *summed).reshape(*(operands.x.shape[each] for each in kept), -1)


def _reduce_sum(operands: Operands) -> float:
    theory = _summed(_terms(operands), square(operands.x), square(operands.output))
    return max(theory, _one_after_the_other(_reduced(operands), operands.accumulator))


def _mean(operands: Operands, n: float, squares: float, made: float = 0.0) -> float:
    """A sum of `n` terms, `made` one after the other as far as that is known, and its division by `n`."""
    result = square(operands.output)
    return max(_summed(n, squares, n**2 * result), made) / n**2 + result


def _reduce_mean(operands: Operands) -> float:
    return _mean(operands, _terms(operands), square(operands.x), _averaged(_reduced(operands), operands.accumulator))


def _global_average_pool(operands: Operands) -> float:
    made = _averaged(operands.x.flatten(2), operands.accumulator)
    return _mean(operands, _terms(operands), square(operands.x), made)


def _average_pool(operands: Operands) -> float:
    kernel = list(operands.attributes.get("kernel_shape") or [1])
    if kernel == list(operands.x.shape[2:]) and math.prod(operands.output.shape[2:]) == 1:
        return _global_average_pool(operands)
    n = float(math.prod(kernel))
    return _mean(operands, n, n * operands.output.numel() * square(operands.x) / max(1, operands.x.numel()))


def _running_sum(operands: Operands) -> float:
    """CumSum: the mean depth is half of the axis, taken as the longest one."""
    n = max(operands.x.shape, default=1)
    return n * square(operands.output) / 6


def _root_of_squares(operands: Operands) -> float:
    return square(operands.output) * (1 + _terms(operands) / 12)


def _many_added(operands: Operands) -> float:
    """Each sum but the last is rounded before it."""
    return max(0, len(operands.inputs) - 2) * square(operands.output) / 2


def _roundings(count: float) -> Formula:
    """So many roundings inside, relative to the result."""
    return lambda operands: count * square(operands.output)


def _one_plus(formula: Formula) -> Formula:
    """x/2 * (1 + f(x)): the sum cancels for negative x, where the rounding of f near -1 stays."""
    return lambda operands: formula(operands) + square(operands.x.clamp(max=0)) / 2


def _from_one(formula: Formula, bound: Callable[[Operands], Tensor]) -> Formula:
    """A function whose small values, for negative x maybe, are what is left of 1, or of `bound`: an absolute accuracy.

    Vectorised kernels compute Erf as 1 less a polynomial times exp(-x²) (OpenVINO 2026.4 was measured 1.3 unit
    roundoffs off where the values are small), Tanh by exponentials (MNN 3.6 likewise), Sigmoid as 1/2 + 1/2 * tanh(x/2)
    by a rational function (ONNX Runtime's) and Softplus as log(1 + exp(x)): a few roundings of numbers near 1 stay,
    however small the result is.
    """
    return lambda operands: formula(operands) + _ROUNDINGS_NEAR_ONE * square(bound(operands))


def _kept_where_positive(formula: Formula) -> Formula:
    """x itself for x > 0: not even the rounding of the result is there."""
    return lambda operands: formula(operands) - square(operands.output * (operands.x > 0))


def _one(operands: Operands) -> Tensor:
    return torch.ones_like(operands.x)


def _one_where_negative(operands: Operands) -> Tensor:
    return (operands.x < 0).to(torch.float64)


def _magnitude_where_negative(operands: Operands) -> Tensor:
    return operands.x.clamp(max=0)


def _softmax_axis(operands: Operands) -> tuple[int, ...]:
    """Before opset 13 everything from `axis` on is one vector."""
    rank = operands.x.dim()
    axis = int(operands.attributes.get("axis", -1 if operands.opset >= 13 else 1))
    return (axis % max(1, rank),) if operands.opset >= 13 else tuple(range(axis % max(1, rank), rank))


def _shifted(operands: Operands) -> Tensor:
    x = operands.x
    return x - x.amax(dim=_softmax_axis(operands), keepdim=True) if x.numel() and x.dim() else operands.output


def _summands(operands: Operands, shares: Tensor) -> Tensor:
    """How many terms a softmax's sum has, but for those that are lost in it: they cost no rounding."""
    if not operands.x.dim():
        return torch.ones((), dtype=torch.float64)
    return (shares > operands.accumulator).to(torch.float64).sum(dim=_softmax_axis(operands), keepdim=True)


def _softmax(operands: Operands) -> float:
    y = operands.output
    # A masked element: exp(-Inf) is an exact zero.
    shifted = torch.nan_to_num(y * _shifted(operands), nan=0.0, posinf=0.0, neginf=0.0)
    return square(shifted) + 3 * square(y) + float((y.square() * _summands(operands, y)).sum()) / 3


def _log_softmax(operands: Operands) -> float:
    y = operands.output
    summed = float((torch.ones_like(y) * _summands(operands, y.exp())).sum()) / 3
    return square(_shifted(operands)) + 2 * square(y) + summed


def _per_channel(x: Tensor, parameter: Tensor | None) -> Tensor:
    if parameter is None:
        return torch.ones((), dtype=torch.float64)
    return parameter.reshape(1, -1, *[1] * (x.dim() - 2))


def _batch_norm(operands: Operands) -> float:
    """x * a + b with a = scale / sqrt(var + epsilon) and b = B - mean * a, both rounded."""
    x, scale, _, mean, variance = operands.inputs[:5]
    epsilon = float(operands.attributes.get("epsilon", 1e-5))
    factor = scale / (variance + epsilon).sqrt()
    channels = [axis for axis in range(x.dim()) if axis != 1]
    places = x.numel() / max(1, factor.numel())
    scaled = factor.square() * along(x, channels)
    shift = (mean * factor).square() * places
    return float((2 * scaled + 2 * shift).sum())


def _normalised(
    x: Tensor, y: Tensor, rows: Tensor, scale: Tensor, bias: Tensor | None, epsilon: float, *, centred: bool = True
) -> float:
    """(x - mean) / deviation * scale + bias; `rows` is x with each normalised vector flat in the last axis.

    Computed as x * a + b, like a BatchNormalization, by some kernels: two roundings of x * a, two of mean * a. The sums
    are of one element after the other: the variance's, and the mean's, which tells where it is far from zero.
    """
    if not rows.numel():
        return 0.0
    variance, mean = torch.var_mean(rows, dim=-1, correction=0)
    variance = variance + epsilon
    condition = (mean.square() / variance).mean() if centred else torch.zeros(())
    gain = float(scale.square().mean())
    scaled = square(y if bias is None else y - bias)
    n = rows.shape[-1]
    return (3 + n / 12) * scaled + x.numel() * gain * (4 + n / 3) * float(condition)


def _layer_norm(operands: Operands) -> float:
    x = operands.x
    axis = int(operands.attributes.get("axis", -1)) % x.dim()
    scale, bias = operands.input(1), operands.input(2)
    epsilon = float(operands.attributes.get("epsilon", 1e-5))
    weight = scale if scale is not None else torch.ones((), dtype=torch.float64)
    return _normalised(x, operands.output, x.flatten(axis), weight, bias, epsilon)


def _instance_norm(operands: Operands) -> float:
    x, scale, bias = operands.inputs[:3]
    epsilon = float(operands.attributes.get("epsilon", 1e-5))
    return _normalised(x, operands.output, x.flatten(2), scale, _per_channel(x, bias), epsilon)


def _group_norm(operands: Operands) -> float:
    x, scale, bias = operands.inputs[:3]
    groups = int(operands.attributes.get("num_groups", 1))
    epsilon = float(operands.attributes.get("epsilon", 1e-5))
    repeats = x.shape[1] // bias.numel()  # before opset 21 there is one scale for each group
    rows = x.reshape(x.shape[0], groups, -1)
    return _normalised(x, operands.output, rows, scale, _per_channel(x, bias.repeat_interleave(repeats)), epsilon)


def _rms_norm(operands: Operands) -> float:
    """Over the axes from `axis` on, the last one by default."""
    axis = int(operands.attributes.get("axis", -1)) % max(1, operands.x.dim())
    return (3 + math.prod(operands.x.shape[axis:]) / 12) * square(operands.output)


_ROUNDINGS_NEAR_ONE = 6  # an error of one unit roundoff; ONNX Runtime 1.31 was measured 2.3 off at most
_LOGISTIC = _from_one(_roundings(3), _one_where_negative)
_EXACT = _roundings(0)

FORMULAS: dict[str, Formula] = {
    **{name: rounded_once(products) for name, products in PRODUCTS.items()},
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "ReduceL2": _root_of_squares,
    "CumSum": _running_sum,
    "Add": _EXACT,
    "Sub": _EXACT,
    "Sum": _many_added,
    "Mul": _EXACT,
    "Div": _EXACT,
    "Pow": _roundings(2),
    "Reciprocal": _EXACT,
    "Sqrt": _EXACT,
    "Exp": _roundings(1),
    "Log": _roundings(1),
    "Erf": _from_one(_roundings(1), _one),
    "Sin": _roundings(1),
    "Cos": _roundings(1),
    "Sigmoid": _LOGISTIC,
    "Tanh": _from_one(_roundings(2), _one),
    "Softplus": _from_one(_roundings(3), _one_where_negative),
    "Softsign": _roundings(1),
    "Elu": _kept_where_positive(_from_one(_roundings(1), _one_where_negative)),
    "Selu": _from_one(_roundings(2), _one_where_negative),
    "Celu": _kept_where_positive(_from_one(_roundings(2), _one_where_negative)),
    "LeakyRelu": _kept_where_positive(_EXACT),
    "PRelu": _kept_where_positive(_EXACT),
    "HardSigmoid": _roundings(1),
    "HardSwish": _roundings(2),
    "Swish": _from_one(_roundings(4), _magnitude_where_negative),
    "Mish": _from_one(_roundings(6), _magnitude_where_negative),
    "Gelu": _one_plus(_roundings(3)),
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "LRN": _roundings(4),
    "LSTM": _roundings(6),
    "GRU": _roundings(6),
    "RNN": _roundings(3),
}
