"""A picture's header, read and judged before any decoder sees the pixels, and the words for what is wrong with it."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from sysnoise_conform.errors import BadInput
from sysnoise_conform.pictures.png import holds_all_rows
from sysnoise_conform.printable import one_line

# Pillow warns on stderr of sizes that we refuse, and of tags that nobody asked for, in the file's own words.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\b")

# No PostScript (Pillow would start Ghostscript), no formats with plug-ins of their own.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = 100_000_000
_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a picture says of itself; `orientation` is EXIF's, 1 where it says none or nonsense."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int


def examine(stream: BinaryIO, shown: str) -> Header:
    """The header of a picture that may be decoded; `shown` names it in errors. The stream ends at any position.

    Raises BadInput for what is no picture, has too many pixels, or is broken as far as that shows before decoding.
    """
    with in_words(shown):
        with Image.open(stream, formats=FORMATS) as picture:
            if picture.format == "PNG":  # decoding alone stops before the last chunk's checksum
                picture.verify()
        stream.seek(0)
        with Image.open(stream, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BadInput(
                    f"the image {shown!r} has {picture.width} x {picture.height} pixels; the limit is {MAX_PIXELS:,}"
                )
            if any(each[0] == "libtiff" for each in picture.tile):  # it prints to stderr whatever it dislikes
                raise BadInput(f"the image {shown!r} is a TIFF with compression", hint="save it as PNG")
            if picture.format == "PNG":
                stream.seek(0)
                if not holds_all_rows(stream):
                    raise BadInput(f"the image {shown!r} is broken: it ends early", hint="get it again")
            orientation = picture.getexif().get(_ORIENTATION, 1)
            # A telephone's JPEG with a second picture behind it (its depth, its range): whoever decodes it sees a JPEG.
            several = picture.format == "MPO"
            return Header(
                format="JPEG" if several else picture.format or "",
                mode=picture.mode,
                width=picture.width,
                height=picture.height,
                orientation=orientation if orientation in range(1, 9) else 1,
                frames=1 if several else getattr(picture, "n_frames", 1),
            )


@contextmanager
def in_words(shown: str) -> Iterator[None]:
    """Pillow's own errors as BadInput."""
    try:
        yield
    except UnidentifiedImageError as err:
        raise BadInput(
            f"the image {shown!r} is no picture that can be read", hint=f"known: {', '.join(FORMATS)}"
        ) from err
    except (
        OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error, MemoryError,
        Image.DecompressionBombError,
    ) as err:  # fmt: skip
        raise BadInput(
            f"the image {shown!r} is broken: {one_line(err, 120)}", hint="remove it or get it again"
        ) from err
