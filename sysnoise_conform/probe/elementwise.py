"""Operators on single elements: NaN, the bounds of integers, ties, and activations over a wide range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from sysnoise_conform.probe.arrays import Array, f16, f32, i32, i64, u8
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, Values, case
from sysnoise_conform.probe.rounding import rounded

_NAN, _INF = np.nan, np.inf
SPECIAL = f32([1, _NAN, -1, _INF, -_INF, 0])
REACHED = "where a NaN reaches it"

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _gelu_tanh(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


def _celu(x: Array) -> Array:
    y: Array = np.maximum(0, x) + np.minimum(0, np.expm1(x))
    return y


# Operator, its attributes, the formula in float64, the range, the opset.
_ACTIVATIONS: tuple[tuple[str, dict[str, Any], Callable[[Array], Array], float, int], ...] = (
    ("Sigmoid", {}, _sigmoid, 20, 13),
    ("Tanh", {}, np.tanh, 10, 13),
    ("Erf", {}, _erf, 5, 13),
    ("Softplus", {}, _softplus, 30, 13),
    ("Mish", {}, lambda x: x * np.tanh(_softplus(x)), 20, 18),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 6, 14),
    ("Elu", {}, lambda x: np.where(x > 0, x, np.expm1(x)), 10, 13),
    ("Selu", {}, lambda x: 1.0507010221481323 * np.where(x > 0, x, 1.6732631921768188 * np.expm1(x)), 10, 13),
    ("Celu", {}, _celu, 10, 13),
    ("Softsign", {}, lambda x: x / (1 + np.abs(x)), 30, 13),
    ("LeakyRelu", {"alpha": 0.125}, lambda x: np.where(x > 0, x, 0.125 * x), 10, 16),
    ("ThresholdedRelu", {"alpha": 1.0}, lambda x: np.where(x > 1, x, 0), 6, 13),
)


def _activations() -> list[ProbeCase]:
    found = []
    for op, attributes, formula, bound, opset in _ACTIVATIONS:
        x = np.linspace(-bound, bound, 1003).astype(np.float32)
        about = ", ".join(f"{name}={value}" for name, value in attributes.items())
        found.append(
            case(
                op.lower(), op, f"{about + ', ' if about else ''}-{bound:g} to {bound:g}", Kind.CONTROL,
                "its formula", {"x": x},
                rounded(formula(x.astype(np.float64)), 48, "a handful of roundings at the scale of 1", scale=1.0),
                attributes=attributes, opset=opset, trigger=Trigger(),
            )
        )  # fmt: skip
    return found


def _formulas() -> list[ProbeCase]:
    x = np.linspace(-6, 6, 1003).astype(np.float32)
    wide, steep = x.astype(np.float64), np.linspace(-80, 20, 1003).astype(np.float32)
    handful = "a handful of roundings at the scale of 1"
    gelu = Trigger(attributes=("approximate",))
    return [
        case("gelu-tanh", "Gelu", "approximate=tanh", Kind.SEMANTICS, "the attribute's: PyTorch's default is erf",
             {"x": x}, rounded(_gelu_tanh(wide), 48, handful, scale=1.0), attributes={"approximate": "tanh"}, opset=20,
             trigger=gelu),
        case("gelu", "Gelu", "approximate=none", Kind.CONTROL, "by erf", {"x": x},
             rounded(wide * 0.5 * (1 + _erf(wide / math.sqrt(2))), 48, handful, scale=1.0), opset=20, trigger=gelu),
        case("hardsigmoid-default", "HardSigmoid", "alpha=0.2, the default", Kind.SEMANTICS,
             "the attribute's: PyTorch has 1/6", {"x": x},
             rounded(np.clip(0.2 * wide + 0.5, 0, 1), 8, handful, scale=1.0),
             trigger=Trigger(attributes=("alpha", "beta"))),
        case("exp", "Exp", "-80 to 20", Kind.CONTROL, "its formula", {"x": steep},
             rounded(np.exp(steep.astype(np.float64)), 32, "a handful of roundings of the result"), trigger=Trigger()),
        case("reciprocal-zero", "Reciprocal", "of both zeros", Kind.CONTROL, "infinities of their signs",
             {"x": f32([0.0, -0.0, 2])}, f32([_INF, -_INF, 0.5])),
        case("sqrt-negative", "Sqrt", "of -1", Kind.CONTROL, "no number", {"x": f32([4, -1, 0])},
             f32([2, _NAN, 0])),
        case("pow-negative-base", "Pow", "of negative bases", Kind.CONTROL, "a number for whole exponents alone",
             {"x": f32([-2, -2, -2, 2]), "e": f32([2, 3, 0.5, 0.5])},
             rounded(np.array([4, -8, _NAN, math.sqrt(2)]), 8, "some roundings of the result"), opset=15),
        case("denormals", "Mul", "of numbers below the smallest normal one", Kind.CONTROL,
             "they are not taken for zero", {"x": f32([1e-40, -3e-42, 1e-38]), "k": f32([1e5])},
             Values(arrays={"y": f32([1e-40, -3e-42, 1e-38]).astype(np.float64) * 1e5}, allowed=1e-40,
                    why="one rounding"), constants=("k",), when="where a number lies below 1.2e-38"),
        case("pow-float16-overflow", "Pow", "float16, beyond 65504", Kind.CONTROL, "infinity",
             {"x": f16([300, 2]), "e": f16([2, 2])}, f16([_INF, 4]), constants=("e",), opset=15),
        case("round-ties", "Round", "ties", Kind.CONTROL, "half to even",
             {"x": f32([0.5, -0.5, 1.5, -1.5, 2.5, -2.5])}, f32([0, 0, 2, -2, 2, -2]), opset=13,
             trigger=Trigger(), when="where a value is a tie"),
    ]  # fmt: skip


def _nan() -> list[ProbeCase]:
    row = f32([[1, _NAN, 3, 2]])
    zeros = np.zeros((1, 4), np.float32)
    kept = "a NaN stays one: else what went wrong before is hidden"

    def one(name: str, op: str, about: str, inputs: dict[str, Array], y: Array) -> ProbeCase:
        stored = [each for each in inputs if each not in ("x", "b")]
        return case(f"{name}-nan", op, about, Kind.BUG, kept, inputs, y, constants=stored, opset=14,
                    trigger=Trigger(), when=REACHED)  # fmt: skip

    return [
        one("relu", "Relu", "of a NaN", {"x": SPECIAL}, f32([1, _NAN, 0, _INF, 0, 0])),
        one("clip", "Clip", "0 to 6, of a NaN",
            {"x": SPECIAL, "low": np.array(0, np.float32), "high": np.array(6, np.float32)},
            f32([1, _NAN, 0, 6, 0, 0])),
        one("max", "Max", "of a NaN and 0", {"x": row, "b": zeros}, f32([[1, _NAN, 3, 2]])),
        one("min", "Min", "of a NaN and 0", {"x": row, "b": zeros}, f32([[0, _NAN, 0, 0]])),
    ]  # fmt: skip


def _less() -> list[ProbeCase]:
    a, b = f32([-1, -2, -3, -2]), f32([-2, -1, -3, 1])
    nans = f32([_NAN, np.copysign(_NAN, -1)])

    def one(name: str, about: str, why: str, inputs: dict[str, Array], y: list[bool], when: str) -> ProbeCase:
        return case(f"less-{name}", "Less", about, Kind.BUG, why, inputs, np.array(y), opset=13,
                    trigger=Trigger(same_type=True), when=when)  # fmt: skip

    return [
        one("negative", "of negative numbers", "-2 is less than -1", {"a": a, "b": b}, [False, True, False, True],
            "where two negative numbers are compared"),
        one("nan", "of a NaN of either sign", "NaN is less than nothing", {"a": nans, "b": f32([1, 1])},
            [False, False], REACHED),
    ]  # fmt: skip


def _casts() -> list[ProbeCase]:
    x = f32([300, _NAN, _INF, -_INF, 50, -50, -1, 1e10])
    lowest = -(2**63)
    inside = f32([1.9, -1.9, 0.5, -0.5, 100.999, 2, 0])

    def one(name: str, about: str, kind: Kind, why: str, x: Array, y: Array, to: int, when: str = "") -> ProbeCase:
        return case(f"cast-{name}", "Cast", about, kind, why, {"x": x}, y, attributes={"to": to}, opset=13,
                    trigger=Trigger(attributes=("to",), same_type=True), when=when)  # fmt: skip

    return [
        one("int64-large", "float32 to int64, of 1e10", Kind.BUG, "64 bits hold it", f32([300, 1e10, -1e10]),
            i64([300, 10_000_000_000, -10_000_000_000]), TensorProto.INT64, "where a value is beyond 32 bits"),
        one("int64-nonfinite", "float32 to int64, of NaN and infinities", Kind.OPEN,
            "the text leaves it open; PyTorch answers the lowest number", x,
            i64([300, lowest, lowest, lowest, 50, -50, -1, 10_000_000_000]), TensorProto.INT64,
            "where a value is no finite number"),
        one("bool", "float32 to bool, of NaN", Kind.BUG, "only zeros are false",
            f32([1, _NAN, _INF, -_INF, 0, -0.0, 0.25]), np.array([True] * 4 + [False] * 2 + [True]),
            TensorProto.BOOL, REACHED),
        one("int32", "float32 to int32", Kind.CONTROL, "towards zero", inside, inside.astype(np.int32),
            TensorProto.INT32),
        one("int8", "float32 to int8, within its bounds", Kind.CONTROL, "towards zero", inside, inside.astype(np.int8),
            TensorProto.INT8),
        one("uint8", "float32 to uint8, within its bounds", Kind.CONTROL, "towards zero", np.abs(inside),
            np.abs(inside).astype(np.uint8), TensorProto.UINT8),
        one("float16", "float32 to float16, ties and beyond its bounds", Kind.CONTROL, "half to even, then infinity",
            f32([1 + 2**-11, 1 + 3 * 2**-11, 65520, 65519, -1e6, 1e-8]),
            f16([1, 1 + 2**-9, _INF, 65504, -_INF, 0]), TensorProto.FLOAT16),
    ]  # fmt: skip


def _integers() -> list[ProbeCase]:
    a, b = i32([7, -7, 7, -7]), i32([2, 2, -2, -2])
    floats = {"a": f32([-4.3, 7.2, 5, -5]), "b": f32([2.1, -3.4, 8, 3])}
    top = 2**31 - 1
    beyond = "where a result is beyond the type's bounds"

    def one(name: str, op: str, about: str, kind: Kind, why: str, inputs: dict[str, Array], y: Any, when: str = "",
            **attributes: Any) -> ProbeCase:  # fmt: skip
        trigger = Trigger(attributes=tuple(attributes), same_type=True)
        return case(name, op, about, kind, why, inputs, y, opset=14, attributes=attributes, trigger=trigger, when=when)

    bytes_ = {"a": u8([200, 100, 255, 128]), "b": u8([100, 200, 10, 200])}
    return [
        one("add-uint8", "Add", "uint8, beyond 255", Kind.BUG, "it wraps around, as in PyTorch", bytes_,
            u8([44, 44, 9, 72]), beyond),
        one("sub-uint8", "Sub", "uint8, below 0", Kind.BUG, "it wraps around, as in PyTorch", bytes_,
            u8([100, 156, 245, 184]), beyond),
        one("mul-uint8", "Mul", "uint8, beyond 255", Kind.BUG, "it wraps around, as in PyTorch", bytes_,
            u8([20000 % 256, 20000 % 256, 2550 % 256, 25600 % 256]), beyond),
        one("add-int32", "Add", "int32, beyond its bounds", Kind.CONTROL, "it wraps around",
            {"a": i32([top, -top - 1, 1]), "b": i32([1, -1, 2])}, i32([-top - 1, top, 3]), beyond),
        one("add-int64", "Add", "int64, beyond 32 bits", Kind.CONTROL, "64 bits hold it",
            {"a": i64([2**40, -(2**35), 1]), "b": i64([1, -1, 2])}, i64([2**40 + 1, -(2**35) - 1, 3]),
            "where a value is beyond 32 bits"),
        one("div-int32", "Div", "int32, negative", Kind.CONTROL, "towards zero", {"a": a, "b": b},
            i32([3, -3, -3, 3])),
        one("mod-int32", "Mod", "int32, fmod=0", Kind.CONTROL, "the sign of the divisor", {"a": a, "b": b},
            i32([1, 1, -1, -1]), fmod=0),
        one("fmod-float", "Mod", "float32, fmod=1", Kind.CONTROL, "the sign of the dividend", floats,
            rounded(np.fmod(floats["a"].astype(np.float64), floats["b"].astype(np.float64)), 2,
                    "the quotient's rounding", scale=7.2), fmod=1),
    ]  # fmt: skip


def _plain() -> list[ProbeCase]:
    x = f32([-2.5, -1.0, -0.5, 0.0, 0.5, 1.5, 1e9])
    image = np.arange(-12, 12, dtype=np.float32).reshape(1, 3, 2, 4)
    slopes = f32([0.5, 0.25, 2]).reshape(3, 1, 1)

    def one(op: str, about: str, y: Array) -> ProbeCase:
        return case(op.lower(), op, about, Kind.CONTROL, "its definition", {"x": x}, y, opset=13, trigger=Trigger())

    return [
        one("Floor", "of negative numbers", np.floor(x)),
        one("Ceil", "of negative numbers", np.ceil(x)),
        one("Sign", "of both signs and 0", np.sign(x)),
        one("Abs", "of both signs", np.abs(x)),
        case("prelu-channels", "PRelu", "a slope for each channel", Kind.CONTROL, "each channel has its own",
             {"x": image, "slope": slopes}, np.where(image < 0, image * slopes, image), constants=("slope",), opset=16,
             trigger=Trigger()),
        case("isnan", "IsNaN", "of special numbers", Kind.CONTROL, "NaN alone", {"x": SPECIAL}, np.isnan(SPECIAL),
             opset=13, trigger=Trigger()),
        case("isinf-negative", "IsInf", "detect_positive=0", Kind.CONTROL, "-inf alone", {"x": SPECIAL},
             np.isneginf(SPECIAL), attributes={"detect_positive": 0}, opset=10,
             trigger=Trigger(attributes=("detect_positive", "detect_negative"))),
    ]  # fmt: skip


def cases() -> tuple[ProbeCase, ...]:
    """All of them."""
    with np.errstate(all="ignore"):
        return (*_nan(), *_less(), *_casts(), *_integers(), *_formulas(), *_activations(), *_plain())
