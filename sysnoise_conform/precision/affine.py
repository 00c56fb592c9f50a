"""Scales, zero points and codes: x is about scale * (code - zero point)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10
from typing import Any

import numpy as np

from sysnoise_conform.precision.observers import Scheme

INTEGERS = {"int8": np.dtype(np.int8), "uint8": np.dtype(np.uint8)}
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Affine:
    """`scale`: float32, `zero_point`: the integers' dtype; both scalars, or one entry per channel."""

    scale: np.ndarray
    zero_point: np.ndarray

    @property
    def dtype(self) -> np.dtype:
        """The integers' type."""
        return self.zero_point.dtype


def affine(low: np.ndarray | float, high: np.ndarray | float, kind: str, scheme: Scheme) -> Affine:
    """Scale and zero point of `kind` (int8, uint8) that cover low..high and hold 0 exactly.

    Computed in float64, the scale rounded to float32 once, as ONNX Runtime's quantiser does. A range of nothing but
    zeros, or so narrow that its scale is no normal float32, has scale 1.
    """
    dtype = INTEGERS[kind]
    info = np.iinfo(dtype)
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    if scheme.symmetric:
        largest = np.maximum(-low, high)
        scale = largest / info.max
        zero = np.zeros_like(scale)
    else:
        scale = (high - low) / float(int(info.max) - int(info.min))
        with np.errstate(divide="ignore", invalid="ignore"):
            zero = np.rint(info.min - low / scale)
    narrow = scale < _TINY
    scale = np.where(narrow, 1.0, scale)
    if scheme.power_of_two:
        scale = np.exp2(np.ceil(np.log2(scale) - 1e-9))  # the smallest that still covers the range
    zero = np.where(narrow, 0, zero)
    return Affine(scale=scale.astype(np.float32), zero_point=np.clip(zero, info.min, info.max).astype(dtype))


def codes(values: np.ndarray, by: Affine, axis: int | None) -> np.ndarray:
    """QuantizeLinear in float32, as ONNX has it: half to even, saturated. `axis` is that of per-channel scales."""
    info = np.iinfo(by.dtype)
    with np.errstate(all="ignore"):
        quotient = np.rint(values.astype(np.float32) / _along(by.scale, values.ndim, axis))
    shifted = quotient.astype(np.float64) + _along(by.zero_point, values.ndim, axis)
    limited: np.ndarray = np.clip(shifted, info.min, info.max).astype(by.dtype)
    return limited


def values_of(integers: np.ndarray, by: Affine, axis: int | None) -> np.ndarray:
    """DequantizeLinear in float32."""
    wide = integers.astype(np.int64) - _along(by.zero_point, integers.ndim, axis).astype(np.int64)
    with np.errstate(over="ignore"):
        values: np.ndarray = wide.astype(np.float32) * _along(by.scale, integers.ndim, axis)
    return values


def weight_range(values: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest weight, of everything or of each channel of `axis`."""
    if not values.size:
        shape = () if axis is None else (values.shape[axis],)
        return np.zeros(shape), np.zeros(shape)
    others = None if axis is None else tuple(each for each in range(values.ndim) if each != axis % values.ndim)
    return values.min(axis=others), values.max(axis=others)


def difference(original: np.ndarray, rounded: np.ndarray) -> dict[str, Any]:
    """How far rounded weights are from the original ones: relative L2 norm, SQNR in dB, the largest difference.

    What is infinite from the start, as in a mask, has no size, and no error where it stays so.
    """
    kept = (original != rounded) | np.isfinite(original)
    exact = original[kept].astype(np.float64)
    error = rounded[kept].astype(np.float64) - exact
    signal, noise = float(np.sum(exact**2)), float(np.sum(error**2))
    ratio = (noise / signal) ** 0.5 if signal else (inf if noise else 0.0)
    return {
        "rel_l2": ratio if ratio < inf else None,
        "sqnr_db": -20 * log10(ratio) if 0 < ratio < inf else None,
        "max_abs": float(np.abs(error).max()) if error.size else 0.0,
    }


def _along(parameter: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    if axis is None or parameter.ndim == 0:
        return parameter
    shape = [1] * rank
    shape[axis] = -1
    return parameter.reshape(shape)
