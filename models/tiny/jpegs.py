"""Scenes as JPEG files with 4:2:0 chroma, by the libjpeg-turbo that Pillow carries."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, features


def library() -> str:
    """Which libjpeg-turbo writes; "" where Pillow has another library."""
    return str(features.version("libjpeg_turbo") or "")


def encoded(pixels: np.ndarray, quality: int) -> bytes:
    """A baseline JPEG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality, subsampling="4:2:0")
    return content.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """Pixels as Pillow decodes them."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))
