"""A picture file decoded to 8-bit RGB, and made into an input tensor as a card says."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import open_regular
from sysnoise_conform.inputs.png import holds_all_rows
from sysnoise_conform.inputs.resize import resize
from sysnoise_conform.printable import one_line

# Pillow warns on stderr of sizes that we refuse, and of tags that nobody asked for, in the file's own words.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\b")

# No PostScript (Pillow would start Ghostscript), no formats with plug-ins of their own.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = 100_000_000
MAX_SIDE = 16_384  # of the tensor


def decode(path: Path, *, exif: bool) -> np.ndarray:
    """Height x width x 3, uint8, RGB. Alpha is dropped, 16-bit grey is scaled to 8. Raises BadInput naming the file."""
    shown = one_line(path.name, 120)
    with open_regular(path, what="the image", error=BadInput, limit=MAX_FILE_BYTES) as stream:
        try:
            with Image.open(stream, formats=FORMATS) as picture:
                if picture.format == "PNG":  # decoding alone stops before the last chunk's checksum
                    picture.verify()
            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise BadInput(
                        f"the image {shown!r} has {picture.width} x {picture.height} pixels;"
                        f" the limit is {MAX_PIXELS:,}"
                    )
                if any(each[0] == "libtiff" for each in picture.tile):  # it prints to stderr whatever it dislikes
                    raise BadInput(f"the image {shown!r} is a TIFF with compression", hint="save it as PNG")
                if picture.format == "PNG":
                    stream.seek(0)
                    if not holds_all_rows(stream):
                        raise BadInput(f"the image {shown!r} is broken: it ends early", hint="get it again")
                picture.load()
                turned = ImageOps.exif_transpose(picture) if exif else picture
                return np.asarray(_eight_bit(turned).convert("RGB"))
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


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pillow's own conversion of 16-bit grey to 8 bits clips at 255 where it should scale."""
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):
        wide = np.asarray(picture).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) // 257).astype(np.uint8))
    if picture.mode == "F":
        return Image.fromarray(np.clip(np.nan_to_num(np.asarray(picture)), 0, 255).astype(np.uint8))
    return picture


def prepare(rgb: np.ndarray, spec: ImageInput, fixed: tuple[int | None, int | None]) -> np.ndarray:
    """A float32 tensor with a batch dimension of 1, from a decoded picture.

    `fixed` are the height and width that the model fixes. Raises BadInput where they contradict the card.
    """
    pixels = _placed(rgb, spec, fixed)
    if spec.colour == "GRAY":
        # ITU-R BT.601 luma, as Pillow's L and OpenCV's GRAY
        grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = np.rint(grey)[:, :, None]
    elif spec.colour == "BGR":
        pixels = pixels[:, :, ::-1]
    scaled = pixels.astype(np.float32) * np.float32(spec.scale)
    tensor = (scaled - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    ordered = tensor.transpose(2, 0, 1) if spec.layout == "NCHW" else tensor
    return np.ascontiguousarray(ordered[None])


def _placed(rgb: np.ndarray, spec: ImageInput, fixed: tuple[int | None, int | None]) -> np.ndarray:
    """The picture at the tensor's size; float where `pad` is no whole grey level."""
    height, width = rgb.shape[:2]
    size = _target(spec, fixed)
    match spec.resize:
        case "squash":
            result = resize(rgb, _whole(size, spec), spec.filter)
        case "shorter+crop":
            wanted = _whole(size, spec)
            ratio = (spec.shorter or min(wanted)) / min(height, width)
            scaled = (max(wanted[0], round(height * ratio)), max(wanted[1], round(width * ratio)))
            big = resize(rgb, _sane(scaled), spec.filter)
            top, left = ((scaled[0] - wanted[0]) // 2, (scaled[1] - wanted[1]) // 2)
            result = big[top : top + wanted[0], left : left + wanted[1]]
        case "letterbox":
            wanted = _whole(size, spec)
            ratio = min(wanted[0] / height, wanted[1] / width)
            inner = (max(1, round(height * ratio)), max(1, round(width * ratio)))
            result = np.full((*wanted, 3), spec.pad, np.float32)
            top, left = ((wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2)
            result[top : top + inner[0], left : left + inner[1]] = resize(rgb, inner, spec.filter)
        case "height+pad" | "height+grow":
            natural = max(1, -(-width * (size[0] or 1) // height))
            grows = spec.resize == "height+grow" and fixed[1] is None
            wanted = _whole((size[0], max(size[1] or 0, natural) if grows else size[1]), spec)
            result = np.full((*wanted, 3), spec.pad, np.float32)
            inner = (wanted[0], min(wanted[1], natural))
            result[:, : inner[1]] = resize(rgb, inner, spec.filter)
        case _:
            result = resize(rgb, _sane(_multiples(height, width, spec, fixed)), spec.filter)
    return result


def _multiples(height: int, width: int, spec: ImageInput, fixed: tuple[int | None, int | None]) -> tuple[int, int]:
    if spec.resize == "max_side":
        ratio = min(1.0, max(spec.size or (960, 960)) / max(height, width))
    else:
        ratio = max(1.0, (spec.shorter or 1) / min(height, width))
    step = spec.multiple
    free = (max(step, round(side * ratio / step) * step) for side in (height, width))
    tall, wide = (a if a is not None else b for a, b in zip(fixed, free, strict=True))
    return tall, wide


def _target(spec: ImageInput, fixed: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    card = spec.size or (None, None)
    for axis, wanted, given in zip(("height", "width"), fixed, card, strict=True):
        least_only = spec.resize in ("max_side", "multiple_of")
        if wanted is not None and given is not None and wanted != given and not least_only:
            raise BadInput(
                f"the card makes images of {axis} {given}, the model takes {wanted}", hint="correct the card's size"
            )
    return fixed[0] or card[0], fixed[1] or card[1]


def _whole(size: tuple[int | None, int | None], spec: ImageInput) -> tuple[int, int]:
    if size[0] is None or size[1] is None:
        raise BadInput(
            f"the card's resize {spec.resize!r} needs a size, and the model fixes none",
            hint="add size = [height, width] to the card, or give --shape",
        )
    return _sane((size[0], size[1]))


def _sane(size: tuple[int, int]) -> tuple[int, int]:
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise BadInput(f"an image would have to be resized to {size[0]} x {size[1]} pixels", hint="crop it first")
    return size
