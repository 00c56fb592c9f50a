"""Colour conversions against the paper's equations, written out pixel by pixel, and against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.noise import AXES, colour
from sysnoise_conform.noise.colour import BT601_FULL, BT601_NARROW, BT709_NARROW, convert, halve, spread, to_rgb, to_yuv

GRID = np.stack(np.meshgrid(*[np.arange(0, 256, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3).astype(np.uint8)
_ALL = np.arange(256)
FINE = np.stack(np.meshgrid(_ALL[::3], _ALL, _ALL, indexing="ij"), axis=-1).reshape(-1, 1, 3).astype(np.uint8)


def picture(height: int = 31, width: int = 45, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_forward_is_equation_5() -> None:
    r, g, b = GRID.astype(np.float64)[:, 0].T
    y = np.rint(0.256788 * r + 0.504129 * g + 0.097906 * b) + 16
    u = np.rint(-0.148223 * r - 0.290993 * g + 0.439216 * b) + 128
    v = np.rint(0.439216 * r - 0.367788 * g - 0.071427 * b) + 128
    ours = to_yuv(GRID, BT601_NARROW)[:, 0].astype(int)
    assert np.mean(ours != np.stack([y, u, v], axis=-1)) < 2e-4  # six digits against the exact matrix: ties only


def test_backward_is_equation_6_with_its_missing_row() -> None:
    c, d, e = GRID.astype(np.float64)[:, 0].T - np.array([[16], [128], [128]])
    rows = [1.164383 * c + 1.596027 * e, 1.164383 * c - 0.391762 * d - 0.812968 * e, 1.164383 * c + 2.017232 * d]
    paper = np.clip(np.rint(rows), 0, 255).T
    assert np.mean(to_rgb(GRID, BT601_NARROW)[:, 0] != paper) < 1e-4


def test_backward_in_integers_is_equation_7() -> None:
    for y, u, v in np.random.default_rng(1).integers(0, 256, (300, 3)).tolist():
        c, d, e = y - 16, u - 128, v - 128
        sums = [298 * c + 409 * e, 298 * c - 100 * d - 208 * e, 298 * c + 516 * d]
        paper = [(each + 128) >> 8 for each in sums]
        ours = to_rgb(np.array([[[y, u, v]]], np.uint8), BT601_NARROW, integer=True)
        assert ours[0, 0].tolist() == [min(255, max(0, each)) for each in paper]


def test_sixteen_per_cent_of_colours_survive_a_round_trip() -> None:
    once = convert(FINE, "bt601-narrow-444").astype(int)
    assert np.mean((once == FINE).all(axis=-1)) == pytest.approx(0.160, abs=5e-4)
    off = np.abs(once - FINE)[:, 0]
    assert off.max(axis=0).tolist() == [1, 1, 2]
    assert off.mean(axis=0) == pytest.approx([0.41, 0.26, 0.51], abs=0.01)


def test_integers_differ_from_floats_by_one_in_a_sixth_of_colours() -> None:
    floats, integers = convert(FINE, "bt601-narrow-444"), convert(FINE, "bt601-narrow-444-integer").astype(int)
    differ = (floats != integers).any(axis=-1)
    assert np.mean(differ) == pytest.approx(0.162, abs=5e-4)
    assert np.abs(floats - integers).max() == 1
    assert np.abs(integers - FINE)[:, 0].max(axis=0).tolist() == [2, 1, 2]


def test_jpegs_full_range_is_pillows_ycbcr() -> None:
    from PIL import Image

    ours = to_yuv(picture(), BT601_FULL).astype(int)
    theirs = np.asarray(Image.fromarray(picture()).convert("YCbCr"))
    assert np.abs(ours - theirs).max() <= 1


def test_subsampling_is_opencvs_on_even_sizes() -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = picture(32, 44)
    yuv = to_yuv(pixels, BT601_NARROW)
    small = halve(yuv[:, :, 1:], "centre")
    planes = np.concatenate([yuv[:, :, 0].reshape(-1), small[:, :, 0].reshape(-1), small[:, :, 1].reshape(-1)])
    theirs = cv2.cvtColor(planes.reshape(48, 44), cv2.COLOR_YUV2RGB_I420).astype(int)
    chroma = spread(halve(yuv[:, :, 1:], "centre"), (32, 44), "centre", "nearest")
    ours = to_rgb(np.concatenate([yuv[:, :, :1], chroma], axis=-1), BT601_NARROW)
    assert np.abs(ours - theirs).max() <= 1  # OpenCV computes in 20-bit fixed point


@pytest.mark.parametrize("siting", ["centre", "left"])
@pytest.mark.parametrize("upsampling", ["nearest", "linear"])
def test_flat_chroma_and_a_slope_survive(siting, upsampling) -> None:
    flat = np.full((7, 9, 2), 90, np.uint8)
    np.testing.assert_array_equal(spread(halve(flat, siting), (7, 9), siting, upsampling), flat)
    slope = np.broadcast_to(np.arange(0, 120, 4, dtype=np.uint8)[None, :, None], (6, 30, 1))
    back = spread(halve(slope, siting), (6, 30), siting, upsampling).astype(int)
    inside = np.abs(back - slope)[:, 2:-2]
    assert inside.max() <= (1 if upsampling == "linear" else 4)


@pytest.mark.parametrize("level", [each.name for each in AXES["colour"].levels])
@pytest.mark.parametrize("size", [(31, 45), (1, 1), (2, 3), (0, 5)])
def test_every_conversion_keeps_shape_and_type(level: str, size: tuple[int, int]) -> None:
    if AXES["colour"].level(level).missing or (level == "opencv-i420" and 0 in size):
        pytest.skip("OpenCV takes no empty picture" if 0 in size else AXES["colour"].level(level).missing)
    made = convert(picture(*size), level)
    expected = tuple(max(2, each - each % 2) for each in size) if level == "opencv-i420" else size
    assert made.shape == (*expected, 3)
    assert made.dtype == np.uint8
    if 0 not in size and level not in ("card",):
        grey = np.full((4, 4, 3), 128, np.uint8)
        assert np.abs(convert(grey, level).astype(int) - grey).max() <= (16 if level.startswith("range") else 2)


def test_a_wrong_range_stretches_or_washes_out() -> None:
    dark, light = np.full((2, 2, 3), 20, np.uint8), np.full((2, 2, 3), 230, np.uint8)
    assert convert(dark, "range-full-as-narrow").max() < 10
    assert convert(light, "range-full-as-narrow").min() > 245
    assert convert(dark, "range-narrow-as-full").min() > 28
    assert convert(light, "range-narrow-as-full").max() < 220


def test_a_wrong_matrix_shifts_colours_and_leaves_grey_alone() -> None:
    red = np.array([[[200, 30, 30]]], np.uint8)
    assert np.abs(convert(red, "matrix-709-as-601").astype(int) - red).max() > 8
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    assert np.abs(convert(ramp, "matrix-709-as-601").astype(int) - ramp).max() <= 1
    assert BT709_NARROW.forward()[0][0].sum() == pytest.approx(219 / 255)


def test_both_colour_axes_offer_the_same_conversions() -> None:
    assert colour.AXIS.levels == colour.INPUT_AXIS.levels
