"""Sums over the parts of a tensor that can be wrong by themselves: each channel, each side of the border, the inside.

What is wrong in one channel of 64 is an eighth of that in the whole tensor's rms, and a column of 224 a fifteenth. So
errors are summed by part as well: mergeable over samples, a few numbers per channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Kind = Literal["channel", "top", "bottom", "left", "right", "inside"]

LEAST_CHANNELS = 2
MOST_CHANNELS = 4096  # a vocabulary's scores are no channels
LEAST_SIDE = 4  # pixels: below, there is no inside to speak of
BLOCK = 1 << 16  # elements of a float64 error that are held at once


@dataclass(frozen=True, slots=True)
class Part:
    """One part: a channel by its axis and index, or a place in the last two dimensions."""

    kind: Kind
    axis: int = -1
    index: int = -1
    size: int = 0  # elements


def parts_of(shape: Sequence[int]) -> tuple[Part, ...]:
    """The parts of a tensor of this shape, in the order in which `sums_by_part` gives them."""
    total = math.prod(shape)
    if not total:
        return ()
    axes = _channel_axes(shape)
    found = [Part("channel", axis, index, total // shape[axis]) for axis in axes for index in range(shape[axis])]
    if _has_sides(shape):
        height, width = shape[-2:]
        planes = total // (height * width)
        sides: tuple[tuple[Kind, int], ...] = (("top", width), ("bottom", width), ("left", height), ("right", height))
        found += [Part(kind, size=planes * length) for kind, length in sides]
        found.append(Part("inside", size=planes * (height - 2) * (width - 2)))
    return tuple(found)


def sums_by_part(golden: Array, got: Array) -> Array:
    """(3, parts): sums of e, e² and e⁴ of e = got - golden, float64; what is not finite on either side counts as 0."""
    shape = golden.shape
    if not parts_of(shape):
        return np.zeros((3, 0))
    axes = _channel_axes(shape)
    channels = [np.zeros((3, shape[axis])) for axis in axes]
    sides = np.zeros((3, 5))
    for chunk in _chunks(shape):
        error = _error(golden[chunk], got[chunk])
        powers = (error, np.square(error), np.square(np.square(error)))
        for axis, into in zip(axes, channels, strict=True):
            others = tuple(each for each in range(error.ndim) if each != axis)
            where = chunk[axis] if axis < len(chunk) else slice(None)
            for row, each in enumerate(powers):
                into[row, where] += each.sum(axis=others)
        if _has_sides(shape):
            for row, each in enumerate(powers):
                plane = each.reshape(-1, *shape[-2:]).sum(axis=0)
                sides[row] += (
                    plane[0].sum(), plane[-1].sum(), plane[:, 0].sum(), plane[:, -1].sum(), plane[1:-1, 1:-1].sum(),
                )  # fmt: skip
    return np.concatenate([*channels, *([sides] if _has_sides(shape) else [])], axis=1)


def _channel_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Where channels may lie: the second axis, and the last (tokens x features, NHWC)."""
    if len(shape) < 2:
        return ()
    return tuple(axis for axis in sorted({1, len(shape) - 1}) if LEAST_CHANNELS <= shape[axis] <= MOST_CHANNELS)


def _has_sides(shape: Sequence[int]) -> bool:
    return len(shape) >= 4 and min(shape[-2:]) >= LEAST_SIDE


def _chunks(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Slices along the first two axes, whole planes behind them, of about BLOCK elements each."""
    inner = max(1, math.prod(shape[2:]))
    rows = max(1, min(shape[1], BLOCK // inner))
    items = max(1, BLOCK // (inner * rows))
    for first in range(0, shape[0], items):
        for start in range(0, shape[1], rows):
            yield slice(first, min(first + items, shape[0])), slice(start, min(start + rows, shape[1]))


def _error(golden: Array, got: Array) -> Array:
    with np.errstate(all="ignore"):
        error = np.subtract(got, golden, dtype=np.float64)
    return error if np.isfinite(error).all() else np.where(np.isfinite(error), error, 0.0)
