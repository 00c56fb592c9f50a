from __future__ import annotations

import numpy as np
import pytest
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator
from sysnoise_conform.golden.executor import Mode


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [7, 8, 9, 14, 15])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 3, 4, 5), (2, 2, 3, 2, 3)])
def test_batch_normalization_agrees_with_onnxruntime(opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    vectors = {name: floats(rng, shape[1]) for name in ("s", "b", "m")}
    variance = (rng.random(shape[1]) + 0.1).astype(np.float32)
    assert_agrees("BatchNormalization", {"x": floats(rng, *shape), **vectors, "v": variance}, opset=opset, epsilon=1e-3)


def test_batch_normalization_in_training_mode_uses_the_statistics_of_the_batch() -> None:
    rng = np.random.default_rng(0)
    x = (1 + 2 * rng.standard_normal((4, 3, 5, 5))).astype(np.float32)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    feeds = {"x": x, "s": one, "b": zero, "m": zero, "v": one}
    y, mean, var = run("BatchNormalization", feeds, opset=15, outputs=3, training_mode=1, momentum=0.75)

    wide = x.astype(np.float64)
    now_mean, now_var = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    np.testing.assert_allclose(y, (wide - now_mean[:, None, None]) / np.sqrt(now_var[:, None, None] + 1e-5), atol=1e-6)
    np.testing.assert_allclose(mean, 0.25 * now_mean, rtol=1e-6)
    np.testing.assert_allclose(var, 0.75 + 0.25 * now_var, rtol=1e-6)


def test_batch_normalization_normalises_per_element_where_spatial_is_0() -> None:
    rng = np.random.default_rng(0)
    x, s, b, m = (floats(rng, *shape) for shape in ((3, 2, 4), (2, 4), (2, 4), (2, 4)))
    v = (rng.random((2, 4)) + 0.1).astype(np.float32)
    (y,) = run("BatchNormalization", {"x": x, "s": s, "b": b, "m": m, "v": v}, opset=7, spatial=0)
    np.testing.assert_allclose(y, (x.astype(np.float64) - m) / np.sqrt(v.astype(np.float64) + 1e-5) * s + b, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layer_normalization_agrees_with_onnxruntime(axis: int, outputs: int) -> None:
    rng = np.random.default_rng(axis + 5)
    x = floats(rng, 3, 4, 5)
    scale, bias = floats(rng, *x.shape[axis:]), floats(rng, *x.shape[axis:])
    assert_agrees("LayerNormalization", {"x": x, "s": scale, "b": bias}, opset=17, axis=axis, outputs=outputs)


def test_layer_normalization_of_a_constant_is_zero() -> None:
    one = np.ones(256, np.float32)
    for mode in Mode:
        (y,) = run("LayerNormalization", {"x": np.full((1, 256), 1234, np.float32), "s": one}, mode, opset=17)
        np.testing.assert_array_equal(y, 0)


def test_layer_normalization_far_from_zero_keeps_float64s_digits() -> None:
    x = (1e4 + np.random.default_rng(0).standard_normal((4, 256))).astype(np.float32)
    (y,) = run("LayerNormalization", {"x": x, "s": np.ones(256, np.float32)}, opset=17)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + np.float32(1e-5))
    np.testing.assert_allclose(y, expected, atol=1e-9)


def test_instance_normalization_with_a_tiny_epsilon_keeps_float64s_digits() -> None:
    x = (5 + 1e-3 * np.random.default_rng(0).standard_normal((1, 4, 300, 300))).astype(np.float32)
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    (y,) = run("InstanceNormalization", {"x": x, "s": one, "b": zero}, epsilon=1e-12)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + 1e-12)
    np.testing.assert_allclose(y, expected, atol=1e-7)


@pytest.mark.parametrize(("opset", "size"), [(18, 2), (21, 6)])
def test_group_normalization_agrees_with_onnxruntime(opset: int, size: int) -> None:
    rng = np.random.default_rng(0)
    feeds = {"x": floats(rng, 2, 6, 5, 3), "s": floats(rng, size), "b": floats(rng, size)}
    assert_agrees("GroupNormalization", feeds, opset=opset, num_groups=2)


def test_other_normalisations_agree_with_onnxruntime() -> None:
    rng = np.random.default_rng(0)
    x = floats(rng, 2, 5, 4, 3)
    assert_agrees("InstanceNormalization", {"x": x, "s": floats(rng, 5), "b": floats(rng, 5)}, opset=22)
    assert_agrees("MeanVarianceNormalization", {"x": x}, opset=13)
    assert_agrees("MeanVarianceNormalization", {"x": x}, opset=13, axes=[0, 2])
    assert_agrees("LRN", {"x": x}, opset=13, size=3, alpha=0.3, beta=0.6, bias=1.5)
    for p in (1, 2):
        assert_agrees("LpNormalization", {"x": x}, opset=7, axis=1, p=p)
    assert_agrees("RMSNormalization", {"x": x, "s": floats(rng, 4, 3)}, opset=23, axis=2)


def test_lrn_of_an_even_size_looks_further_up_as_the_text_says() -> None:
    x = (10 * np.abs(np.random.default_rng(0).standard_normal((1, 8, 3, 3)))).astype(np.float32)
    (y,) = run("LRN", {"x": x}, size=4, alpha=1e-2)
    wide = x.astype(np.float64)
    squares = np.stack([(wide[:, max(0, c - 1) : c + 3] ** 2).sum(1) for c in range(8)], 1)
    np.testing.assert_allclose(y, wide / (1 + np.float32(1e-2) / 4 * squares) ** 0.75, rtol=1e-6)


def test_a_zero_vector_has_no_direction_and_stays_zero() -> None:
    (y,) = run("LpNormalization", {"x": np.array([[0, 0], [3, 4]], np.float32)}, axis=1)
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize("opset", [7, 10])
def test_dropout_without_training_is_the_identity(opset: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    (y,) = run("Dropout", {"x": x}, opset=opset)
    np.testing.assert_array_equal(y, x)


def test_dropout_in_training_is_refused_unless_nothing_is_dropped() -> None:
    x, on = np.ones((3, 4), np.float32), np.array(True)
    with pytest.raises(UnsupportedOperator, match="random"):
        run("Dropout", {"x": x, "r": np.array(0.5, np.float32), "t": on}, opset=13)
    y, mask = run("Dropout", {"x": x, "r": np.array(0, np.float32), "t": on}, opset=13, outputs=2)
    np.testing.assert_array_equal(y, x)
    assert mask.dtype == bool
    assert mask.all()


def test_a_scale_of_the_wrong_length_is_bad() -> None:
    with pytest.raises(BadModel, match="3 channels"):
        run(
            "InstanceNormalization",
            {"x": np.ones((1, 3, 4), np.float32), "s": np.ones(2, np.float32), "b": np.ones(3, np.float32)},
        )
