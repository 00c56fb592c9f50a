"""How Resize finds its elements: source coordinates, indices and weights along one axis, as the ONNX text defines them.

Without PyTorch: the golden computes with them in its child, and what two settings have in common is told without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Scale = Fraction | np.float32
WHOLE = (np.float32(0), np.float32(1))  # the roi that is everything


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """How one axis is resized.

    `scale` is exact where `sizes` was given, and the declared float32 where `scales` was; the
    coordinates that decide an index are computed with it in that same type, so that both modes of
    the golden, and runtimes, take the same decision. `roi` is (start, end), normalised.
    """

    size: int
    target: int
    scale: Scale
    roi: tuple[np.float32, np.float32] = WHOLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """The attributes that hold for every axis."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False


def source_coordinates(axis: Axis, rule: str, dtype: Any) -> Floats:
    """Where in the source each output element lies, in elements; computed in `dtype`.

    With an exact scale p/q every rule is one division of integers, so that a coordinate that is a
    tie (x.5) comes out as one. `rule` is one of the text's coordinate transformation modes.
    """
    x = np.arange(axis.target, dtype=dtype)
    half, one = dtype(0.5), dtype(1)
    if isinstance(axis.scale, Fraction):
        top, bottom = dtype(axis.scale.denominator), dtype(axis.scale.numerator)
    else:
        top, bottom = one, dtype(axis.scale)
    found: Floats
    match rule:
        case "half_pixel":
            found = (x + half) * top / bottom - half
        case "pytorch_half_pixel" | "align_corners" if axis.target == 1:
            found = np.zeros(1, dtype)
        case "pytorch_half_pixel":
            found = (x + half) * top / bottom - half
        case "align_corners":
            found = x * dtype(axis.size - 1) / dtype(axis.target - 1)
        case "half_pixel_symmetric":
            width = dtype(axis.size) * bottom / top
            offset = dtype(axis.size) / dtype(2) * (one - dtype(axis.target) / width)
            found = offset + (x + half) * top / bottom - half
        case "asymmetric":
            found = x * top / bottom
        case "tf_half_pixel_for_nn":
            found = (x + half) * top / bottom
        case _:
            start, end, last = dtype(axis.roi[0]), dtype(axis.roi[1]), dtype(axis.size - 1)
            if axis.target == 1:
                found = np.array([half * (start + end) * last], dtype)
            else:
                found = start * last + x * (end - start) * last / dtype(axis.target - 1)
    return found


def nearest_indices(coordinates: Floats, rule: str) -> npt.NDArray[np.int64]:
    """The source element of each coordinate by a `nearest_mode`; it may lie outside."""
    half = coordinates.dtype.type(0.5)
    match rule:
        case "round_prefer_floor":
            found = np.ceil(coordinates - half)
        case "round_prefer_ceil":
            found = np.floor(coordinates + half)
        case "floor":
            found = np.floor(coordinates)
        case _:
            found = np.ceil(coordinates)
    return found.astype(np.int64)


def _triangle(distance: Floats, _: float) -> Floats:
    return np.maximum(1 - distance, 0)


def _cubic(d: Floats, a: float) -> Floats:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def filter_weights(axis: Axis, style: Style, coordinates: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """(indices, weights), both (target, taps), of a linear or cubic filter; indices lie inside."""
    kernel, reach = (_triangle, 1) if style.mode == "linear" else (_cubic, 2)
    # Antialiasing stretches the filter by max(1, 1 / scale).
    shrink = min(1.0, float(axis.scale)) if style.antialias else 1.0
    taps = int(np.ceil(reach / shrink))
    base = np.floor(coordinates).astype(np.int64)
    indices = base[:, None] + np.arange(1 - taps, taps + 1)
    weights = kernel(np.abs(indices - coordinates[:, None]) * coordinates.dtype.type(shrink), style.cubic_a)
    weights = weights.astype(coordinates.dtype)
    if style.exclude_outside:
        weights = np.where((indices < 0) | (indices >= axis.size), 0, weights)
    if style.exclude_outside or shrink < 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, axis.size - 1), weights
