from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator
from sysnoise_conform.golden.executor import Mode

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
FILTERS = (
    *(
        {"mode": "nearest", "nearest_mode": each}
        for each in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    {"mode": "linear"},
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic"},
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    {"mode": "cubic", "antialias": 1},
)
EMPTY = np.zeros(0, np.float32)


def image(*size: int) -> Array:
    return np.random.default_rng(sum(size)).random((1, 2, *size)).astype(np.float32)


@pytest.mark.parametrize(("coordinates", "attributes"), list(product(COORDINATES, FILTERS)))
def test_resize_agrees_with_onnxruntime_by_sizes_and_by_scales(coordinates: str, attributes: dict[str, Any]) -> None:
    node = {"opset": 19, "coordinate_transformation_mode": coordinates, **attributes}
    # Sizes and scales without a coordinate that is an exact tie or integer: there runtimes round differently.
    for sizes in ((11, 4), (5, 23), (2, 2)):
        feeds = {"x": image(7, 9), "roi": None, "scales": None, "sizes": np.array([1, 2, *sizes])}
        assert_agrees("Resize", feeds, **node)
    if coordinates == "half_pixel_symmetric" and attributes["mode"] == "nearest":
        return  # it maps centre to centre: an exact tie or integer whatever the scale
    for scales in ((1.2, 0.7), (2.7, 2.9), (0.6, 0.47)):
        assert_agrees(
            "Resize", {"x": image(7, 9), "roi": None, "scales": np.array(scales, np.float32)}, axes=[2, 3], **node
        )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("sizes", [(10, 12), (5, 20), (3, 2)])
def test_the_aspect_ratio_is_kept_as_onnxruntime_keeps_it(policy: str, sizes: tuple[int, int]) -> None:
    feeds = {"x": image(7, 9), "roi": None, "scales": None, "sizes": np.array(sizes)}
    assert_agrees("Resize", feeds, mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)


def test_negative_axes_keep_the_aspect_ratio_too() -> None:
    # ONNX Runtime 1.31 leaves the image as it is here.
    feeds = {"x": image(7, 9), "roi": None, "scales": None, "sizes": np.array([10, 12])}
    (y,) = run("Resize", feeds, mode="linear", axes=[-2, -1], keep_aspect_ratio_policy="not_larger")
    assert y.shape == (1, 2, 9, 12)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_tf_crop_and_resize_agrees_with_onnxruntime(mode: str, opset: int) -> None:
    roi = np.array([0, 0, -0.1, 0.25, 1, 1, 0.8, 1.1], np.float32)
    feeds = {"x": image(7, 9), "roi": roi, "scales": EMPTY if opset < 13 else None, "sizes": np.array([1, 2, 5, 12])}
    assert_agrees(
        "Resize", feeds, opset=opset, mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.5,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_the_old_operators_agree_with_onnxruntime(mode: str) -> None:
    x, scales = image(4, 5), np.array([1, 1, 1.5, 3], np.float32)
    assert_agrees("Upsample", {"x": x}, opset=7, mode=mode, scales=scales.tolist())
    assert_agrees("Upsample", {"x": x, "s": scales}, opset=9, mode=mode)
    assert_agrees("Resize", {"x": x, "s": scales}, opset=10, mode=mode)
    assert_agrees("Resize", {"x": x, "s": np.array([1, 1, 0.5, 1], np.float32)}, opset=10, mode=mode)


def resized_line(length: int, target: int, *, by_scale: bool = False, opset: int = 13, **attributes: str) -> list[int]:
    x = np.arange(length, dtype=np.float32).reshape(1, 1, 1, -1)
    scale = np.array([1, 1, 1, target / length], np.float32)
    feeds = {"x": x, "roi": None, "scales": scale} if by_scale else {
        "x": x, "roi": None, "scales": None, "sizes": np.array([1, 1, 1, target])
    }  # fmt: skip
    found = [run("Resize", feeds, mode, opset=opset, **attributes)[0].ravel().tolist() for mode in Mode]
    assert found[0] == found[1], "an index is decided alike in both modes"
    return [int(each) for each in found[0]]


def test_an_exact_tie_is_rounded_as_the_attribute_says() -> None:
    node = {"nearest_mode": "round_prefer_ceil", "coordinate_transformation_mode": "half_pixel"}
    assert resized_line(20, 6, **node) == [1, 5, 8, 11, 15, 18]


def test_sizes_give_exact_coordinates_and_scales_those_of_their_float32() -> None:
    node = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    nearest = F.interpolate(torch.arange(26.0)[None, None], size=64)[0, 0].int().tolist()
    assert resized_line(26, 64, **node) == nearest
    assert resized_line(26, 64, **node)[32] == 13
    assert resized_line(26, 64, by_scale=True, **node)[32] == 12


def test_round_prefer_ceil_under_half_pixel_is_not_torchs_nearest() -> None:
    node = {"nearest_mode": "round_prefer_ceil", "coordinate_transformation_mode": "half_pixel"}
    nearest = F.interpolate(torch.arange(26.0)[None, None], size=64)[0, 0].int().tolist()
    indices = resized_line(26, 64, by_scale=True, **node)
    assert sum(a != b for a, b in zip(indices, nearest, strict=True)) == 12


def test_pytorch_half_pixel_takes_the_first_element_for_a_single_output() -> None:
    x = image(15, 17)
    feeds = {"x": x, "roi": None, "scales": None, "sizes": np.array([1, 2, 1, 1])}
    (y,) = run("Resize", feeds, opset=19, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    np.testing.assert_array_equal(y[..., 0, 0], x[..., 0, 0])


@pytest.mark.parametrize(("mode", "torch_mode"), [("linear", "bilinear"), ("cubic", "bicubic")])
def test_half_pixel_is_torchs_interpolation_and_exclude_outside_its_antialiasing(mode: str, torch_mode: str) -> None:
    x = image(15, 17)
    wide = torch.from_numpy(x).double()
    feeds = {"x": x, "roi": None, "scales": None, "sizes": np.array([1, 2, 31, 40])}
    (y,) = run("Resize", feeds, mode=mode)
    np.testing.assert_allclose(y, F.interpolate(wide, (31, 40), mode=torch_mode).numpy(), atol=1e-9)
    feeds["sizes"] = np.array([1, 2, 7, 8])
    a = -0.75 if mode == "linear" else -0.5  # torch's antialiased cubic has Pillow's coefficient
    (y,) = run("Resize", feeds, mode=mode, antialias=1, exclude_outside=1, cubic_coeff_a=a)
    np.testing.assert_allclose(y, F.interpolate(wide, (7, 8), mode=torch_mode, antialias=True).numpy(), atol=1e-6)


def test_the_size_from_a_scale_is_the_float32_product_rounded_down() -> None:
    x = np.zeros((1, 1, 1, 10), np.float32)
    for scale in (0.7, 1.1, 0.29999998):
        feeds = {"x": x, "roi": None, "scales": np.array([1, 1, 1, scale], np.float32)}
        for mode in Mode:
            (y,) = run("Resize", feeds, mode)
            assert y.shape[3] == int(np.floor(np.float32(10) * np.float32(scale)))


def test_strings_and_integers_are_resized_to_their_nearest() -> None:
    words = np.array([["a", "b"]], dtype=object)
    (y,) = run("Resize", {"x": words, "roi": None, "scales": np.array([1, 2], np.float32)})
    assert y.tolist() == [["a", "a", "b", "b"]]
    numbers = np.array([[1, 2]], np.uint16)
    (y,) = run("Resize", {"x": numbers, "roi": None, "scales": np.array([1, 2], np.float32)})
    assert y.dtype == np.uint16
    assert y.tolist() == [[1, 1, 2, 2]]


def test_what_the_text_leaves_open_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="rounded"):
        run(
            "Resize",
            {"x": np.ones((1, 4), np.uint8), "roi": None, "scales": np.array([1, 2], np.float32)},
            mode="linear",
        )
    with pytest.raises(UnsupportedOperator, match="downsampling"):
        run("Resize", {"x": np.ones((1, 4), np.float32), "s": np.array([1, 0.7], np.float32)}, opset=10)


def test_both_or_neither_of_scales_and_sizes_are_bad() -> None:
    with pytest.raises(BadModel, match="exactly one"):
        run("Resize", {"x": np.ones((1, 4), np.float32), "roi": None, "scales": EMPTY})
