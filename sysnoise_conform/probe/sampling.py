"""GridSample: three ways to interpolate, three of what lies outside, two of what the corners are."""

from __future__ import annotations

import itertools
import math

import numpy as np

from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.case import Kind, ProbeCase, Trigger, Values, case
from sysnoise_conform.probe.rounding import U32

_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
_A = -0.75  # of the cubic, as the operator's text has it


def _weights(mode: str, x: float) -> dict[int, float]:
    """The pixels along one axis that take part at the coordinate `x`, with their weights."""
    low = math.floor(x)
    match mode:
        case "nearest":
            return {int(np.rint(x)): 1.0}
        case "bilinear":
            return {low: low + 1 - x, low + 1: x - low}
        case _:
            return {each: _cubic(abs(x - each)) for each in range(low - 1, low + 3)}


def _cubic(d: float) -> float:
    if d <= 1:
        return (_A + 2) * d**3 - (_A + 3) * d**2 + 1
    return _A * d**3 - 5 * _A * d**2 + 8 * _A * d - 4 * _A


def _inside(pixel: int, size: int, padding: str, *, corners: bool) -> int | None:
    """The pixel of the input that stands for one that may lie outside; None for zero."""
    if 0 <= pixel < size:
        return pixel
    if padding == "zeros":
        return None
    if padding == "border":
        return min(max(pixel, 0), size - 1)
    if corners:  # mirrored at the centres of the outer pixels
        place = pixel % (2 * (size - 1))
        return min(place, 2 * (size - 1) - place)
    place = pixel % (2 * size)  # at their outer edges
    return min(place, 2 * size - 1 - place)


def grid_sample(x: Array, grid: Array, mode: str, padding: str, *, corners: bool) -> Array:
    """GridSample of opset 16 in float64."""
    batch, channels, height, width = x.shape
    y = np.zeros((batch, channels, *grid.shape[1:3]))
    for n, row, column in np.ndindex(batch, *grid.shape[1:3]):
        taps = []
        for size, place in ((width, float(grid[n, row, column, 0])), (height, float(grid[n, row, column, 1]))):
            at = (place + 1) / 2 * (size - 1) if corners else ((place + 1) * size - 1) / 2
            taps.append(
                [(_inside(p, size, padding, corners=corners), weight) for p, weight in _weights(mode, at).items()]
            )
        for (across, a), (down, b) in itertools.product(*taps):
            if across is not None and down is not None:
                y[n, :, row, column] += a * b * x[n, :, down, across].astype(np.float64)
    return y


def cases() -> tuple[ProbeCase, ...]:
    """All combinations, and what is the nearest of two that are as near."""
    rng = np.random.default_rng(22)
    x = rng.random((1, 2, 5, 6), dtype=np.float32)
    grid = (rng.random((1, 7, 8, 2)) * 2.6 - 1.3).astype(np.float32)
    found = []
    for mode, padding, corners in itertools.product(_MODES, _PADDINGS, (0, 1)):
        y = grid_sample(x, grid, mode, padding, corners=bool(corners))
        # A coordinate up to 7 is off by some roundings, a value by that times a slope of at most 2.
        allowed = 0.0 if mode == "nearest" else 64 * U32
        truth = Values(arrays={"y": y}, allowed=allowed, why="coordinates up to 7 in float32, times the slope")
        found.append(
            case(
                f"gridsample-{mode}-{padding}-{'corners' if corners else 'edges'}", "GridSample",
                f"{mode}, {padding}, align_corners={corners}", Kind.CONTROL, "as its formula says",
                {"x": x, "grid": grid},
                Values(arrays={"y": y.astype(np.float32)}) if mode == "nearest" else truth,
                attributes={"mode": mode, "padding_mode": padding, "align_corners": corners}, opset=16,
                trigger=Trigger(attributes=("mode", "padding_mode", "align_corners")),
            )
        )  # fmt: skip
    between = np.arange(9) / 4 - 1  # from one edge of the picture to the other: every coordinate is a half
    grid = np.stack(np.meshgrid(between, between), axis=-1)[None].astype(np.float32)
    x = rng.random((1, 1, 8, 8), dtype=np.float32)
    y = grid_sample(x, grid, "nearest", "border", corners=False).astype(np.float32)
    found.append(
        case(
            "gridsample-nearest-ties", "GridSample", "nearest, halfway between two pixels", Kind.OPEN,
            "the text leaves it open; PyTorch rounds halves to even", {"x": x, "grid": grid}, y,
            attributes={"mode": "nearest", "padding_mode": "border", "align_corners": 0}, opset=16,
            trigger=Trigger(attributes=("mode",)), when="where a coordinate lies halfway between two pixels",
        )
    )
    return tuple(found)
