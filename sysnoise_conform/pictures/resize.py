"""Resizes of pictures as the libraries do them, each under the name its users know."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from PIL import Image

from sysnoise_conform.errors import BadInput
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.pictures.kernels import KERNELS, NEAREST, sampled
from sysnoise_conform.pictures.opencv import opencv
from sysnoise_conform.printable import one_line

_PILLOW = {
    "pillow-nearest": Image.Resampling.NEAREST,
    "pillow-bilinear": Image.Resampling.BILINEAR,  # smooths where it shrinks, unlike OpenCV's
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
    "pillow-box": Image.Resampling.BOX,
    "pillow-hamming": Image.Resampling.HAMMING,
}
_OPENCV = {  # names of cv2's constants
    "opencv-nearest": "INTER_NEAREST",
    "opencv-bilinear": "INTER_LINEAR",
    "opencv-bicubic": "INTER_CUBIC",
    "opencv-area": "INTER_AREA",
    "opencv-lanczos": "INTER_LANCZOS4",
    "opencv-nearest-exact": "INTER_NEAREST_EXACT",
    "opencv-bilinear-exact": "INTER_LINEAR_EXACT",
}
_DALI = {  # DALI's name of the kernel, and whether it may smooth
    "dali-nearest": ("NN", False),
    "dali-linear": ("LINEAR", True),
    "dali-linear-sharp": ("LINEAR", False),
    "dali-cubic": ("CUBIC", True),
    "dali-lanczos": ("LANCZOS3", True),
    "dali-triangular": ("TRIANGULAR", True),
}
_OWN = ("opencv-nearest", "opencv-bilinear")  # of 8 bits: OpenCV's arithmetic without OpenCV


def resize(pixels: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """`pixels` (height x width x channels, uint8 or float32) at `size` (height, width), in their own type.

    Raises BadInput where the library is not installed or refuses; LibraryFailed, which is one, where it is no more.
    """
    if pixels.shape[:2] == size:
        return pixels
    if how in _PILLOW:
        return _with_pillow(pixels, size, _PILLOW[how])
    if how in KERNELS or how in NEAREST or how == "tf-bilinear":
        return sampled(pixels, size, how)
    if how in _DALI:
        return _with_dali(pixels, size, *_DALI[how])
    cv2 = opencv()
    if cv2 is not None:
        return _with_opencv(cv2, pixels, size, how)
    if how in _OWN and pixels.dtype == np.uint8:
        return (_opencv_bilinear if how == "opencv-bilinear" else _opencv_nearest)(pixels, *size)
    raise BadInput(
        f"the resize {how!r} was asked for, and OpenCV is not installed",
        hint="pip install opencv-python-headless, or use opencv-bilinear or a pillow- filter",
    )


def _with_pillow(pixels: np.ndarray, size: tuple[int, int], filter_: Image.Resampling) -> np.ndarray:
    height, width = size
    if pixels.dtype != np.uint8:  # Pillow's floating point pictures have one channel
        planes = [
            np.asarray(Image.fromarray(plane).resize((width, height), filter_))
            for plane in np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
        ]
        return np.stack(planes, axis=-1)
    picture = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    return np.asarray(picture.resize((width, height), filter_)).reshape(height, width, -1)


def _with_dali(pixels: np.ndarray, size: tuple[int, int], kind: str, smooths: bool) -> np.ndarray:
    asked = {"do": "resize", "size": list(size), "kind": kind, "smooths": smooths}
    try:
        found = elsewhere.ask("dali", asked, pixels)
    except ValueError as err:
        raise BadInput(f"the picture could not be resized: {one_line(err, 200)}", hint="leave this level out") from err
    if found.shape != (*size, pixels.shape[2]) or found.dtype != pixels.dtype:
        raise BadInput(f"dali resized {pixels.shape} to {found.shape}, not to {size}", hint="leave this level out")
    return found


def _with_opencv(cv2: ModuleType, pixels: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    height, width = size
    result = cv2.resize(pixels, (width, height), interpolation=getattr(cv2, _OPENCV[how]))
    return np.asarray(result).reshape(height, width, -1)


def _opencv_bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """INTER_LINEAR on uint8: half-pixel centres, no smoothing, weights of 11 bits.

    Equal to OpenCV 5.0 where it shrinks, within one grey level where it enlarges (tests/test_inputs_images.py).
    """
    left, right, left_weight, right_weight = _taps(pixels.shape[1], width)
    top, bottom, top_weight, bottom_weight = _taps(pixels.shape[0], height)
    wide = pixels.astype(np.int32)
    rows = wide[:, left] * left_weight[None, :, None] + wide[:, right] * right_weight[None, :, None]
    rows >>= 4
    upper = (rows[top] * top_weight[:, None, None]) >> 16
    lower = (rows[bottom] * bottom_weight[:, None, None]) >> 16
    return np.asarray(np.clip((upper + lower + 2) >> 2, 0, 255), np.uint8)


def _taps(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each output pixel its two source pixels and their weights, in units of 1/2048."""
    centre = ((np.arange(wanted) + 0.5) * (1.0 / (wanted / length)) - 0.5).astype(np.float32)
    low = np.floor(centre)
    part = centre - low
    index = low.astype(np.int64)
    part[(index < 0) | (index >= length - 1)] = 0
    first = np.clip(index, 0, length - 1)
    one = np.rint((np.float32(1) - part) * 2048).astype(np.int32)
    other = np.rint(part * 2048).astype(np.int32)
    return first, np.minimum(first + 1, length - 1), one, other


def _opencv_nearest(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """INTER_NEAREST: the pixel at floor(x * scale), which is half a pixel off Pillow's."""
    rows = np.minimum((np.arange(height) * (1.0 / (height / pixels.shape[0]))).astype(np.int64), pixels.shape[0] - 1)
    columns = np.minimum((np.arange(width) * (1.0 / (width / pixels.shape[1]))).astype(np.int64), pixels.shape[1] - 1)
    return np.asarray(pixels[rows][:, columns])
