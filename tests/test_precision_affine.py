"""Scales, zero points and codes, against onnxruntime's quantiser and ONNX's own reference."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.quant_utils import compute_scale_zp, quantize_nparray

from sysnoise_conform.precision.affine import affine, codes, difference, values_of, weight_range
from sysnoise_conform.precision.observers import Scheme

ASYMMETRIC, SYMMETRIC = Scheme(symmetric=False), Scheme(symmetric=True)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_an_asymmetric_scale_is_that_of_onnxruntimes_quantiser(kind: str) -> None:
    rng = np.random.default_rng()
    info = np.iinfo(kind)
    for _ in range(200):
        low, high = np.sort(rng.normal(0, 10.0 ** rng.integers(-6, 6), 2).astype(np.float32))
        zero, scale = compute_scale_zp(low, high, np.array(info.min, kind), np.array(info.max, kind))
        found = affine(low, high, kind, ASYMMETRIC)
        assert (found.scale, found.zero_point) == (scale, zero), (low, high)


def test_a_symmetric_scale_is_that_of_onnxruntimes_quantiser() -> None:
    rng = np.random.default_rng()
    for _ in range(200):
        low, high = np.sort(rng.normal(0, 3, 2).astype(np.float32))
        zero, scale = compute_scale_zp(low, high, np.array(-127, "int8"), np.array(127, "int8"), symmetric=True)
        found = affine(low, high, "int8", SYMMETRIC)
        assert found.zero_point == zero == 0
        assert found.scale == pytest.approx(float(scale), rel=1e-7)


def test_codes_are_those_of_onnxruntimes_quantiser() -> None:
    rng = np.random.default_rng()
    for kind, number in (("int8", TensorProto.INT8), ("uint8", TensorProto.UINT8)):
        values = rng.normal(0, 4, 4001).astype(np.float32)
        by = affine(*weight_range(values, None), kind, ASYMMETRIC)
        expected = quantize_nparray(number, values, by.scale, by.zero_point)
        assert np.array_equal(codes(values, by, None), expected)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_codes_per_channel_are_those_of_quantizelinear(axis: int) -> None:
    rng = np.random.default_rng()
    values = (rng.normal(0, 1, (4, 3, 2, 5)) * 10.0 ** rng.integers(-3, 3, (4, 1, 1, 1))).astype(np.float32)
    by = affine(*weight_range(values, axis), "int8", SYMMETRIC)
    n = values.shape[axis]
    model = ReferenceEvaluator(
        graph(
            f"g (float[4,3,2,5] x, float[{n}] s, int8[{n}] z) => (int8[4,3,2,5] q, float[4,3,2,5] y) "
            f"{{ q = QuantizeLinear<axis={axis}>(x, s, z) y = DequantizeLinear<axis={axis}>(q, s, z) }}",
            opset=21, ir_version=10,
        )
    )
    q, y = model.run(None, {"x": values, "s": by.scale, "z": by.zero_point})
    assert np.array_equal(codes(values, by, axis), q)
    assert np.array_equal(values_of(q, by, axis), y)


def test_zero_is_held_exactly_and_nothing_in_the_range_is_off_by_more_than_half_a_step() -> None:
    rng = np.random.default_rng()
    for scheme in (ASYMMETRIC, SYMMETRIC):
        values = np.append(rng.uniform(-3, 9, 10_000), 0).astype(np.float32)
        by = affine(values.min(), values.max(), "int8", scheme)
        back = values_of(codes(values, by, None), by, None)
        assert back[-1] == 0
        assert np.abs(back - values).max() <= 0.5001 * float(by.scale)


def test_a_range_without_width_has_a_scale_that_divides() -> None:
    for low, high in ((0.0, 0.0), (1e-45, 1e-45), (-1e-44, 0.0)):
        by = affine(low, high, "uint8", ASYMMETRIC)
        assert (by.scale, by.zero_point) == (1, 0)
        assert codes(np.zeros(3, np.float32), by, None).tolist() == [0, 0, 0]


def test_a_dead_channel_does_not_disturb_its_neighbours() -> None:
    values = np.array([[0, 0], [1, -2]], np.float32)
    by = affine(*weight_range(values, 0), "int8", SYMMETRIC)
    assert by.scale.tolist() == [1, pytest.approx(2 / 127)]
    assert codes(values, by, 0).tolist() == [[0, 0], [64, -127]]


def test_powers_of_two_cover_the_range_with_the_smallest_that_does() -> None:
    for largest in (1.0, 127.0, 127.5, 254.0, 1e-3, 3e4):
        by = affine(-largest, largest, "int8", Scheme(symmetric=True, power_of_two=True))
        mantissa, _ = np.frexp(by.scale)
        assert mantissa == 0.5
        assert by.scale * 127 >= largest * (1 - 1e-6)
        assert by.scale * 127 / 2 < largest


def test_no_weights_at_all_and_one_weight() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert codes(empty, affine(*weight_range(empty, None), "int8", SYMMETRIC), None).shape == (0, 3)
    one = np.array([-0.3], np.float32)
    by = affine(*weight_range(one, None), "int8", SYMMETRIC)
    assert values_of(codes(one, by, None), by, None) == pytest.approx(one)


def test_a_difference_is_told_as_relative_norm_and_sqnr() -> None:
    told = difference(np.array([3, 4], np.float32), np.array([3, 4.5], np.float32))
    assert told == {"rel_l2": 0.1, "sqnr_db": pytest.approx(20), "max_abs": 0.5}
    assert difference(np.zeros(2, np.float32), np.zeros(2, np.float32)) == {
        "rel_l2": 0.0, "sqnr_db": None, "max_abs": 0.0,
    }  # fmt: skip


def test_a_mask_that_stays_infinite_is_no_error_and_an_overflow_is_one() -> None:
    mask = np.array([0, -np.inf, 4], np.float32)

    assert difference(mask, mask) == {"rel_l2": 0.0, "sqnr_db": None, "max_abs": 0.0}
    told = difference(np.array([1, 1e6], np.float32), np.array([1, np.inf], np.float32))
    assert (told["rel_l2"], told["max_abs"]) == (None, np.inf)
