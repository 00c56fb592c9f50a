"""Sums of products: how many terms each has, and how large these are. What they add to is `golden.sigma`'s business.

The sum of q = sum((x*w)**2) over a convolution's outputs comes from second moments: mean of x**2 per image and channel,
times the sum of w**2 over the taps, each tap weighted by the share of outputs at which it lies inside the
input. That is exact when x**2 has the same mean at the border as inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Operands:
    """One operator's inputs and output in float64, with what its formula may need of the node."""

    inputs: tuple[Any, ...]
    output: Tensor
    attributes: Mapping[str, Any]
    opset: int
    accumulator: float = 2.0**-24  # unit roundoff of the sums inside

    @property
    def x(self) -> Tensor:
        """The first input."""
        first: Tensor = self.inputs[0]
        return first

    def input(self, position: int) -> Tensor | None:
        """An input tensor, or None where it is omitted."""
        return self.inputs[position] if position < len(self.inputs) else None


Formula = Callable[[Operands], float]  # -> inner, summed over the elements
Products = Callable[[Operands], tuple[float, float]]  # -> terms of one output's sum, and q summed over all outputs


def square(tensor: Tensor) -> float:
    """Sum of squares, without a temporary of the tensor's size where it is contiguous."""
    flat = tensor.reshape(-1)
    return float(torch.dot(flat, flat))


def norms(tensor: Tensor, dim: int) -> Tensor:
    """Sum of squares over one dimension, without a temporary of the tensor's size."""
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=dim)
    return norms.square()


def along(tensor: Tensor, dims: Sequence[int]) -> Tensor:
    """Sum of squares over some dimensions."""
    return tensor.square().sum(dim=tuple(dims)) if dims else tensor.square()


def rounded_once(products: Products) -> Formula:
    """The roundings of the partial sums, one term after the other."""

    def inner(operands: Operands) -> float:
        terms, total = products(operands)
        return terms * (total / 6 + square(operands.output) / 3)

    return inner


def of_steps(op_type: str, operands: Operands) -> float:
    """What the outputs' squared errors add up to where both operands are rounded to an 8-bit grid.

    A rounding to steps of s is off by s**2 / 12 in the mean: sum over outputs of conv(s_x**2 / 12, w**2) +
    conv(x**2, s_w**2 / 12). The grids are those of dynamic quantisation: one of 255 steps over the range of x and 0,
    one of 127 steps up to the largest magnitude of each output channel of the weights.
    """
    x, w = operands.inputs[:2]
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    coarse_x = torch.full_like(x, (high - low) / 255)
    channels = _output_axis(op_type, operands) % max(1, w.dim())
    others = [axis for axis in range(w.dim()) if axis != channels]
    steps = w.abs().amax(dim=others, keepdim=True) if others else w.abs()
    coarse_w = (steps / 127).expand_as(w).contiguous()
    rest = operands.inputs[2:]
    return sum(
        PRODUCTS[op_type](replace(operands, inputs=(*pair, *rest)))[1] for pair in ((coarse_x, w), (x, coarse_w))
    ) / 12  # fmt: skip


def _conv(operands: Operands) -> tuple[float, float]:
    x, w = operands.inputs[:2]
    spatial = x.dim() - 2
    groups = int(operands.attributes.get("group", 1))
    stride = operands.attributes.get("strides") or [1] * spatial
    dilation = operands.attributes.get("dilations") or [1] * spatial
    pads = _pads(operands.attributes, x.shape[2:], operands.output.shape[2:], w.shape[2:], stride, dilation)
    taps = norms(w.transpose(0, 1).reshape(w.shape[1], groups, -1, *w.shape[2:]), dim=2)  # of one input channel
    for axis in range(spatial):
        outputs = torch.arange(operands.output.shape[2 + axis]) * stride[axis] - pads[axis]
        places = outputs[:, None] + torch.arange(w.shape[2 + axis])[None] * dilation[axis]
        inside = ((places >= 0) & (places < x.shape[2 + axis])).to(torch.float64).mean(0)
        taps = (taps * inside.reshape(-1, *[1] * (spatial - 1 - axis))) if outputs.numel() else taps
    per_channel = taps.flatten(2).sum(2).T.reshape(-1)
    means = norms(x.flatten(2), dim=2) / max(1, math.prod(x.shape[2:]))
    places_out = math.prod(operands.output.shape[2:])
    return (w[0].numel(), places_out * float((means * per_channel).sum()))


def _pads(
    attributes: Mapping[str, Any], size: Sequence[int], out: Sequence[int], kernel: Sequence[int],
    stride: Sequence[int], dilation: Sequence[int],
) -> list[int]:  # fmt: skip
    """Padding before each spatial axis."""
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [
            max((o - 1) * s + (k - 1) * d + 1 - i, 0)
            for i, o, k, s, d in zip(size, out, kernel, stride, dilation, strict=True)
        ]
        return [(each + (mode == b"SAME_LOWER")) // 2 for each in total]
    given = attributes.get("pads")
    return list(given[: len(size)]) if given and mode == b"NOTSET" else [0] * len(size)


def _conv_transpose(operands: Operands) -> tuple[float, float]:
    x, w = operands.inputs[:2]
    places_out = math.prod(operands.output.shape[2:])
    channels_out = operands.output.shape[1]
    per_channel = w.square().flatten(1).sum(1)
    # Each input element is multiplied by each tap of each output channel of its group, and each product
    # lands on one output, but for those that the padding crops: few, and not subtracted.
    products = float((x.square().flatten(2).sum(2) * per_channel).sum())
    contributions = x[0].numel() * w[0].numel()
    return (max(1.0, contributions / max(1, channels_out * places_out)), products)


def _matmul(operands: Operands) -> tuple[float, float]:
    a, b = operands.inputs[:2]
    a = a.unsqueeze(0) if a.dim() == 1 else a
    b = b.unsqueeze(1) if b.dim() == 1 else b
    return (a.shape[-1], float((along(a, [-2]) * along(b, [-1])).sum()))


def _gemm(operands: Operands) -> tuple[float, float]:
    a, b = operands.inputs[:2]
    a = a.T if operands.attributes.get("transA") else a
    b = b.T if operands.attributes.get("transB") else b
    alpha = float(operands.attributes.get("alpha", 1.0))
    return (a.shape[1], alpha**2 * float((along(a, [0]) * along(b, [1])).sum()))

PRODUCTS: dict[str, Products] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _output_axis(op_type: str, operands: Operands) -> int:
    """The axis of the weights along which output channels lie."""
    match op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm":
            return 0 if operands.attributes.get("transB") else 1
        case _:
            return -1
