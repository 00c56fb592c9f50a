from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from golden_oracle import assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator


@pytest.mark.parametrize(
    ("mode", "padding", "align"), list(product((0, 1, 2), ("zeros", "border", "reflection"), (0, 1)))
)
def test_grid_sample_agrees_with_onnxruntime_in_all_18_ways(mode: int, padding: str, align: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((1, 2, 5, 6)).astype(np.float32)
    grid = (rng.random((1, 7, 8, 2)) * 2.6 - 1.3).astype(np.float32)
    node = {"padding_mode": padding, "align_corners": align}
    assert_agrees("GridSample", {"x": x, "g": grid}, opset=16, mode=("bilinear", "nearest", "bicubic")[mode], **node)
    assert_agrees("GridSample", {"x": x, "g": grid}, opset=20, mode=("linear", "nearest", "cubic")[mode], **node)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_volumes_are_sampled_as_onnxruntime_does(mode: str) -> None:
    rng = np.random.default_rng(0)
    grid = (rng.random((2, 3, 4, 5, 3)) * 2.6 - 1.3).astype(np.float32)
    assert_agrees("GridSample", {"x": rng.random((2, 2, 3, 5, 6)).astype(np.float32), "g": grid}, opset=20, mode=mode)


@pytest.mark.parametrize("align", [0, 1])
def test_a_line_is_sampled_between_its_elements(align: int) -> None:
    x = np.array([[[0, 10, 20, 30]]], np.float32)
    positions = np.array([[[0.5], [2.25], [3]]])
    grid = positions / 3 * 2 - 1 if align else (positions * 2 + 1) / 4 - 1
    (y,) = run("GridSample", {"x": x, "g": grid.astype(np.float32)}, opset=20, align_corners=align)
    np.testing.assert_allclose(y[0, 0], [5, 22.5, 30], atol=1e-5)


def test_a_cubic_volume_is_refused() -> None:
    feeds = {"x": np.ones((1, 1, 2, 2, 2), np.float32), "g": np.zeros((1, 1, 1, 1, 3), np.float32)}
    with pytest.raises(UnsupportedOperator, match="cubic"):
        run("GridSample", feeds, opset=20, mode="cubic")


@pytest.mark.parametrize("align", [0, 1])
def test_affine_grid_agrees_with_onnxruntime(align: int) -> None:
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((2, 2, 3)).astype(np.float32)
    assert_agrees("AffineGrid", {"t": theta, "s": np.array([2, 3, 4, 5])}, opset=20, align_corners=align)
    theta = rng.standard_normal((2, 3, 4)).astype(np.float32)
    assert_agrees("AffineGrid", {"t": theta, "s": np.array([2, 3, 4, 5, 6])}, opset=20, align_corners=align)


@pytest.mark.parametrize("seed", range(10))
def test_deform_conv_agrees_with_onnxruntime(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group, offset_group = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    kernel, strides, dilations, pads = (rng.integers(*span) for span in ((1, 4, 2), (1, 3, 2), (1, 3, 2), (0, 2, 4)))
    out = (np.array([7, 8]) + pads[:2] + pads[2:] - (kernel - 1) * dilations - 1) // strides + 1
    taps = offset_group * int(kernel.prod())

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    feeds = {
        "x": floats(2, 4, 7, 8), "w": floats(4, 4 // group, *kernel), "o": 2 * floats(2, 2 * taps, *out),
        "b": floats(4) if seed % 2 else None, "m": floats(2, taps, *out) if seed % 3 else None,
    }  # fmt: skip
    if feeds["m"] is None:
        del feeds["m"]
    assert_agrees(
        "DeformConv", feeds, opset=19, group=group, offset_group=offset_group, strides=strides.tolist(),
        dilations=dilations.tolist(), pads=pads.tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("target", [(2, 3), (9, 4), (5, 10), (8, 8)])
def test_center_crop_pad_agrees_with_onnxruntime(target: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((5, 6, 7)).astype(np.float32)
    assert_agrees("CenterCropPad", {"x": x, "s": np.array(target)}, axes=[0, -1])


def test_a_grid_of_the_wrong_rank_is_bad() -> None:
    with pytest.raises(BadModel, match="grid"):
        run("GridSample", {"x": np.ones((1, 1, 2, 2), np.float32), "g": np.zeros((1, 1, 2), np.float32)}, opset=16)
