"""Resampling written as two matrices, one for each axis, where no small library has the kernel.

PyTorch's `interpolate`, TensorFlow's half-pixel `resize` and their like: each output pixel is a weighted sum of input
pixels along one axis. Computed in float32 as these libraries do, and rounded to nearest for pictures of 8 bits.
Compared with PyTorch itself in tests/pictures/test_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_CUBIC = -0.75  # PyTorch's and OpenCV's; Pillow and PyTorch with antialias take -0.5 (Keys 1981)
_CUBIC_SMOOTH = -0.5


@dataclass(frozen=True, slots=True)
class Kernel:
    """A weight by the distance from the centre, its support, and whether it grows as the picture shrinks."""

    weight: Callable[[np.ndarray], np.ndarray]
    support: float
    antialias: bool


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0.0, 1 - np.abs(x)))


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    def weight(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * a - 4 * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return weight


KERNELS = {
    "torch-bilinear": Kernel(_triangle, 1.0, antialias=False),
    "torch-bicubic": Kernel(_cubic(_CUBIC), 2.0, antialias=False),
    "torch-bilinear-antialias": Kernel(_triangle, 1.0, antialias=True),
    "torch-bicubic-antialias": Kernel(_cubic(_CUBIC_SMOOTH), 2.0, antialias=True),
}

# Which source pixel an output pixel copies, of `scale` input pixels to one.
NEAREST: dict[str, Callable[[np.ndarray, np.float32], np.ndarray]] = {
    "torch-nearest": lambda x, scale: np.floor(x * scale),  # asymmetric, as OpenCV's INTER_NEAREST
    "torch-nearest-exact": lambda x, scale: np.floor((x + np.float32(0.5)) * scale),
    "tf-nearest": lambda x, scale: np.floor((x + np.float32(0.5)) * scale),  # half_pixel_centers, TensorFlow 2
}


def sampled(pixels: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """`pixels` (height, width, channels), uint8 or float32, at `size`; uint8 is rounded to nearest and clipped."""
    if how in NEAREST:
        rows, columns = (_nearest(how, length, wanted) for length, wanted in zip(pixels.shape[:2], size, strict=True))
        return np.ascontiguousarray(pixels[rows][:, columns])
    kernel = KERNELS["torch-bilinear" if how == "tf-bilinear" else how]
    down = _weights(kernel, pixels.shape[0], size[0])
    across = _weights(kernel, pixels.shape[1], size[1])
    exact = _along(_along(pixels.astype(np.float32), across, axis=1), down, axis=0)
    return exact if pixels.dtype != np.uint8 else np.clip(np.rint(exact), 0, 255).astype(np.uint8)


def _nearest(how: str, length: int, wanted: int) -> np.ndarray:
    scale = np.float32(length / wanted)
    found = NEAREST[how](np.arange(wanted, dtype=np.float32), scale)
    return np.minimum(found.astype(np.int64), length - 1)


@lru_cache(maxsize=512)
def _weights(kernel: Kernel, length: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `wanted` output pixels the source pixels that it reads, and their weights: (wanted, taps) each."""
    scale = length / wanted
    wide = max(scale, 1.0) if kernel.antialias else 1.0
    if kernel.antialias:
        centre = np.float32(scale) * (np.arange(wanted, dtype=np.float32) + np.float32(0.5))
        first = np.maximum((centre - kernel.support * wide + 0.5).astype(np.int64), 0)
        last = np.minimum((centre + kernel.support * wide + 0.5).astype(np.int64), length)
        index = first[:, None] + np.arange(int((last - first).max()))
        weight = kernel.weight((index - centre[:, None] + 0.5) / wide) * (index < last[:, None])
        weight /= weight.sum(axis=1, keepdims=True)
    else:
        # The edge is repeated: a weight beyond it falls to the edge's pixel. Coordinates are float32, as PyTorch's are:
        # at 500 pixels that is worth a hundredth of a grey level.
        centre = np.float32(scale) * (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        if kernel.support == 1.0:  # PyTorch clamps the centre of bilinear, and not that of bicubic
            centre = np.maximum(centre, np.float32(0))
        taps = int(2 * kernel.support)
        index = np.floor(centre).astype(np.int64)[:, None] + np.arange(taps) - (taps // 2 - 1)
        weight = kernel.weight(index - centre[:, None])
    return np.clip(index, 0, length - 1), weight.astype(np.float32)


def _along(pixels: np.ndarray, taps: tuple[np.ndarray, np.ndarray], *, axis: int) -> np.ndarray:
    index, weight = taps
    total: np.ndarray | None = None
    for tap in range(index.shape[1]):
        shape = [-1 if each == axis else 1 for each in range(pixels.ndim)]
        term = pixels.take(index[:, tap], axis) * weight[:, tap].reshape(shape)
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total
