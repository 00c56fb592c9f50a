from __future__ import annotations

import io

import numpy as np
import pytest
from golden_oracle import Array, run
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def encoded(kind: str, pixels: Array = PIXELS) -> Array:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_image_is_decoded_in_the_channel_order_that_is_asked_for(kind: str) -> None:
    (rgb,) = run("ImageDecoder", {"x": encoded(kind)}, opset=20)
    np.testing.assert_array_equal(rgb, PIXELS)
    (bgr,) = run("ImageDecoder", {"x": encoded(kind)}, opset=20, pixel_format="BGR")
    np.testing.assert_array_equal(bgr, PIXELS[..., ::-1])
    (grey,) = run("ImageDecoder", {"x": encoded(kind)}, opset=20, pixel_format="Grayscale")
    assert grey.shape == (5, 7, 1)


def test_what_is_no_image_gives_an_empty_one() -> None:
    (y,) = run("ImageDecoder", {"x": np.frombuffer(b"no image at all", np.uint8)}, opset=20)
    assert y.size == 0
    assert y.dtype == np.uint8
