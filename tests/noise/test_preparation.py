"""The way of a picture under noises: what is shared, and what a level changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import UsageError
from sysnoise_conform.noise import AXES, IDENTITY, axis
from sysnoise_conform.noise.preparation import prepared
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.pictures.place import place, prepare

SPEC = ImageInput(size=(48, 48), resize="shorter+crop", shorter=56, mean=(0.4,), std=(0.2,))
ANY = (None, None)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (25, 34, 3), dtype=np.uint8)
    where = tmp_path_factory.mktemp("pictures") / "a.jpg"
    Image.fromarray(pixels).resize((167, 121)).save(where, quality=80)
    return where


def tensor(path: Path, levels: dict[str, str], spec: ImageInput = SPEC) -> np.ndarray:
    way = prepared(spec, levels)
    return way.tensor(way.placed(way.coloured(way.decoded(path)), ANY))


def test_without_a_noise_the_tensor_is_the_cards(path: Path) -> None:
    np.testing.assert_array_equal(tensor(path, {}), prepare(decode(path, exif=True), SPEC, ANY))
    every = dict.fromkeys(AXES, IDENTITY)
    assert prepared(SPEC, every) == prepared(SPEC, {})


@pytest.mark.parametrize(
    ("name", "level"),
    [
        (name, each.name)
        for name, axis in AXES.items() if axis.stage not in ("graph", "output", "audio")
        for each in axis.levels[1:]
    ],
)
def test_every_input_level_gives_a_tensor_of_the_cards_shape(path: Path, name: str, level: str) -> None:
    if missing := AXES[name].level(level).missing:
        pytest.skip(missing)
    if level == "opencv-bilinear-exact" and SPEC.resize_dtype != "uint8":
        pytest.skip("8 bits only")
    made = tensor(path, {name: level})
    assert made.shape == (1, 3, 48, 48)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


def test_what_two_ways_share_has_one_key(path: Path) -> None:
    plain, resized = prepared(SPEC, {}), prepared(SPEC, {"resize": "opencv-bilinear"})
    assert plain.colour_key() == resized.colour_key()
    assert plain.place_key() != resized.place_key()
    assert prepared(SPEC, {"resize": "pillow-bilinear"}).tensor_key() == plain.tensor_key()  # the card's own filter
    swapped = prepared(SPEC, {"channels": "swapped"})
    assert swapped.place_key() == plain.place_key()
    assert swapped.tensor_key() != plain.tensor_key()
    np.testing.assert_array_equal(tensor(path, {"channels": "swapped"}), tensor(path, {})[:, ::-1])


def test_a_placement_tells_where_each_pixel_went() -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    for policy, expected in {
        "squash": (0.48, 0.24, 0, 0),
        "letterbox": (0.24, 0.24, 12, 0),
        "shorter+crop": (0.56, 0.56, -4, -32),
        "squash+crop": (0.56, 0.28, -4, -4),
    }.items():
        spec = ImageInput(size=(48, 48), resize=policy, shorter=56)
        got = place(rgb, spec, ANY).placement
        assert (got.scale_y, got.scale_x, got.top, got.left) == pytest.approx(expected)
        assert (got.height, got.width) == (100, 200)


def test_rounding_moves_the_long_side_and_the_crop_by_one_pixel() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (100, 133, 3), dtype=np.uint8)
    spec = ImageInput(size=(48, 48), resize="shorter+crop", shorter=56)
    assert place(rgb, spec, ANY).placement.scale_x == 74 / 133  # 74.48
    up = prepared(spec, {"long_side": "ceil"}).spec
    assert place(rgb, up, ANY).placement.scale_x == 75 / 133
    assert place(rgb, up, ANY).placement.left == -13  # 27 pixels are left over: 13.5
    assert place(rgb, prepared(up, {"crop": "round"}).spec, ANY).placement.left == -14


def test_an_unknown_noise_or_level_is_named_with_its_nearest() -> None:
    with pytest.raises(UsageError, match="no noise is called 'resise'") as caught:
        axis("resise")
    assert "resize" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no level 'opencv-bilinar'") as caught:
        axis("resize").level("opencv-bilinar")
    assert "opencv-bilinear" in str(caught.value.hint)


def test_every_level_says_what_it_is() -> None:
    for each in AXES.values():
        assert each.about
        for level in each.levels:
            assert level.about, f"{each.name}={level.name}"
