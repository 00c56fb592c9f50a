"""Decoders of pictures, each under the name of the library and of what it was told to do; all give 8-bit RGB.

Pillow is the card's and the golden's. The others stand for deployments: they differ in the inverse DCT, in how the
halved chroma of a 4:2:0 JPEG is spread again (which moves pixels most), and in the conversion to RGB. A picture that
is no JPEG has none of these differences and is left to Pillow, but for OpenCV, which decodes it too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import open_regular
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.pictures.guard import FORMATS, MAX_FILE_BYTES, Header, examine, in_words
from sysnoise_conform.pictures.opencv import opencv
from sysnoise_conform.pictures.orientation import turn
from sysnoise_conform.printable import one_line

PILLOW = "pillow"
Decoder = Callable[[bytes], np.ndarray]  # of a JPEG
_OF_ANY_FORMAT = ("opencv", "learned")  # the others decode JPEG alone
_JPEGLIB = threading.Lock()  # which of its libraries decodes is one choice of the whole process


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels (height, width, 3), uint8, RGB, not turned, and what the header said."""

    pixels: np.ndarray
    header: Header

    def turned(self) -> np.ndarray:
        """The pixels upright, as EXIF says."""
        return turn(self.pixels, self.header.orientation)


def decode(path: Path, *, exif: bool, decoder: str = PILLOW) -> np.ndarray:
    """Height x width x 3, uint8, RGB. Alpha is dropped, 16-bit grey is scaled to 8. Raises BadInput naming the file."""
    found = decode_file(path, decoder)
    return found.turned() if exif else found.pixels


def decode_file(path: Path, decoder: str = PILLOW) -> Decoded:
    """The same with what the header says, not turned."""
    shown = one_line(path.name, 120)
    with open_regular(path, what="the image", error=BadInput, limit=MAX_FILE_BYTES) as stream:
        header = examine(stream, shown)
        stream.seek(0)
        if decoder == PILLOW or (header.format != "JPEG" and decoder not in _OF_ANY_FORMAT):
            return Decoded(_with_pillow(stream, shown), header)
        content = stream.read()
    try:
        with in_words(shown):
            pixels = DECODERS[decoder](content)
    except elsewhere.LibraryFailed:  # which is no fault of the picture
        raise
    except BadInput as err:
        why = f"is not decoded by {decoder}: {one_line(err.__cause__ or err, 120)}"
        raise BadInput(f"the image {shown!r} {why}", hint="remove it or get it again") from err
    if pixels.shape != (header.height, header.width, 3):
        raise BadInput(
            f"the image {shown!r} comes out of {decoder} as {pixels.shape}, not {header.height} x {header.width} pixels"
        )
    return Decoded(pixels, header)


def _with_pillow(stream: BinaryIO, shown: str) -> np.ndarray:
    with in_words(shown), Image.open(stream, formats=FORMATS) as picture:
        picture.load()
        return np.asarray(_eight_bit(picture).convert("RGB"))


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pillow's own conversion of 16-bit grey to 8 bits clips at 255 where it should scale."""
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):
        wide = np.asarray(picture).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) // 257).astype(np.uint8))
    if picture.mode == "F":
        return Image.fromarray(np.clip(np.nan_to_num(np.asarray(picture)), 0, 255).astype(np.uint8))
    return picture


def _with_opencv(content: bytes) -> np.ndarray:
    cv2 = opencv()
    if cv2 is None:
        raise ValueError("OpenCV is not installed")
    # By default OpenCV turns the picture as EXIF says; that is an axis of its own here.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("OpenCV decodes nothing of it")
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _with_simplejpeg(*, fast_dct: bool, fast_upsample: bool) -> Decoder:
    def decoded(content: bytes) -> np.ndarray:
        import simplejpeg

        return np.asarray(simplejpeg.decode_jpeg(content, "RGB", fastdct=fast_dct, fastupsample=fast_upsample))

    return decoded


def _with_ffmpeg(interpolation: str | None) -> Decoder:
    def decoded(content: bytes) -> np.ndarray:
        import av

        try:
            with av.open(BytesIO(content), mode="r", format="jpeg_pipe") as container:
                frame = next(container.decode(video=0), None)
                if frame is None:
                    raise ValueError("FFmpeg decodes nothing of it")
                if interpolation is None:
                    return np.asarray(frame.to_ndarray(format="rgb24"))
                return np.asarray(frame.reformat(format="rgb24", interpolation=interpolation).to_ndarray())
        except av.FFmpegError as err:
            raise ValueError(f"FFmpeg: {err}") from err

    return decoded


def _with_jpeglib(dct_method: str) -> Decoder:
    def decoded(content: bytes) -> np.ndarray:
        import os
        import tempfile

        import jpeglib

        with Image.open(BytesIO(content)) as picture:
            picture.load()  # this library's libjpeg ends the process at an error, so Pillow looks first
        # It reads by name only.
        with tempfile.NamedTemporaryFile(suffix=".jpeg") as file:
            file.write(content)
            file.flush()
            with _JPEGLIB, jpeglib.version("turbo210"):
                try:
                    spatial = jpeglib.read_spatial(
                        os.fsdecode(file.name),
                        out_color_space=jpeglib.Colorspace.JCS_RGB,
                        dct_method=jpeglib.DCTMethod[dct_method],
                    )
                except OSError as err:  # it names the copy; of four inks libjpeg makes no RGB
                    raise ValueError("libjpeg makes no RGB of it") from err
                return np.ascontiguousarray(spatial.spatial)

    return decoded


def _with_dali(content: bytes) -> np.ndarray:
    return elsewhere.ask("dali", {"do": "decode"}, np.frombuffer(content, np.uint8))


def _with_codec(content: bytes) -> np.ndarray:
    return elsewhere.ask("compressai", {"do": "code"}, _with_pillow(BytesIO(content), "it"))


DECODERS: dict[str, Decoder] = {
    "opencv": _with_opencv,
    "ffmpeg": _with_ffmpeg(None),
    "ffmpeg-point": _with_ffmpeg("POINT"),
    "ffmpeg-bicubic": _with_ffmpeg("BICUBIC"),
    "turbo-fast-dct": _with_simplejpeg(fast_dct=True, fast_upsample=False),
    "turbo-fast-upsample": _with_simplejpeg(fast_dct=False, fast_upsample=True),
    "turbo-fast": _with_simplejpeg(fast_dct=True, fast_upsample=True),
    "float-idct": _with_jpeglib("JDCT_FLOAT"),
    "dali": _with_dali,
    "learned": _with_codec,
}
