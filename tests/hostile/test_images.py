"""Pictures that are broken or hostile are refused in one line; the legal odd ones are read as documented."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import relu, save
from PIL import Image
from refusing import refused

from sysnoise_conform.errors import BadInput
from sysnoise_conform.pictures.decode import decode

PIXELS = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(form: str, mode: str = "RGB", pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def sized(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


ROW = b"\0" + bytes(96)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no picture"),
    "text": (lambda: b"not a picture", "no picture"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/hostname"/></svg>', "no picture"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "gif": (lambda: encoded("GIF", "P"), "no picture"),
    "jpeg-cut": (lambda: encoded("JPEG")[:-200], "broken"),
    "jpeg-head-alone": (lambda: encoded("JPEG")[:100], "broken"),
    "jpeg-of-65500": (lambda: sized(encoded("JPEG"), 65500, 65500), "limit"),
    "png-cut": (lambda: encoded("PNG")[:-300], "broken"),
    "png-without-end": (lambda: encoded("PNG")[:-12], "broken"),
    "png-checksum": (lambda: flipped(encoded("PNG"), 60), "broken"),
    "png-bomb": (lambda: png(30000, 30000, bytes(3751 * 30000), depth=1, colour=0), "limit"),
    "png-header-lies": (lambda: png(60000, 60000, ROW), "limit"),
    "png-too-few-rows": (lambda: png(32, 24, ROW), "broken"),
    "png-no-pixels": (lambda: png(0, 24, b""), "no picture"),
    "png-of-depth-7": (lambda: png(32, 24, ROW * 24, depth=7), "no picture"),
    "png-text-bomb": (
        lambda: png(32, 24, ROW * 24, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 27)))), "broken"
    ),
    "webp-cut": (lambda: encoded("WEBP")[:-40], "broken"),
    "bmp-header-lies": (
        lambda: encoded("BMP")[:18] + struct.pack("<ii", 1 << 30, 1 << 30) + encoded("BMP")[26:], "limit"
    ),
    "ppm-header-lies": (lambda: b"P6 99999 99999 255\n" + bytes(10), "limit"),
    "ppm-cut": (lambda: encoded("PPM")[:-10], "broken"),
    "tiff-compressed": (lambda: encoded("TIFF", compression="tiff_lzw"), "with compression"),
    "tiff-cut": (lambda: encoded("TIFF")[:-500], "broken"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_broken_picture_is_refused(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, words = REFUSED[case]
    (tmp_path / "x.png").write_bytes(make())
    (tmp_path / "card.toml").write_text("[image]\nsize = [24, 32]\n")
    model = save(tmp_path, relu(shape=(1, 3, 24, 32)))

    told = refused(capfd, tmp_path, "--model", model, "--card", tmp_path / "card.toml", "--inputs", tmp_path / "x.png")

    assert words in told


def read(folder: Path, data: bytes, *, exif: bool = True) -> np.ndarray:
    (folder / "x.png").write_bytes(data)
    return decode(folder / "x.png", exif=exif)


def test_the_orientation_in_exif_is_followed_unless_the_card_says_otherwise(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("PNG", exif=exif)

    assert np.array_equal(read(tmp_path, data), np.rot90(PIXELS, -1))
    assert np.array_equal(read(tmp_path, data, exif=False), PIXELS)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert read(tmp_path, encoded("PNG", exif=exif)).shape == (24, 32, 3)


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 32 * 24).astype(">u2").reshape(24, 32)
    rows = b"".join(b"\0" + each.tobytes() for each in wide)

    grey = read(tmp_path, png(32, 24, rows, depth=16, colour=0))

    assert np.array_equal(grey[:, :, 0], (wide.astype(int) // 257).astype(np.uint8))
    assert np.array_equal(grey[:, :, 0], grey[:, :, 2])


@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "1"), ("TIFF", "RGB")],
)  # fmt: skip
def test_any_colours_become_three_channels_of_8_bits(form: str, mode: str, tmp_path: Path) -> None:
    pixels = read(tmp_path, encoded(form, mode))

    assert (pixels.shape, pixels.dtype) == ((24, 32, 3), np.uint8)
    assert 90 < pixels.mean() < 165


def test_an_interlaced_png_is_read_and_one_row_less_is_refused(tmp_path: Path) -> None:
    # 3 x 3 grey pixels of 8 bits, in passes 1, 4, 5, 6 and 7 of Adam7: 1, 1, 2, 1 + 1 and 3 pixels.
    rows = b"\0\x10" * 2 + b"\0\x20\x30" + b"\0\x40" * 2 + b"\0\x50\x60\x70"
    data = png(3, 3, rows, colour=0)
    head = data.index(b"IHDR")
    body = data[head : head + 16] + b"\x01"
    made = data[:head] + body + struct.pack(">I", zlib.crc32(body)) + data[head + 21 :]

    assert read(tmp_path, made)[1].tolist() == [[0x50] * 3, [0x60] * 3, [0x70] * 3]
    cut = png(3, 3, rows[:-1], colour=0)
    (tmp_path / "x.png").write_bytes(cut[:head] + made[head : head + 21] + cut[head + 21 :])
    with pytest.raises(BadInput, match="ends early"):
        decode(tmp_path / "x.png", exif=True)


def test_a_decoder_s_own_remarks_stay_away_from_the_terminal(tmp_path: Path) -> None:
    data = encoded("TIFF", software="x" * 40)
    at = data.index(struct.pack("<HHI", 305, 2, 41))  # the tag Software, of 41 characters: let it be of a million
    (tmp_path / "x.tif").write_bytes(data[: at + 4] + struct.pack("<I", 1_000_000) + data[at + 8 :])
    code = "import sys; from pathlib import Path; from sysnoise_conform.pictures.decode import decode\n"
    code += "print(decode(Path(sys.argv[1]), exif=True).shape)"

    command = [sys.executable, "-c", code, str(tmp_path / "x.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("(24, 32, 3)\n", "")


def test_a_picture_of_one_pixel_fills_the_tensor(tmp_path: Path) -> None:
    assert read(tmp_path, encoded("PNG", pixels=PIXELS[:1, :1])).shape == (1, 1, 3)
