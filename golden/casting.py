"""Cast, CastLike and BitCast: from any element type to any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx.helper import tensor_dtype_to_np_dtype
from torch import Tensor

from sysnoise_conform.golden.op import Call, Typed, op
from sysnoise_conform.golden.types import COMPLEX, FLOATS, HELD, INTEGER_RANGE, SMALL_FLOATS, T, type_name
from sysnoise_conform.golden.unsigned import from_float, to_float
from sysnoise_conform.golden.values import Value, from_numpy, power_of_two, round_small, to_numpy


@op("Cast")
def cast(call: Call, x: Any) -> Typed:
    """`x` in the element type `to`."""
    return _converted(call, x, call.input_types[0], call.get("to"))


@op("CastLike")
def cast_like(call: Call, x: Any, like: Any) -> Typed:
    """`x` in the element type of `like`."""
    return _converted(call, x, call.input_types[0], call.input_types[1])


def _converted(call: Call, x: Any, source: int, target: int) -> Typed:
    if target != T.STRING and target not in HELD:
        call.bad(f"`to` is {type_name(target)}")
    if source == target:
        return Typed(x, target)
    if source == T.STRING:
        return Typed(_parsed(call, x, target), target)
    if target == T.STRING:
        return Typed(_printed(call, x, source), T.STRING)
    if target in COMPLEX or source in COMPLEX:
        call.unsupported(f"a cast from {type_name(source)} to {type_name(target)}")
    if target == T.BOOL:
        return Typed(x != 0, T.BOOL)  # NaN is not zero
    if source == T.UINT64 and target in FLOATS:
        x = to_float(x)
    if target in FLOATS:
        wide = x if x.is_floating_point() else x.to(torch.float64)
        return Typed(small_float(call, wide, target) if target in SMALL_FLOATS else wide, target)
    return Typed(_to_integer(x, target) if x.is_floating_point() else x, target)


def small_float(call: Call, x: Tensor, target: int) -> Tensor:
    """Floats rounded to a small float's values as `saturate` and `round_mode` say."""
    saturate = bool(call.get("saturate", 1))
    if target == T.FLOAT8E8M0:
        return _power_of_two(call, x, saturate=saturate)
    return round_small(x, SMALL_FLOATS[target], saturate=saturate)


def _power_of_two(call: Call, x: Tensor, *, saturate: bool) -> Tensor:
    """E8M0 holds 2**-127 to 2**127: rounded up, down, or to the nearest with ties up."""
    mantissa, exponent = torch.frexp(x.to(torch.float64))  # 0.5 <= mantissa < 1
    match call.get("round_mode", "up"):
        case "up":
            power = torch.where(mantissa > 0.5, exponent, exponent - 1)
        case "down":
            power = exponent - 1
        case "nearest":
            power = torch.where(mantissa >= 0.75, exponent, exponent - 1)
        case other:
            call.bad(f"`round_mode` is {other!r}")
    low, high = x < 2.0**-127, (power > 127) | torch.isposinf(x)
    value = power_of_two(power.clamp(-127, 127))
    if saturate:
        value = torch.where(low, 2.0**-127, torch.where(high, 2.0**127, value))
    else:
        value = torch.where((low & (power < -127)) | high, torch.nan, value)
    return torch.where(torch.isnan(x), torch.nan, value)


def _to_integer(x: Tensor, target: int) -> Tensor:
    """Truncated toward zero; what is out of range is undefined in ONNX and here as in torch."""
    if target == T.UINT64:
        return from_float(x)
    _, high = INTEGER_RANGE[target]
    if HELD[target].is_signed and high == torch.iinfo(HELD[target]).max:
        return x.to(HELD[target])
    return x.to(torch.int64)


def _parsed(call: Call, x: np.ndarray[Any, Any], target: int) -> Tensor:
    try:
        if target in FLOATS:
            numbers = np.array([float(each) for each in x.reshape(-1)], dtype=np.float64)
            return small_or_wide(call, torch.from_numpy(numbers).reshape(x.shape), target)
        if target == T.BOOL:
            call.unsupported("a cast from STRING to BOOL")
        whole = [int(each) if each.strip().lstrip("+-").isdigit() else int(float(each)) for each in x.reshape(-1)]
    except (ValueError, OverflowError):
        call.bad("a string is not a number")
    return torch.tensor([(each + 2**63) % 2**64 - 2**63 for each in whole], dtype=torch.int64).reshape(x.shape)


def small_or_wide(call: Call, x: Tensor, target: int) -> Tensor:
    """`x` rounded where the target is a small float, as it is otherwise."""
    return small_float(call, x, target) if target in SMALL_FLOATS else x


def _printed(call: Call, x: Tensor, source: int) -> np.ndarray[Any, Any]:
    array = to_numpy(Value(x.to(HELD[source]), source))
    out = np.empty(array.size, dtype=object)
    out[:] = [str(each) for each in array.reshape(-1)]
    return out.reshape(array.shape)


@op("BitCast", raw=True)
def bit_cast(call: Call, x: Value) -> Value:
    """The bits of the declared type read as another type of the same width."""
    target = call.get("to")
    if target not in HELD or x.elem_type == T.STRING:
        call.bad(f"it can't read {type_name(x.elem_type)} as {type_name(target)}")
    source = to_numpy(x)
    wanted = np.dtype(tensor_dtype_to_np_dtype(target))
    if _bits(x.elem_type, source.dtype) != _bits(target, wanted):
        call.bad(f"{type_name(x.elem_type)} and {type_name(target)} differ in width")
    if _bits(target, wanted) < 8:
        call.unsupported("types of less than 8 bits")
    value = from_numpy(source.reshape(-1).view(wanted).reshape(source.shape), target)
    return Value(value.data.to(call.held_float), T.FLOAT) if target == T.FLOAT else value


def _bits(elem_type: int, dtype: np.dtype[Any]) -> int:
    if elem_type in INTEGER_RANGE:
        low, high = INTEGER_RANGE[elem_type]
        return (high - low).bit_length()
    return {T.FLOAT4E2M1: 4, getattr(T, "FLOAT6E2M3", -1): 6, getattr(T, "FLOAT6E3M2", -1): 6}.get(
        elem_type, dtype.itemsize * 8
    )
