"""The derived sigma of every arithmetic, against simulations that share no code with it: numpy types, term by term."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from sysnoise_conform.compare.arithmetic import ARITHMETICS, reported
from sysnoise_conform.golden.sigma import Sigmas
from sysnoise_conform.golden.values import Value

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
FLOAT = onnx.TensorProto.FLOAT


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.maximum(rng.standard_normal(shape), 0)


def shifted(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape) + 5


def outlier(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    x = rng.standard_normal(shape)
    x[..., 0] *= 50
    return x


DRAWS = [normal, positive, shifted, outlier]
TYPES = {"float16": np.float16, "float16_sums": np.float16, "bfloat16": ml_dtypes.bfloat16}


def narrowed(x: Array, arithmetic: str) -> Array:
    """Rounded to nearest, in float64 again; TF32 by hand, since numpy has no such type, its ties away from zero."""
    if arithmetic == "tf32":
        mantissa, exponent = np.frexp(x.astype(np.float32).astype(np.float64))
        return np.ldexp(np.sign(mantissa) * np.floor(np.abs(mantissa) * 2**11 + 0.5), exponent - 11)
    return x.astype(np.float32).astype(TYPES[arithmetic]).astype(np.float64)


def dots(a: Array, b: Array, arithmetic: str) -> Array:
    """(m, n) @ (n, k), exact products, summed one after the other in the accumulator's type."""
    accumulator = np.float16 if arithmetic == "float16_sums" else np.float32
    total = np.zeros((a.shape[0], b.shape[1]), accumulator)
    for term in range(a.shape[1]):
        total = (total.astype(np.float64) + np.multiply.outer(a[:, term], b[term])).astype(accumulator)
    return total.astype(np.float64)


def sigma_of(op: str, inputs: list[Array], output: Array, arithmetic: str, **more: Any) -> float:
    """rms of the derived sigma; attributes of the node beside `stored` and `represented`."""
    flags = {name: more.pop(name) for name in ("stored", "represented") if name in more}
    node = helper.make_node(op, [f"i{at}" for at in range(len(inputs))], ["y"], **more)
    model = helper.make_model(helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", 21)])
    values = [Value(torch.from_numpy(np.ascontiguousarray(each)), FLOAT) for each in inputs]
    result = Value(torch.from_numpy(np.ascontiguousarray(output)), FLOAT)
    total = Sigmas(model, ARITHMETICS[arithmetic]).sum_of_squares(node, values, "y", result, **flags)
    assert total is not None
    return math.sqrt(total / output.size)


def rms(error: Array) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


SIZES = [64, 576, 4608]


@pytest.mark.parametrize("draw", DRAWS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("arithmetic", ["tf32", "float16", "bfloat16"])
def test_a_dot_product_is_one_sigma_off_against_float64_on_its_own_operands(
    arithmetic: str, n: int, draw: Draw
) -> None:
    rng = np.random.default_rng(n)
    a, b = draw(rng, (48, n)).astype(np.float32), (rng.standard_normal((n, 32)) / math.sqrt(n)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    got = dots(narrowed(a, arithmetic), narrowed(b, arithmetic), arithmetic)
    if arithmetic != "tf32":
        got = narrowed(got, arithmetic)

    z = rms(got - exact) / sigma_of("MatMul", [a, b], exact, arithmetic, stored=True, represented=True)

    # The rounding of a weight is the same for all rows: where one weight, or their sum, carries the result it tells.
    assert 0.8 < z < 1.3 if draw in (outlier, shifted) else 0.9 < z < 1.15


@pytest.mark.parametrize("draw", DRAWS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("stored", [False, True], ids=["kept in float32", "stored"])
@pytest.mark.parametrize("arithmetic", ["tf32", "float16", "bfloat16"])
def test_against_float64_on_rounded_operands_only_sums_and_the_result_are_off(
    arithmetic: str, stored: bool, n: int, draw: Draw
) -> None:
    rng = np.random.default_rng(n + 1)
    a = narrowed(draw(rng, (48, n)), arithmetic)
    b = narrowed(rng.standard_normal((n, 32)) / math.sqrt(n), arithmetic)
    exact = a @ b
    got = dots(a, b, arithmetic)
    if stored and arithmetic != "tf32":
        got = narrowed(got, arithmetic)

    z = rms(got - exact) / sigma_of("MatMul", [a, b], exact, arithmetic, stored=stored)

    # Products of bfloat16 have 16 bits: many partial sums are exact. An outlier that comes first is in every sum.
    least = 0.15 if arithmetic == "bfloat16" and not stored else 0.6
    assert least < z < (1.75 if draw is outlier else 1.2)


@pytest.mark.parametrize("draw", [normal, positive, shifted], ids=lambda each: each.__name__)
@pytest.mark.parametrize("n", [64, 576])
def test_sums_in_float16_cost_what_the_bridge_says(n: int, draw: Draw) -> None:
    rng = np.random.default_rng(n + 2)
    a = narrowed(draw(rng, (48, n)), "float16")
    b = narrowed(rng.standard_normal((n, 32)) / math.sqrt(n), "float16")
    got = narrowed(dots(a, b, "float16_sums"), "float16")

    z = rms(got - a @ b) / sigma_of("MatMul", [a, b], a @ b, "float16_sums", stored=True)

    assert 0.6 < z < 1.3
    assert rms(got - a @ b) > 2 * sigma_of("MatMul", [a, b], a @ b, "float16", stored=True)


def on_a_grid(x: Array, low: Array | float, step: Array | float) -> Array:
    return low + np.rint((x - low) / step) * step


@pytest.mark.parametrize(("draw", "least"), [(normal, 0.9), (shifted, 0.75), (outlier, 0.7), (positive, 0.6)])
@pytest.mark.parametrize("n", SIZES)
def test_int8_is_off_by_the_steps_of_its_operands(n: int, draw: Draw, least: float) -> None:
    """Less where x is often 0, which the grid holds exactly."""
    rng = np.random.default_rng(n + 3)
    a, b = draw(rng, (48, n)), rng.standard_normal((n, 32)) / math.sqrt(n)
    low, high = min(0.0, a.min()), max(0.0, a.max())
    step = (high - low) / 255
    coarse = on_a_grid(a, np.rint(low / step) * step, step)
    weights = on_a_grid(b, 0.0, np.abs(b).max(axis=0, keepdims=True) / 127)

    z = rms(coarse @ weights - a @ b) / sigma_of("MatMul", [a, b], a @ b, "int8", represented=True)

    assert least < z < 1.15


CONVOLUTIONS: list[dict[str, Any]] = [
    {"pads": [0, 0, 0, 0]},
    {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    {"pads": [1, 1, 1, 1], "group": 4},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("arithmetic", ["tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_convolution_is_one_sigma_off(arithmetic: str, attributes: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 16, 20, 22)) * np.linspace(0.1, 5, 16)[None, :, None, None]
    w = rng.standard_normal((12, 16 // attributes.get("group", 1), 3, 3)) / 12

    def conv(a: Array, b: Array) -> Array:
        return torch.nn.functional.conv2d(
            torch.from_numpy(a), torch.from_numpy(b), stride=attributes.get("strides", 1),
            padding=attributes["pads"][0], groups=attributes.get("group", 1),
        ).numpy()  # fmt: skip

    exact = conv(x, w)
    got = conv(narrowed(x, arithmetic), narrowed(w, arithmetic)).astype(np.float32).astype(np.float64)
    if arithmetic != "tf32":
        got = narrowed(got, arithmetic)

    z = rms(got - exact) / sigma_of("Conv", [x, w], exact, arithmetic, stored=True, represented=True, **attributes)

    assert 0.9 < z < 1.1


ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "Add": np.add, "Mul": np.multiply, "Div": np.divide, "Exp": np.exp, "Tanh": np.tanh, "Sqrt": np.sqrt,
}  # fmt: skip


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("arithmetic", ["float16", "bfloat16"])
def test_an_elementwise_result_is_rounded_where_it_is_stored(arithmetic: str, op: str) -> None:
    rng = np.random.default_rng(5)
    count = 2 if op in ("Add", "Mul", "Div") else 1
    given = [narrowed(np.abs(rng.standard_normal(20_000)) + 0.1, arithmetic) for _ in range(count)]
    exact = ELEMENTWISE[op](*given)
    got = narrowed(ELEMENTWISE[op](*(each.astype(np.float32) for each in given)).astype(np.float64), arithmetic)

    assert 0.8 < rms(got - exact) / sigma_of(op, given, exact, arithmetic, stored=True) < 1.2
    assert sigma_of(op, given, exact, arithmetic) < 1e-5 * rms(exact)


@pytest.mark.parametrize(("op", "axis"), [("GlobalAveragePool", (2, 3)), ("Softmax", -1), ("LayerNormalization", -1)])
@pytest.mark.parametrize("arithmetic", ["float16", "bfloat16"])
def test_sums_inside_of_an_operator_are_float32s_and_its_result_is_rounded(
    arithmetic: str, op: str, axis: Any
) -> None:
    rng = np.random.default_rng(6)
    x = narrowed(rng.standard_normal((4, 32, 14, 14) if op == "GlobalAveragePool" else (64, 96)) + 1, arithmetic)

    def run(a: torch.Tensor) -> torch.Tensor:
        match op:
            case "Softmax":
                return a.softmax(-1)
            case "LayerNormalization":
                return torch.nn.functional.layer_norm(a, (96,))
            case _:
                return a.mean(axis, keepdim=True)

    exact = run(torch.from_numpy(x)).numpy()
    got = narrowed(run(torch.from_numpy(x).float()).double().numpy(), arithmetic)
    inputs = [x, np.ones(96), np.zeros(96)] if op == "LayerNormalization" else [x]

    assert 0.8 < rms(got - exact) / sigma_of(op, inputs, exact, arithmetic, stored=True) < 1.25


def test_what_a_format_holds_and_what_it_does_not() -> None:
    x = np.random.default_rng(7).standard_normal(1000).astype(np.float32)
    for name in ("float16", "bfloat16"):
        arithmetic = ARITHMETICS[name]
        kept = arithmetic.rounded(x)
        assert np.array_equal(kept, x.astype(TYPES[name]).astype(np.float32))
        assert arithmetic.holds(kept)
        assert not arithmetic.holds(x)
    assert np.array_equal(ARITHMETICS["tf32"].rounded(x), narrowed(x, "tf32").astype(np.float32))
    assert not ARITHMETICS["tf32"].holds(ARITHMETICS["tf32"].rounded(x))  # a float32 as soon as it is stored


def test_ties_go_away_from_zero_in_tf32_and_to_even_in_the_others() -> None:
    ties = np.float32([1 + 2**-11, -1 - 2**-11, 1 + 3 * 2**-11, -1 - 3 * 2**-11, 2 - 2**-11])
    away = np.float32([1 + 2**-10, -1 - 2**-10, 1 + 2**-9, -1 - 2**-9, 2])
    even = np.float32([1, -1, 1 + 2**-9, -1 - 2**-9, 2])
    assert np.array_equal(ARITHMETICS["tf32"].rounded(ties), away)  # cvt.rna.tf32.f32
    assert np.array_equal(ARITHMETICS["float16"].rounded(ties), even)
    eighth = np.float32([1 + 2**-8, 1 + 3 * 2**-8])
    assert np.array_equal(ARITHMETICS["bfloat16"].rounded(eighth), np.float32([1, 1 + 2**-6]))
    near = np.nextafter(ties, np.float32(0))  # just below the tie
    assert np.array_equal(ARITHMETICS["tf32"].rounded(near), narrowed(near, "tf32").astype(np.float32))


def test_nan_infinity_and_the_ends_of_a_range_are_kept() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, 1e-40, 70000.0, 6e-8], np.float32)
    for name in ("tf32", "bfloat16"):
        got = ARITHMETICS[name].rounded(odd)
        assert np.array_equal(np.isnan(got), np.isnan(odd))
        assert np.array_equal(got[1:3], odd[1:3])
        assert np.isfinite(got[5])
    half = ARITHMETICS["float16"].rounded(odd)
    assert np.isinf(half[[5, 7]]).all()
    assert half[8] == np.float16(6e-8)
    empty = np.empty((0, 3), np.float32)
    assert ARITHMETICS["bfloat16"].rounded(empty).shape == (0, 3)
    assert ARITHMETICS["bfloat16"].rounded(np.float32(1 / 3).reshape(())).shape == ()


@pytest.mark.parametrize(("name", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_the_largest_finite_number_is_the_format_s(name: str, dtype: Any) -> None:
    assert ARITHMETICS[name].largest == float(ml_dtypes.finfo(dtype).max)


@pytest.mark.parametrize(
    ("said", "declared", "found"),
    [
        ("bf16 93 %, fp32 7 %", ["FLOAT"], "bfloat16"), ("fp32", ["FLOAT"], None), ("int8 75 %, fp32 25 %", [], "int8"),
        ("int8 75 %, fp32 25 %", ["FLOAT", "UINT8"], None), ("fp32 (int8 weights)", ["FLOAT"], None),
        ("fp32 (fp16 weights)", [], None), ("fp32 requested (precision=high), int8 weights", ["FLOAT"], None),
    ],
)  # fmt: skip
def test_what_a_runtime_says_is_its_arithmetic_and_not_how_weights_are_kept(
    said: str, declared: list[str], found: str | None
) -> None:
    told = reported(said, declared)

    assert (told and told.name) == found
