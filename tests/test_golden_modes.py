"""What float64 mode keeps of FLOAT (its range) and drops (its rounding), and what both modes share."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch

from sysnoise_conform.errors import BadInput, BadModel, UnsupportedOperator
from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy
from sysnoise_conform.golden.values import round_to

T = onnx.TensorProto


def parsed(text: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')


def answer(model: onnx.ModelProto, mode: Mode, **feeds: Any) -> np.ndarray[Any, Any]:
    value = Executor(model, mode).run(feeds)[model.graph.output[0].name]
    assert isinstance(value, Value)
    return to_numpy(value, declared=False)


def test_float64_mode_drops_the_rounding_of_float_tensors() -> None:
    model = parsed("g (float[1] x) => (float[1] y) { a = Sqrt(x)  y = Mul(a, a) }")
    two = np.float32([2])

    wide, narrow = answer(model, Mode.FLOAT64, x=two), answer(model, Mode.FLOAT32, x=two)

    assert abs(wide[0] - 2) < 1e-15
    assert narrow[0] == np.float32(np.sqrt(np.float32(2))) ** np.float32(2)


@pytest.mark.parametrize("mode", Mode)
def test_a_mask_of_the_lowest_float_added_twice_is_minus_infinity_and_its_softmax_nan(mode: Mode) -> None:
    model = parsed("g (float[2] x) => (float[2] y) { a = Add(x, x)  y = Softmax<axis = -1>(a) }")
    lowest = np.full(2, np.finfo(np.float32).min)

    seen: dict[str, np.ndarray[Any, Any]] = {}
    Executor(model, mode).run({"x": lowest}, listen=lambda node, inputs, name, value: seen.update(
        {name: to_numpy(value, declared=False)}
    ))  # fmt: skip

    assert np.isneginf(seen["a"]).all()
    assert np.isnan(seen["y"]).all()


def test_a_magnitude_that_float32_would_round_to_its_largest_stays_finite() -> None:
    model = parsed("g (float[1] x, float[1] z) => (float[1] y) { y = Add(x, z) }")
    largest = np.finfo(np.float32).max

    assert np.isfinite(answer(model, Mode.FLOAT64, x=np.float32([largest]), z=np.float32([1e30]))).all()
    assert np.isinf(answer(model, Mode.FLOAT64, x=np.float32([largest]), z=np.float32([2e31]))).all()


@pytest.mark.parametrize("mode", Mode)
def test_double_is_float64_in_both_modes(mode: Mode) -> None:
    model = parsed("g (double[1] x) => (double[1] y) { y = Mul(x, x) }")

    assert answer(model, mode, x=np.float64([1e200]))[0] == np.inf
    assert answer(model, mode, x=np.float64([1 + 2.0**-40]))[0] == (1 + 2.0**-40) ** 2


@pytest.mark.parametrize("mode", Mode)
def test_float16_is_rounded_after_each_node_in_both_modes(mode: Mode) -> None:
    model = parsed("g (float16[1] x, float16[1] z) => (float16[1] y) { a = Add(x, z)  y = Sub(a, x) }")

    got = answer(model, mode, x=np.float16([2048]), z=np.float16([1]))

    assert got[0] == 0  # 2049 is a tie in float16 and goes to the even 2048


def test_a_float64_result_is_rounded_to_16_bits_once() -> None:
    # Rounded to float32 first this would become the tie 1 + 2**-11, and then the even 1.
    above_the_tie = torch.tensor([1 + 2.0**-11 + 2.0**-40], dtype=torch.float64)

    assert round_to(above_the_tie, T.FLOAT16).item() == 1 + 2.0**-10
    assert above_the_tie.to(torch.float16).item() == 1


def test_rounding_to_16_bits_agrees_with_numpy_on_random_numbers() -> None:
    generator = np.random.default_rng(0)
    numbers = np.concatenate([
        generator.normal(size=5000) * 10.0 ** generator.integers(-9, 6, 5000),
        [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.999, 65520.0, 2.0**-25, 1e-30, 1e300],
    ])  # fmt: skip

    with np.errstate(over="ignore", under="ignore"):
        expected = numbers.astype(np.float16)

    np.testing.assert_array_equal(round_to(torch.from_numpy(numbers), T.FLOAT16).numpy(), expected)


@pytest.mark.parametrize("name", [
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
])  # fmt: skip
def test_rounding_to_8_bits_agrees_with_ml_dtypes(name: str) -> None:
    elem_type = T.DataType.Value({"float8_e4m3fn": "FLOAT8E4M3FN", "float8_e4m3fnuz": "FLOAT8E4M3FNUZ",
                                  "float8_e5m2": "FLOAT8E5M2", "float8_e5m2fnuz": "FLOAT8E5M2FNUZ"}[name])  # fmt: skip
    generator = np.random.default_rng(0)
    numbers = np.float32(generator.normal(size=4000) * 10.0 ** generator.integers(-6, 6, 4000))

    expected = numbers.astype(getattr(ml_dtypes, name)).astype(np.float32)

    np.testing.assert_array_equal(round_to(torch.from_numpy(numbers), elem_type).numpy(), expected)


@pytest.mark.parametrize("mode", Mode)
def test_integers_wrap(mode: Mode) -> None:
    model = parsed("g (uint8[4] x, uint8[4] z) => (uint8[4] y) { y = Add(x, z) }")

    got = answer(model, mode, x=np.uint8([200, 100, 255, 128]), z=np.uint8([100, 200, 10, 200]))

    assert got.tolist() == [44, 44, 9, 72]


@pytest.mark.parametrize(
    ("dtype", "name", "a", "b", "expected"),
    [
        (np.uint16, "uint16", 65535, 1, 0),
        (np.uint32, "uint32", 2**32 - 1, 2, 1),
        (np.uint64, "uint64", 2**64 - 1, 3, 2),
        (np.int32, "int32", 2**31 - 1, 1, -(2**31)),
        (np.int64, "int64", 2**63 - 1, 1, -(2**63)),
    ],
)
def test_every_width_wraps_at_its_own_bound(dtype: Any, name: str, a: int, b: int, expected: int) -> None:
    model = parsed(f"g ({name}[1] x, {name}[1] z) => ({name}[1] y) {{ y = Add(x, z) }}")

    got = answer(model, Mode.FLOAT64, x=np.array([a], dtype), z=np.array([b], dtype))

    assert got.dtype == dtype
    assert got.tolist() == [expected]


def test_uint64_is_ordered_and_divided_as_unsigned() -> None:
    big, small = np.uint64([2**63 + 8]), np.uint64([3])
    for text, expected in [("Div", (2**63 + 8) // 3), ("Max", 2**63 + 8), ("Min", 3), ("Mod", (2**63 + 8) % 3)]:
        model = parsed(f"g (uint64[1] x, uint64[1] z) => (uint64[1] y) {{ y = {text}(x, z) }}")
        assert answer(model, Mode.FLOAT32, x=big, z=small).tolist() == [expected]
    less = parsed("g (uint64[1] x, uint64[1] z) => (bool[1] y) { y = Less(x, z) }")
    assert answer(less, Mode.FLOAT32, x=small, z=big).tolist() == [True]
    cast = parsed("g (uint64[1] x) => (double[1] y) { y = Cast<to = 11>(x) }")
    assert answer(cast, Mode.FLOAT32, x=big).tolist() == [2.0**63]


def test_outputs_come_back_in_their_declared_types() -> None:
    for elem_type in (T.FLOAT16, T.BFLOAT16, T.FLOAT8E4M3FN, T.INT4, T.UINT4, T.UINT16, T.UINT64, T.BOOL):
        model = parsed(f"g (float[2] x) => (y) {{ y = Cast<to = {elem_type}>(x) }}", opset=21)
        value = Executor(model, Mode.FLOAT64).run({"x": np.float32([1, 0])})["y"]
        assert isinstance(value, Value)
        assert to_numpy(value).dtype == onnx.helper.tensor_dtype_to_np_dtype(elem_type)
        assert to_numpy(value).astype(np.float32).tolist() == [1, 0]


def test_weights_of_four_bits_are_read() -> None:
    weight = onnx.helper.make_tensor("w", T.INT4, [3], [-8, 7, 1])
    model = parsed("g (float[3] x) => (float[3] y) { d = DequantizeLinear(w, s)  y = Mul(d, x) }", opset=21)
    model.graph.initializer.extend([weight, onnx.numpy_helper.from_array(np.float32(0.5), "s")])

    assert answer(model, Mode.FLOAT32, x=np.ones(3, np.float32)).tolist() == [-4, 3.5, 0.5]


@pytest.mark.parametrize("mode", Mode)
def test_a_range_has_as_many_elements_as_its_declared_type_gives(mode: Mode) -> None:
    # 0.3f / 0.1f is 3 in float32 and a little more in float64, which would give a fourth element.
    model = parsed("g (float start, float limit, float delta) => (float[N] y) { y = Range(start, limit, delta) }")

    got = answer(model, mode, start=np.float32(0), limit=np.float32(0.3), delta=np.float32(0.1))

    assert len(got) == 3


def test_a_wrong_feed_is_a_mistake_in_one_line() -> None:
    executor = Executor(parsed("g (float[2] x) => (float[2] y) { y = Relu(x) }"), Mode.FLOAT32)
    for feeds, said in [
        ({}, "missing"),
        ({"x": np.zeros(2)}, "float64"),
        ({"x": np.zeros(3, np.float32)}, "shape"),
        ({"x": np.zeros(2, np.float32), "z": np.zeros(2, np.float32)}, "no input 'z'"),
    ]:
        with pytest.raises(BadInput, match=said):
            executor.run(feeds)


def test_an_unknown_operator_is_named_with_opset_and_node() -> None:
    model = parsed("g (float[2] x) => (float[2] y) { y = Frobnicate(x) }")

    with pytest.raises(UnsupportedOperator) as caught:
        Executor(model, Mode.FLOAT32)

    assert (caught.value.op, caught.value.opset) == ("Frobnicate", 18)
    assert "Frobnicate" in str(caught.value)
    assert "opset 18" in str(caught.value)


def test_an_opset_newer_than_onnx_defines_is_unsupported() -> None:
    newer = onnx.defs.onnx_opset_version() + 1
    with pytest.raises(UnsupportedOperator, match=str(newer)):
        Executor(parsed("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=newer), Mode.FLOAT32)


@pytest.mark.parametrize(
    "text",
    [
        "g (int32[2] x) => (int32[2] y) <int32[2] z = {1, 0}> { y = Div(x, z) }",
        "g (int32[2] x) => (int32[1] y) <int64[1] i = {2}> { y = Gather(x, i) }",
        "g (int32[2] x) => (int32[1] y) <int64[1] i = {-3}> { y = Gather(x, i) }",
        "g (int32[2] x) => (int32[2,2] y) <int64[2] s = {2, 2}> { y = Reshape(x, s) }",
        "g (int32[2] x) => (int32[2] y) { y = Transpose<perm = [1]>(x) }",
        "g (int32[2] x) => (int32[2] y) <int64[1] s = {0}> { y = Slice(x, s, s, s, s) }",
        "g (int32[2] x) => (int32[2] y) <float[2] z = {1, 0}> { y = Add(x, z) }",
        "g (int32[2] x) => (int32[2] y) { y = Identity<frobnicate = 1>(x) }",
        "g (int32[2] x) => (int32[2] y) { y = Concat(x, x) }",
    ],
)
def test_what_onnx_forbids_is_a_bad_model(text: str) -> None:
    with pytest.raises(BadModel):
        Executor(parsed(text), Mode.FLOAT64).run({"x": np.int32([1, 2])})
