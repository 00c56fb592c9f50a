"""Cases on which runtimes are known to disagree: what the golden answers, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from golden_oracle import run

from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Mode

Array = np.ndarray[Any, Any]
_SPECIAL = np.float32([1, np.nan, -1, np.inf, -np.inf, 0])

pytestmark = pytest.mark.parametrize("mode", Mode)


def test_nan_passes_relu_clip_and_max(mode: Mode) -> None:
    nan, inf = np.nan, np.inf

    np.testing.assert_equal(run("Relu", {"x": _SPECIAL}, mode)[0], [1, nan, 0, inf, 0, 0])
    clipped = run("Clip", {"x": _SPECIAL, "low": np.float32(0), "high": np.float32(6)}, mode)[0]
    np.testing.assert_equal(clipped, [1, nan, 0, 6, 0, 0])
    largest = run("Max", {"a": np.float32([[1, nan, 3, 2]]), "b": np.zeros((1, 4), np.float32)}, mode)[0]
    np.testing.assert_equal(largest, [[1, nan, 3, 2]])


def test_nan_is_the_largest_for_reductions_as_in_torch(mode: Mode) -> None:
    x = _SPECIAL[None]

    assert np.isnan(run("ReduceMax", {"x": x, "a": np.int64([1])}, mode)[0]).all()
    assert run("ArgMax", {"x": x}, mode, axis=1)[0].tolist() == [[1]]


def test_a_cast_to_int64_keeps_what_int32_can_not_hold(mode: Mode) -> None:
    x = np.float32([300, np.nan, np.inf, -np.inf, 50, -50, -1, 1e10])
    lowest = -(2**63)

    got = run("Cast", {"x": x}, mode, to=onnx.TensorProto.INT64)[0]

    assert got.tolist() == [300, lowest, lowest, lowest, 50, -50, -1, 10_000_000_000]
    assert run("Cast", {"x": x[1:2]}, mode, to=onnx.TensorProto.BOOL)[0].tolist() == [True]


def test_an_index_out_of_bounds_is_an_error(mode: Mode) -> None:
    with pytest.raises(BadModel, match="out of range"):
        run("Gather", {"x": np.arange(6, dtype=np.float32), "i": np.int64([5, 6, -7])}, mode)


def test_top_k_gives_the_lower_index_first_among_equals(mode: Mode) -> None:
    x = np.random.default_rng(0).integers(0, 20, (1, 500)).astype(np.float32)
    order = np.argsort(-x[0], kind="stable")[:100]

    values, indices = run("TopK", {"x": x, "k": np.int64([100])}, mode, outputs=2)

    assert indices[0].tolist() == order.tolist()
    assert values[0].tolist() == x[0, order].tolist()


def test_top_k_and_arg_max_take_the_first_of_three_maxima(mode: Mode) -> None:
    x = np.float32([[1, 3, 3, 2, 3, 0, 3, 3]])

    assert run("TopK", {"x": x, "k": np.int64([3])}, mode, outputs=2)[1].tolist() == [[1, 2, 4]]
    assert run("ArgMax", {"x": x}, mode, axis=1)[0].tolist() == [[1]]
    assert run("ArgMax", {"x": x}, mode, axis=1, select_last_index=1)[0].tolist() == [[7]]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_flattens_before_opset_13(mode: Mode, op: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    rows = np.exp(x.astype(np.float64).reshape(2, -1))
    flat = (rows / rows.sum(1, keepdims=True)).reshape(x.shape)
    along = np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum(1, keepdims=True)
    shown = np.log if op == "LogSoftmax" else np.asarray

    np.testing.assert_allclose(run(op, {"x": x}, mode, opset=11, axis=1)[0], shown(flat), rtol=1e-5)
    np.testing.assert_allclose(run(op, {"x": x}, mode, opset=13, axis=1)[0], shown(along), rtol=1e-5)


def test_a_row_of_minus_infinity_has_no_softmax(mode: Mode) -> None:
    assert np.isnan(run("Softmax", {"x": np.full((1, 4), -np.inf, np.float32)}, mode)[0]).all()


def test_integers_divide_toward_zero_and_their_remainder_has_the_divisors_sign(mode: Mode) -> None:
    a, b = np.int32([7, -7, 7, -7]), np.int32([2, 2, -2, -2])

    assert run("Div", {"a": a, "b": b}, mode)[0].tolist() == [3, -3, -3, 3]
    assert run("Mod", {"a": a, "b": b}, mode)[0].tolist() == [1, 1, -1, -1]
    assert run("Mod", {"a": a, "b": b}, mode, fmod=1)[0].tolist() == [1, -1, 1, -1]


def test_the_lowest_integer_divided_by_minus_one_wraps(mode: Mode) -> None:
    lowest, minus_one = np.int32([-(2**31)]), np.int32([-1])

    assert run("Div", {"a": lowest, "b": minus_one}, mode)[0].tolist() == [-(2**31)]
    assert run("Mod", {"a": lowest, "b": minus_one}, mode)[0].tolist() == [0]


def test_rounding_goes_to_even(mode: Mode) -> None:
    halves = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 200, -200, 127.5, -128.5])

    assert run("Round", {"x": halves[:6]}, mode)[0].tolist() == [0, 2, 2, 0, -2, -2]
    got = run("QuantizeLinear", {"x": halves, "s": np.float32(1), "z": np.int8(0)}, mode)[0]
    assert got.tolist() == [0, 2, 2, 0, -2, -2, 127, -128, 127, -128]


def test_float16_reductions_round_once_at_the_end(mode: Mode) -> None:
    ones, axes = np.ones((1, 70_000), np.float16), np.int64([1])

    assert run("ReduceMean", {"x": ones, "a": axes}, mode)[0].tolist() == [[1]]
    assert np.isinf(run("ReduceSum", {"x": ones, "a": axes}, mode, opset=13)[0]).all()


def test_a_norm_overflows_where_its_squares_do(mode: Mode) -> None:
    assert np.isinf(run("ReduceL2", {"x": np.float32([2e19]), "a": np.int64([0])}, mode)[0]).all()


def test_log_sum_exp_does_not_overflow(mode: Mode) -> None:
    got = run("ReduceLogSumExp", {"x": np.float32([200]), "a": np.int64([0])}, mode)[0]

    np.testing.assert_allclose(got, [200])


def test_softplus_is_exact_where_torchs_own_turns_linear(mode: Mode) -> None:
    got = run("Softplus", {"x": np.float32([-80, 0, 21])}, mode)[0].astype(np.float64)

    np.testing.assert_allclose(got, np.logaddexp(0, [-80, 0, 21]), rtol=1e-12 if mode is Mode.FLOAT64 else 1e-6)


def test_hard_sigmoid_has_onnxs_slope_and_depth_to_space_onnxs_order(mode: Mode) -> None:
    assert run("HardSigmoid", {"x": np.float32([1])}, mode)[0] == pytest.approx([0.7])
    blocks = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    assert run("DepthToSpace", {"x": blocks}, mode, blocksize=2)[0].reshape(-1).tolist() == [0, 1, 2, 3]
    two = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    first = run("DepthToSpace", {"x": two}, mode, blocksize=2)[0][0, 0].tolist()
    assert first == [[0, 2], [4, 6]]
    assert run("DepthToSpace", {"x": two}, mode, blocksize=2, mode="CRD")[0][0, 0].tolist() == [[0, 1], [2, 3]]


def test_a_quantisation_tie_falls_as_the_declared_division_lets_it(mode: Mode) -> None:
    # 0.5 / float32(5 / 255) is 25.4999996, and 25.5 as a float32: the even 26.
    x = np.float32([0, 2, -3, -2.5, 1.34, 0.5])

    got, _, zero = run("DynamicQuantizeLinear", {"x": x}, mode, outputs=3)

    assert zero == 153
    assert got.tolist() == [153, 255, 0, 26, 221, 179]
