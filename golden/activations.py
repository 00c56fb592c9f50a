"""Activation functions, and the Softmax family with the flattening that it did before opset 13."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.shaping import axis_of
from sysnoise_conform.golden.unsigned import has_uint64, to_float


@op("Relu")
def relu(call: Call, x: Tensor) -> Tensor:
    """max(x, 0); NaN stays."""
    return torch.clamp(x, min=0)


@op("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """x, and alpha * x below zero."""
    return F.leaky_relu(x, call.get("alpha"))


@op("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """x, and slope * x below zero."""
    if np.broadcast_shapes(tuple(x.shape), tuple(slope.shape)) != tuple(x.shape):
        call.bad(f"`slope` of shape {list(slope.shape)} does not broadcast to {list(x.shape)}")
    return torch.where(x < 0, slope * x, x)


@op("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """x above alpha, 0 elsewhere; NaN stays, as in torch."""
    return torch.where(x <= call.get("alpha"), 0, x)


@op("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    """x, and alpha * (exp(x) - 1) below zero."""
    return torch.where(x < 0, call.get("alpha") * torch.expm1(x), x)


@op("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """gamma * x, and gamma * alpha * (exp(x) - 1) from zero down."""
    gamma, alpha = call.get("gamma"), call.get("alpha")
    return torch.where(x <= 0, gamma * (alpha * torch.expm1(x)), gamma * x)


@op("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    alpha = call.get("alpha")
    if alpha == 0:
        call.bad("`alpha` is 0")
    return torch.clamp(x, min=0) + torch.clamp(alpha * torch.expm1(x / alpha), max=0)


@op("Sigmoid")
def sigmoid(call: Call, x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@op("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """alpha * x + beta, limited to [0, 1]."""
    return torch.clamp(call.get("alpha") * x + call.get("beta"), 0, 1)


@op("HardSwish")
def hard_swish(call: Call, x: Tensor) -> Tensor:
    """x times x / 6 + 1 / 2 limited to [0, 1]."""
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


@op("Softplus")
def softplus(call: Call, x: Tensor) -> Tensor:
    """log(1 + exp(x)); torch's own softplus becomes linear at 20."""
    return torch.logaddexp(x, torch.zeros((), dtype=x.dtype))


@op("Softsign")
def softsign(call: Call, x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + torch.abs(x))


@op("Tanh")
def tanh(call: Call, x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@op("Mish")
def mish(call: Call, x: Tensor) -> Tensor:
    """x * tanh(log(1 + exp(x)))."""
    return x * torch.tanh(softplus(call, x))


@op("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    """x * Phi(x), with erf or by its tanh approximation."""
    match call.get("approximate"):
        case "none":
            return F.gelu(x)
        case "tanh":
            return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        case other:
            call.bad(f"`approximate` is {other!r}, not none or tanh")


@op("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    """x * sigmoid(alpha * x)."""
    return x * torch.sigmoid(call.get("alpha") * x)


@op("SwiGLU")
def swiglu(call: Call, gate: Tensor, linear: Tensor) -> Tensor:
    """gate * sigmoid(alpha * gate) * linear; no broadcasting."""
    if gate.shape != linear.shape:
        call.bad(f"its inputs have the shapes {list(gate.shape)} and {list(linear.shape)}")
    return gate * torch.sigmoid(call.get("alpha") * gate) * linear


@op("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    """x + bias below -lambd, x - bias above lambd, 0 between; NaN stays, as in torch."""
    lambd, bias = call.get("lambd"), call.get("bias")
    wide = x
    if not x.is_floating_point():
        wide = to_float(x) if has_uint64(call) else x.to(torch.float64)
        if not bias.is_integer():
            call.unsupported("integers with a bias that is none")
        bias = int(bias)
    between = (wide >= -lambd) & (wide <= lambd)
    return torch.where(between, 0, torch.where(wide < -lambd, x + bias, x - bias))


def _over_axis(call: Call, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    if call.opset >= 13:
        return function(x, axis_of(call, call.get("axis"), max(x.dim(), 1)))
    # Until opset 12 the dimensions from `axis` on are flattened into one.
    axis = call.get("axis")
    if not -x.dim() <= axis <= x.dim():
        call.bad(f"`axis` is {axis}, the tensor has rank {x.dim()}")
    axis = axis + x.dim() if axis < 0 else axis
    rows = math.prod(x.shape[:axis])
    return function(x.reshape(rows, math.prod(x.shape[axis:])), 1).reshape(x.shape)


@op("Softmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    """exp(x) over its sum along the axis."""
    return _over_axis(call, x, lambda rows, axis: torch.softmax(rows, axis))


@op("LogSoftmax")
def log_softmax(call: Call, x: Tensor) -> Tensor:
    """The logarithm of Softmax."""
    return _over_axis(call, x, lambda rows, axis: torch.log_softmax(rows, axis))


@op("Hardmax")
def hardmax(call: Call, x: Tensor) -> Tensor:
    """1 at the first maximum along the axis, 0 elsewhere."""

    def one_hot(rows: Tensor, axis: int) -> Tensor:
        return torch.zeros_like(rows).scatter(axis, rows.argmax(axis, keepdim=True), 1)

    return _over_axis(call, x, one_hot)
