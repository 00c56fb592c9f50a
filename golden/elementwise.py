"""Arithmetic, comparison, logic and elementary functions, element by element with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op
from sysnoise_conform.golden.types import INTEGER_RANGE, T
from sysnoise_conform.golden.unsigned import by_numpy, has_uint64, ordered, to_float


def _unary(name: str, function: Callable[[Tensor], Tensor], since: int = 1) -> None:
    @op(name, since=since)
    def run(call: Call, x: Tensor) -> Tensor:
        return function(x)


_UNARY: dict[str, Callable[..., Tensor]] = {
    "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log, "Reciprocal": torch.reciprocal, "Erf": torch.erf,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan,
    "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "IsNaN": torch.isnan, "Not": torch.logical_not,
    "BitwiseNot": torch.bitwise_not, "Neg": torch.neg,
}  # fmt: skip
for _name, _function in _UNARY.items():
    _unary(_name, _function)


@op("Abs")
def absolute(call: Call, x: Tensor) -> Tensor:
    """|x|; the lowest integer wraps to itself."""
    return x if has_uint64(call) else torch.abs(x)


@op("Sign")
def sign(call: Call, x: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN, as in torch."""
    return (x != 0).to(x.dtype) if has_uint64(call) else torch.sign(x)


@op("IsInf")
def is_inf(call: Call, x: Tensor) -> Tensor:
    """Which elements are infinite, of the signs that the attributes choose."""
    positive, negative = call.get("detect_positive", 1), call.get("detect_negative", 1)
    found = torch.zeros(x.shape, dtype=torch.bool)
    if positive:
        found = found | torch.isposinf(x)
    if negative:
        found = found | torch.isneginf(x)
    return found


@op("Add")
def add(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a + b; integers wrap."""
    return a + b


@op("Sub")
def sub(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a - b; integers wrap."""
    return a - b


@op("Mul")
def mul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a * b; integers wrap."""
    return a * b


@op("Div")
def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a / b; integers truncate toward zero."""
    if a.is_floating_point() or a.is_complex():
        return a / b
    _refuse_zero(call, b)
    if has_uint64(call):
        return by_numpy(np.floor_divide, a, b)
    if not b.dtype.is_signed:
        return torch.div(a, b, rounding_mode="trunc")
    # The lowest integer divided by -1 traps in hardware; negation wraps as integer arithmetic does.
    minus_one = b == -1
    return torch.where(minus_one, -a, torch.div(a, torch.where(minus_one, 1, b), rounding_mode="trunc"))


def _refuse_zero(call: Call, divisor: Tensor) -> None:
    if divisor.numel() and bool((divisor == 0).any()):
        call.bad("integer division by zero")


@op("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The remainder: with fmod=1 of the dividend's sign, else of the divisor's."""
    truncating = call.get("fmod", 0)
    if a.is_floating_point():
        if truncating:
            return torch.fmod(a, b)
        if call.opset < 28:  # allowed from then on
            call.bad("floating-point inputs need fmod=1")
        rest = torch.fmod(a, b)
        rest = torch.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)
        return torch.where(rest == 0, torch.copysign(rest, b), rest)
    _refuse_zero(call, b)
    if has_uint64(call):
        return by_numpy(np.remainder, a, b)
    if b.dtype.is_signed:  # the remainder by -1 is 0, but the lowest integer traps on it
        b = torch.where(b == -1, 1, b)
    return torch.fmod(a, b) if truncating else torch.remainder(a, b)


@op("Pow")
def power(call: Call, base: Tensor, exponent: Tensor) -> Tensor:
    """base ** exponent in the type of the base."""
    if base.is_floating_point():
        unsigned = call.input_types[1] == T.UINT64
        return torch.pow(base, to_float(exponent) if unsigned else exponent.to(base.dtype))
    if exponent.is_floating_point():
        wide = to_float(base) if call.input_types[0] == T.UINT64 else base.to(torch.float64)
        return torch.pow(wide, exponent.to(torch.float64)).to(torch.int64)
    if exponent.numel() and int(exponent.min()) < 0:
        wide = torch.pow(base.to(torch.float64), exponent.to(torch.float64))
        if torch.isinf(wide).any():
            call.bad("zero to a negative integer power")
        return wide.to(torch.int64)
    return torch.pow(base.to(torch.int64), exponent.to(torch.int64))


def _variadic(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name)
    def run(call: Call, *inputs: Tensor) -> Tensor:
        if not inputs:
            call.bad("it has no input")
        if has_uint64(call) and name in ("Max", "Min"):
            return ordered(functools.reduce(function, [ordered(each) for each in inputs]))
        return functools.reduce(function, inputs)


_variadic("Max", torch.maximum)
_variadic("Min", torch.minimum)
_variadic("Sum", torch.add)


@op("Mean")
def mean(call: Call, *inputs: Tensor) -> Tensor:
    """The mean of the inputs, element by element."""
    return functools.reduce(torch.add, inputs) / len(inputs)


@op("Clip", until=10)
def clip_by_attributes(call: Call, x: Tensor) -> Tensor:
    """`x` limited to the attributes `min` and `max`; NaN stays."""
    return torch.clamp(x, min=call.get("min"), max=call.get("max"))


@op("Clip", since=11)
def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """`x` limited to [low, high], high winning where they cross; NaN stays."""
    if any(each is not None and each.numel() != 1 for each in (low, high)):
        call.bad("`min` and `max` must be scalars")
    if has_uint64(call):
        low, high = (None if each is None else ordered(each.reshape(())) for each in (low, high))
        return ordered(torch.clamp(ordered(x), min=low, max=high)) if (low is not None or high is not None) else x
    if low is None and high is None:
        return x
    return torch.clamp(
        x, min=None if low is None else low.reshape(()), max=None if high is None else high.reshape(())
    )


def _comparison(name: str, function: Callable[[Any, Any], Any]) -> None:
    @op(name)
    def run(call: Call, a: Any, b: Any) -> Any:
        if isinstance(a, np.ndarray):
            return torch.from_numpy(np.asarray(function(a, b)).astype(bool))
        if has_uint64(call):
            return function(ordered(a), ordered(b))
        return function(a, b)


_comparison("Equal", lambda a, b: a == b)
_comparison("Less", lambda a, b: a < b)
_comparison("LessOrEqual", lambda a, b: a <= b)
_comparison("Greater", lambda a, b: a > b)
_comparison("GreaterOrEqual", lambda a, b: a >= b)


def _binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name)
    def run(call: Call, a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)


_binary("And", torch.logical_and)
_binary("Or", torch.logical_or)
_binary("Xor", torch.logical_xor)
_binary("BitwiseAnd", torch.bitwise_and)
_binary("BitwiseOr", torch.bitwise_or)
_binary("BitwiseXor", torch.bitwise_xor)


@op("BitShift")
def bit_shift(call: Call, x: Tensor, amount: Tensor) -> Tensor:
    """x shifted by `amount` bits, to the right arithmetically for a signed type.

    An amount that is negative or not below the type's width leaves what sign extension alone does.
    """
    direction = call.get("direction")
    if direction not in ("LEFT", "RIGHT"):
        call.bad("`direction` must be LEFT or RIGHT")
    low, high = INTEGER_RANGE[call.input_types[0]]
    width = high.bit_length() + (1 if low else 0)
    out = (amount < 0) | (amount >= width)  # a uint64 amount that is held as negative is huge
    amount = torch.where(out, 0, amount)
    if direction == "LEFT":
        return torch.where(out, 0, torch.bitwise_left_shift(x, amount))
    if has_uint64(call):
        return torch.where(out, 0, by_numpy(np.right_shift, x, amount))
    emptied = torch.where(x < 0, -1, 0).to(x.dtype) if low else torch.zeros_like(x)
    return torch.where(out, emptied, torch.bitwise_right_shift(x, amount))


@op("Where", moves=True)
def where(call: Call, condition: Tensor, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    if isinstance(x, np.ndarray):
        return np.where(condition.numpy(), x, y)
    return torch.where(condition, x, y)

