"""ImageDecoder: an encoded file as pixels (height, width, channels)."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sysnoise_conform.golden.op import Call, op

# The text's list; anything else "can't be decoded" and gives an empty image.
_FORMATS = ("BMP", "JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "PPM")


@op("ImageDecoder", since=20)
def image_decoder(call: Call, encoded: Tensor) -> Tensor:
    """The pixels of a file in the channel order of `pixel_format`; empty where it can't be decoded.

    Pillow decodes JPEG with libjpeg-turbo, whose chroma upsampling the text describes.
    """
    order = str(call.get("pixel_format", "RGB"))
    if order not in ("RGB", "BGR", "Grayscale"):
        call.bad(f"pixel_format is {order!r}")
    try:
        with Image.open(io.BytesIO(encoded.numpy().tobytes()), formats=_FORMATS) as image:
            if image.mode not in ("L", "RGB", "1"):
                call.unsupported(f"an image of mode {image.mode}, whose conversion the text leaves open")
            pixels = np.array(image.convert("L" if order == "Grayscale" else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return torch.zeros((0, 0, 0), dtype=torch.uint8)
    if order == "Grayscale":
        pixels = pixels[:, :, None]
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :, ::-1] if order == "BGR" else pixels))
