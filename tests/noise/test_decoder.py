"""Decoders beside Pillow: what differs, and what must not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sysnoise_conform.card import DECODERS, ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.noise import AXES, decoder
from sysnoise_conform.pictures.decode import decode_file

JPEG_ONLY = [each for each in DECODERS if each not in ("pillow", "opencv")]


def scene(height: int = 250, width: int = 333) -> np.ndarray:
    """Gradients and sharp edges in colour, where chroma matters."""
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / width, y * 255 / height, 128 + 100 * np.sin(x / 9)], axis=-1)
    return np.where(((x // 20 + y // 20) % 3 == 0)[:, :, None], 255 - smooth, smooth).astype(np.uint8)


def jpeg(path: Path, pixels: np.ndarray, *, subsampling: int = 2, quality: int = 75, **more) -> Path:
    Image.fromarray(pixels).save(path, "JPEG", quality=quality, subsampling=subsampling, **more)
    return path


def needed(name: str) -> None:
    missing = decoder.AXIS.level(name).missing
    if missing:
        pytest.skip(missing)


def apart(path: Path, name: str) -> tuple[float, int]:
    """Mean and largest difference to Pillow."""
    needed(name)
    difference = np.abs(decode_file(path, name).pixels.astype(int) - decode_file(path).pixels)
    return float(difference.mean()), int(difference.max())


def test_the_axis_names_what_can_be_decoded() -> None:
    # What needs an environment of its own no card names.
    assert {each.name for each in decoder.AXIS.levels[1:]} == {*DECODERS, "dali", "learned"}
    assert AXES["decoder"] is decoder.AXIS


def test_opencv_decodes_as_pillow_does(tmp_path: Path) -> None:
    for subsampling in (0, 2):
        assert apart(jpeg(tmp_path / "a.jpg", scene(), subsampling=subsampling), "opencv") == (0, 0)


def test_repeated_chroma_moves_a_420_picture_and_leaves_a_444_one_alone(tmp_path: Path) -> None:
    halved, whole = jpeg(tmp_path / "a.jpg", scene()), jpeg(tmp_path / "b.jpg", scene(), subsampling=0)
    mean, largest = apart(halved, "turbo-fast-upsample")
    assert mean > 0.5
    assert largest > 20
    assert apart(whole, "turbo-fast-upsample") == (0, 0)


def test_a_fast_idct_moves_pixels_by_little_everywhere(tmp_path: Path) -> None:
    for subsampling in (0, 2):
        mean, largest = apart(jpeg(tmp_path / "a.jpg", scene(), subsampling=subsampling), "turbo-fast-dct")
        assert 0.5 < mean < 2
        assert largest < 12


def test_a_float_idct_is_closer_than_a_fast_one(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", scene(), subsampling=0)
    mean, largest = apart(path, "float-idct")
    assert mean < apart(path, "turbo-fast-dct")[0] / 3
    assert largest <= 4


def test_ffmpegs_filters_differ_in_chroma_alone(tmp_path: Path) -> None:
    halved = jpeg(tmp_path / "a.jpg", scene())
    whole = jpeg(tmp_path / "b.jpg", scene(), subsampling=0)
    for name in ("ffmpeg", "ffmpeg-point", "ffmpeg-bicubic"):
        assert apart(halved, name)[0] > 0.5
        mean, largest = apart(whole, name)
        assert mean < 0.3
        assert largest <= 4


@pytest.mark.parametrize("name", DECODERS)
def test_no_decoder_turns_a_picture_and_the_header_tells_how_to(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = jpeg(tmp_path / "a.jpg", scene(40, 60), exif=exif)
    needed(name)
    found = decode_file(path, name)
    assert found.pixels.shape == (40, 60, 3)
    assert found.header.orientation == 6
    assert found.turned().shape == (60, 40, 3)


def test_every_orientation_is_pillows(tmp_path: Path) -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = jpeg(tmp_path / "a.jpg", scene(24, 40), exif=exif)
        with Image.open(path) as picture:
            np.testing.assert_array_equal(decode_file(path).turned(), np.asarray(ImageOps.exif_transpose(picture)))


@pytest.mark.parametrize("name", JPEG_ONLY)
def test_what_is_no_jpeg_is_left_to_pillow(tmp_path: Path, name: str) -> None:
    Image.fromarray(scene(20, 30)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", name).pixels, scene(20, 30))


@pytest.mark.parametrize("name", DECODERS)
def test_a_grey_jpeg_comes_out_in_three_equal_channels(tmp_path: Path, name: str) -> None:
    needed(name)
    path = tmp_path / "a.jpg"
    Image.fromarray(scene(32, 48)[:, :, 0]).save(path)
    pixels = decode_file(path, name).pixels
    assert pixels.shape == (32, 48, 3)
    np.testing.assert_array_equal(pixels[:, :, 0], pixels[:, :, 1])


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("broken", ["empty", "cut", "words", "cmyk", "bomb"])
def test_a_bad_picture_is_named_in_one_line_or_decoded(tmp_path: Path, name: str, broken: str, capfd) -> None:
    needed(name)
    path = tmp_path / "bad.jpg"
    whole = jpeg(tmp_path / "a.jpg", scene()).read_bytes()
    match broken:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "words":
            path.write_bytes(b"no picture at all\n" * 40)
        case "cmyk":
            Image.fromarray(scene(32, 48)).convert("CMYK").save(path)
        case _:
            at = whole.index(b"\xff\xc0") + 5  # height and width in the frame's header
            path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    try:
        found = decode_file(path, name)
    except BadInput as err:
        assert "bad.jpg" in str(err)
        assert "\n" not in str(err)
    else:
        assert broken in ("cut", "cmyk")
        assert found.pixels.dtype == np.uint8
    if broken == "bomb":
        with pytest.raises(BadInput, match=r"65535 x 65535|exceeds limit"):
            decode_file(path, name)


def test_a_card_chooses_its_decoder() -> None:
    assert decoder.change(ImageInput(), "opencv").decoder == "opencv"
    assert decoder.change(ImageInput(decoder="opencv"), "card").decoder == "opencv"


def test_reading_a_picture_needs_no_file_of_its_own_name(tmp_path: Path) -> None:
    pytest.importorskip("jpeglib")
    content = io.BytesIO()
    Image.fromarray(scene(16, 16)).save(content, "JPEG")
    (tmp_path / "odd name.bin").write_bytes(content.getvalue())
    assert decode_file(tmp_path / "odd name.bin", "float-idct").pixels.shape == (16, 16, 3)


def test_a_telephones_jpeg_with_a_second_picture_behind_it_is_a_jpeg_to_every_decoder(tmp_path: Path) -> None:
    coarse = Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8)).resize((320, 240))
    coarse.save(tmp_path / "one.jpg", quality=80)
    coarse.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[coarse.rotate(90)], quality=80)

    for name in DECODERS:
        if not decoder.AXIS.level(name).missing:
            one, two = (decode_file(tmp_path / each, name) for each in ("one.jpg", "two.jpg"))
            assert (two.header.format, two.header.frames) == ("JPEG", 1)
            assert np.array_equal(one.pixels, two.pixels), name
