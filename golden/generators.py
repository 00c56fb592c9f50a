"""Random operators: not comparable by value, but of the right shape, type and law, and repeatable."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.types import HELD

T = onnx.TensorProto


def _generator(call: Call) -> torch.Generator:
    """Seeded by the attribute (its bits, for it is a float) or by the node's own name."""
    import torch._prims.rng_prims

    seed = call.get("seed")
    return torch.Generator().manual_seed(call.seed if seed is None else hash(float(seed)) & (2**63 - 1))


def _uniform(call: Call, shape: tuple[int, ...]) -> Tensor:
    low, high = float(call.get("low", 0.0)), float(call.get("high", 1.0))
    return low + (high - low) * torch.rand(shape, generator=_generator(call), dtype=torch.float64)


def _normal(call: Call, shape: tuple[int, ...]) -> Tensor:
    mean, scale = float(call.get("mean", 0.0)), float(call.get("scale", 1.0))
    return mean + scale * torch.randn(shape, generator=_generator(call), dtype=torch.float64)


def _shape(call: Call) -> tuple[int, ...]:
    shape = call.get("shape")
    if shape is None or min(shape, default=0) < 0:
        call.bad(f"shape is {shape}")
    return tuple(shape)


def _typed(call: Call, drawn: Tensor, elem_type: int) -> Typed:
    # Drawn in float64 in both modes and rounded once, so that the modes see the same numbers.
    floats = {T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16}
    if elem_type not in floats:
        call.bad(f"dtype {elem_type} is no floating-point type")
    return Typed(drawn.to(HELD[elem_type]), elem_type)


@op("RandomUniform")
def random_uniform(call: Call) -> Typed:
    """Uniform numbers in [low, high)."""
    return _typed(call, _uniform(call, _shape(call)), int(call.get("dtype", T.FLOAT)))


@op("RandomNormal")
def random_normal(call: Call) -> Typed:
    """Normal numbers of the given mean and deviation `scale`."""
    return _typed(call, _normal(call, _shape(call)), int(call.get("dtype", T.FLOAT)))


@op("RandomUniformLike")
def random_uniform_like(call: Call, x: Any) -> Typed:
    """Uniform numbers in the shape of `x`."""
    return _typed(call, _uniform(call, tuple(x.shape)), int(call.get("dtype", call.input_types[0])))


@op("RandomNormalLike")
def random_normal_like(call: Call, x: Any) -> Typed:
    """Normal numbers in the shape of `x`."""
    return _typed(call, _normal(call, tuple(x.shape)), int(call.get("dtype", call.input_types[0])))


@op("Bernoulli", since=15)
def bernoulli(call: Call, x: Tensor) -> Typed:
    """1 with the probability that `x` holds, else 0."""
    if bool(((x < 0) | (x > 1)).any()):
        call.bad("a probability lies outside [0, 1]")
    elem_type = int(call.get("dtype", call.input_types[0]))
    if elem_type not in HELD:
        call.bad(f"dtype {elem_type} is no type of the output")
    return Typed(torch.bernoulli(x.to(torch.float64), generator=_generator(call)).to(HELD[elem_type]), elem_type)


@op("Multinomial", since=7)
def multinomial(call: Call, x: Tensor) -> Typed:
    """`sample_size` classes drawn for each row of unnormalised log-probabilities `x` (batch, classes)."""
    size, elem_type = int(call.get("sample_size", 1)), int(call.get("dtype", T.INT32))
    if x.dim() != 2 or size < 1 or elem_type not in (T.INT32, T.INT64):
        call.bad(f"an input of shape {list(x.shape)}, sample_size {size}, dtype {elem_type}")
    drawn = torch.multinomial(torch.softmax(x.to(torch.float64), 1), size, replacement=True, generator=_generator(call))
    return Typed(drawn.to(HELD[elem_type]), elem_type)
