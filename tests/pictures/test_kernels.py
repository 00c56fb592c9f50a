"""Resampling against the libraries that it reproduces."""

from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.card import FILTERS
from sysnoise_conform.pictures.kernels import sampled
from sysnoise_conform.pictures.resize import resize

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

SIZES = [
    ((375, 500), (256, 341)), ((500, 375), (224, 224)), ((97, 131), (224, 303)), ((33, 47), (32, 48)), ((7, 5), (9, 3)),
    ((2, 2), (5, 5)), ((1, 1), (4, 3)), ((640, 480), (64, 48)), ((31, 30), (1, 1)),
]  # fmt: skip


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_torch(pixels: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    mode = how.removeprefix("torch-").removesuffix("-antialias")
    tensor = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)[None].copy())
    smooth = {"antialias": how.endswith("-antialias")} if mode in ("bilinear", "bicubic") else {}
    return torch.nn.functional.interpolate(tensor, size=size, mode=mode, **smooth)[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("how", [each for each in FILTERS if each.startswith("torch-")])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_torch_kernels_are_pytorchs(how: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = picture(size)
    exact = by_torch(pixels, wanted, how)
    ours = sampled(pixels.astype(np.float32), wanted, how)
    if "nearest" in how:
        np.testing.assert_array_equal(ours, exact)
    else:
        np.testing.assert_allclose(ours, exact, atol=3e-3)  # of 255, weights in float32 on both sides
        eight_bit = sampled(pixels, wanted, how)
        clear = np.abs(exact - np.floor(exact) - 0.5) > 6e-3
        np.testing.assert_array_equal(eight_bit[clear], np.clip(np.rint(exact), 0, 255).astype(np.uint8)[clear])


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_equal_by_another_name(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = picture(size, 1)

    def same(a: str, b: str) -> bool:
        return bool(np.array_equal(resize(pixels, wanted, a), resize(pixels, wanted, b)))

    assert same("opencv-nearest", "torch-nearest")
    assert same("tf-bilinear", "torch-bilinear")
    assert same("tf-nearest", "torch-nearest-exact")
    apart = np.abs(resize(pixels, wanted, "opencv-bilinear").astype(int) - resize(pixels, wanted, "torch-bilinear"))
    assert apart.max() <= 1
    apart = np.abs(resize(pixels, wanted, "opencv-bicubic").astype(int) - resize(pixels, wanted, "torch-bicubic"))
    assert apart.max() <= 1


def test_pillows_nearest_is_the_exact_one() -> None:
    for size, wanted in SIZES[:2]:
        pixels = picture(size, 2)
        ours = resize(pixels, wanted, "pillow-nearest")
        np.testing.assert_array_equal(ours, resize(pixels, wanted, "opencv-nearest-exact"))
        np.testing.assert_array_equal(ours, resize(pixels, wanted, "torch-nearest-exact"))


def test_pillow_smooths_as_torch_with_antialias_does() -> None:
    y, x = np.mgrid[0:375, 0:500]  # no overshoot: Pillow rounds and clips between its two passes
    pixels = np.stack([x / 2, y / 2, 128 + 90 * np.sin(x / 7) * np.cos(y / 9)], axis=-1).astype(np.uint8)
    for kernel in ("bilinear", "bicubic"):
        ours = resize(pixels, (256, 341), f"pillow-{kernel}").astype(int)
        assert np.abs(ours - resize(pixels, (256, 341), f"torch-{kernel}-antialias")).max() <= 1


@pytest.mark.parametrize("how", FILTERS)
def test_every_filter_takes_both_types_and_keeps_a_flat_picture_flat(how: str) -> None:
    for dtype in (np.uint8, np.float32):
        if how == "opencv-bilinear-exact" and dtype == np.float32:
            continue
        flat = np.full((37, 51, 3), 77, dtype)
        made = resize(flat, (24, 33), how)
        assert made.shape == (24, 33, 3)
        assert made.dtype == dtype
        np.testing.assert_allclose(made, 77, atol=1e-3)


def test_resizing_floats_is_not_rounded() -> None:
    pixels = picture((64, 64), 4)
    for how in ("pillow-bilinear", "opencv-bilinear", "torch-bilinear"):
        fine = resize(pixels.astype(np.float32), (24, 24), how)
        assert np.abs(fine - np.rint(fine)).max() > 0.1
        assert np.abs(fine - resize(pixels, (24, 24), how)).max() < 1.01
