from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import UnsupportedOperator
from sysnoise_conform.golden.executor import Mode


def pooling(seed: int, op: str) -> tuple[Array, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))
    opset = (11, 18, 22)[seed % 3]
    kernel = [int(v) for v in rng.integers(1, 5, axes)]
    node = dict[str, Any](opset=opset, kernel_shape=kernel, strides=[int(v) for v in rng.integers(1, 4, axes)])
    if seed % 5 == 4:
        # Stride 1 keeps the padding of SAME from being negative, about which runtimes disagree.
        node |= {"auto_pad": "SAME_UPPER" if seed % 2 else "SAME_LOWER", "strides": [1] * axes}
    else:
        node["pads"] = [
            int(rng.integers(0, (kernel[i % axes] + 1) // 2 + (kernel[i % axes] > 2))) for i in range(2 * axes)
        ]
        node["ceil_mode"] = int(rng.integers(0, 2)) if op != "LpPool" or opset >= 18 else 0
        if op == "MaxPool" or (opset >= 19 and op == "AveragePool") or (opset >= 18 and op == "LpPool"):
            node["dilations"] = [int(v) for v in rng.integers(1, 3, axes)]
    if op == "LpPool":
        node = {name: value for name, value in node.items() if name != "ceil_mode" or opset >= 18} | {"p": 1 + seed % 3}
    return rng.standard_normal((2, 3, *rng.integers(8, 13, axes))).astype(np.float32), node


@pytest.mark.parametrize("seed", range(30))
def test_max_pool_and_its_indices_agree_with_onnxruntime(seed: int) -> None:
    x, node = pooling(seed, "MaxPool")
    assert_agrees("MaxPool", {"x": x}, **node)
    assert_agrees("MaxPool", {"x": x}, outputs=2, storage_order=seed % 2, **node)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("seed", range(30))
def test_average_pool_agrees_with_onnxruntime(seed: int, include: int) -> None:
    x, node = pooling(seed, "AveragePool")
    assert_agrees("AveragePool", {"x": x}, count_include_pad=include, **node)


@pytest.mark.parametrize("seed", range(20))
def test_lp_pool_agrees_with_onnxruntime(seed: int) -> None:
    x, node = pooling(seed, "LpPool")
    assert_agrees("LpPool", {"x": x}, **node)


@pytest.mark.parametrize("opset", [11, 18, 19, 22])
def test_a_last_window_of_ceil_mode_divides_by_the_cells_inside(opset: int) -> None:
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    (y,) = run(
        "AveragePool", {"x": x}, opset=opset, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1,
    )  # fmt: skip
    np.testing.assert_allclose(y[0, 0], [[14 / 9, 10 / 3, 2], [19 / 3, 11, 6], [4.5, 7.5, 4]])


@pytest.mark.parametrize("opset", [11, 14, 18, 22])
def test_a_window_that_starts_in_the_right_padding_is_dropped(opset: int) -> None:
    x = np.random.default_rng(0).random((1, 2, 3, 6, 5)).astype(np.float32)
    (y,) = run("MaxPool", {"x": x}, opset=opset, kernel_shape=[3] * 3, strides=[3] * 3, pads=[1] * 6, ceil_mode=1)
    assert y.shape == (1, 2, 2, 3, 2)


def test_a_window_of_padding_alone_is_dropped_from_an_average() -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    assert_agrees(
        "AveragePool", {"x": x}, opset=18, kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1
    )


def test_nan_reaches_every_window_that_sees_it() -> None:
    x = np.random.default_rng(0).random((1, 2, 7, 7)).astype(np.float32)
    x[0, 0, 3, 3] = np.nan
    for mode in Mode:
        (y,) = run("MaxPool", {"x": x}, mode, kernel_shape=[3, 3])
        assert np.isnan(y).sum() == 9


def test_integers_are_pooled_as_they_are() -> None:
    x = np.random.default_rng(0).integers(-128, 128, (1, 2, 6, 6)).astype(np.int8)
    assert_agrees("MaxPool", {"x": x}, opset=12, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0])


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pools_agree_with_onnxruntime(op: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    assert_agrees(op, {"x": x}, opset=11, **({"p": 3} if op == "GlobalLpPool" else {}))


def test_max_unpool_puts_back_what_max_pool_took() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    pooled, indices = run("MaxPool", {"x": x}, Mode.FLOAT32, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    (y,) = run("MaxUnpool", {"x": pooled, "i": indices}, opset=11, kernel_shape=[2, 2], strides=[2, 2])
    assert y.shape == x.shape
    np.testing.assert_array_equal(y[y != 0], x[y != 0])
    assert (y != 0).sum() == pooled.size


def test_a_max_unpool_whose_indices_can_be_read_in_two_ways_is_refused() -> None:
    feeds = {
        "x": np.ones((1, 1, 2, 2), np.float32), "i": np.array([[[[5, 7], [13, 15]]]]), "s": np.array([1, 1, 5, 5]),
    }  # fmt: skip
    with pytest.raises(UnsupportedOperator, match="output_shape"):
        run("MaxUnpool", feeds, opset=11, kernel_shape=[2, 2], strides=[2, 2])
