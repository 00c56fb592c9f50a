"""Decisions between neighbours: Resize and GridSample that take the nearest element.

Every axis decides by a coordinate. Kernels compute it in float32, by rules that are equal on paper: (i + 0.5) / s - 0.5
or (i + 0.5) * (1 / s) - 0.5, with s given or the ratio of two sizes. Where a coordinate is that close to a tie, either
neighbour's value is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sysnoise_conform.decisions.question import Answer, Array, Question
from sysnoise_conform.decisions.reach import FLOAT32, INSIDE, is_float, reach, wide


def resize(question: Question) -> Answer | None:
    """Resize and Upsample of mode nearest."""
    x = question.operand(0)
    if x is None or question.attribute("mode", "nearest") != "nearest":
        return None
    axes = _axes(question, x.data.shape)
    if axes is None or question.got.shape != question.golden.shape:
        return None
    candidates: list[tuple[Array, ...]] = []
    for size, target, found in axes:
        if found is None:
            candidates.append((np.arange(target), np.arange(target)))
            continue
        span = INSIDE * FLOAT32 * (np.abs(found) + 1)
        ends = (_taken_index(question, each) for each in (found - span, found + span))
        candidates.append(tuple(np.clip(each, 0, size - 1) for each in ends))
    places = _differing(question)

    def value(ends: Sequence[int]) -> Array:
        index = tuple(each[end][at] for each, end, at in zip(candidates, ends, places, strict=True))
        found: Array = x.data[index]
        return found

    torn = [(0, 1) if (low != high).any() else (0,) for low, high in candidates]
    return _settled(question, places, [value(ends) for ends in itertools.product(*torn)])


def resized_by(question: Question, rule: str) -> Array | None:
    """What a Resize of mode nearest makes by another `nearest_mode`, computed in float64; None where that is open."""
    x = question.operand(0)
    axes = None if x is None else _axes(question, x.data.shape)
    if x is None or axes is None:
        return None
    index = [
        np.arange(target) if found is None else np.clip(_by_rule(rule, found), 0, size - 1)
        for size, target, found in axes
    ]
    answer: Array = x.data[np.ix_(*index)]
    return answer


def resized_in_float32(question: Question) -> Iterator[Array]:
    """What a Resize of mode nearest makes of coordinates in float32: by the scale, and by one over it."""
    x = question.operand(0)
    if x is None:
        return
    for divide in (_by_scale, _by_reciprocal, _by_ratio):
        axes = _axes(question, x.data.shape, divide)
        if axes is None:
            return
        index = [
            np.arange(target) if found is None else np.clip(_taken_index(question, found), 0, size - 1)
            for size, target, found in axes
        ]
        yield x.data[np.ix_(*index)]


def _by_scale(x: Array, scale: float, _: float) -> Array:
    return x.astype(np.float32) / np.float32(scale)


def _by_reciprocal(x: Array, scale: float, _: float) -> Array:
    return x.astype(np.float32) * (np.float32(1) / np.float32(scale))


def _by_ratio(x: Array, _: float, ratio: float) -> Array:
    return x.astype(np.float32) * np.float32(ratio)


def _exactly(x: Array, scale: float, _: float) -> Array:
    return x / scale


def grid_sample(question: Question) -> Answer | None:
    """GridSample of mode nearest, whose coordinates are data."""
    x, grid = question.operand(0), question.operand(1)
    if x is None or grid is None or question.attribute("mode", "linear") != "nearest" or not is_float(grid.data):
        return None
    sizes = x.data.shape[2:]
    padding = str(question.attribute("padding_mode", "zeros"))
    align = bool(question.attribute("align_corners", 0))
    places = _differing(question)
    batch, channel, *inner = places
    spans = reach(grid)
    ends: list[tuple[tuple[Array, Array], ...]] = []
    for axis, size in enumerate(sizes):
        last = len(sizes) - 1 - axis  # the grid counts from the innermost
        here = wide(grid.data)[(batch, *inner, last)]
        wider = spans[(batch, *inner, last)]
        scale = (size - 1) / 2 if align else size / 2
        found = _placed(here, size, align)
        span = wider * scale + INSIDE * FLOAT32 * (np.abs(found) + size)
        ends.append(tuple(_padded(each, size, padding, align) for each in (found - span, found + span)))
    values = []
    for chosen in itertools.product((0, 1), repeat=len(sizes)):
        there = [ends[axis][end] for axis, end in enumerate(chosen)]
        known = np.logical_and.reduce([each[1] for each in there])
        found = x.data[(batch, channel, *(each[0] for each in there))]
        values.append(np.where(known, found, np.zeros((), found.dtype)))
    return _settled(question, places, values)


def sampled_by(question: Question, rounding: Callable[[Array], Array]) -> Array | None:
    """What a GridSample of mode nearest makes of coordinates in float64 that it rounds so."""
    x, grid = question.operand(0), question.operand(1)
    if x is None or grid is None or question.attribute("mode", "linear") != "nearest" or not is_float(grid.data):
        return None
    sizes = x.data.shape[2:]
    padding = str(question.attribute("padding_mode", "zeros"))
    align = bool(question.attribute("align_corners", 0))
    found = []
    for axis, size in enumerate(sizes):
        here = wide(grid.data)[..., len(sizes) - 1 - axis]  # the grid counts from the innermost
        found.append(_padded(_placed(here, size, align), size, padding, align, rounding))
    batch = np.arange(x.data.shape[0]).reshape(-1, *(1,) * len(sizes))
    at: tuple[Any, ...] = (batch, slice(None), *(index for index, _ in found))
    values = np.moveaxis(x.data[at], -1, 1)
    inside = np.logical_and.reduce([each for _, each in found])[:, None]
    answer: Array = np.where(inside, values, np.zeros((), values.dtype))
    return answer


def _placed(grid: Array, size: int, align: bool) -> Array:
    """The coordinate of a grid's number from -1 to 1."""
    return (grid + 1) * ((size - 1) / 2 if align else size / 2) - (0 if align else 0.5)


def _padded(
    coordinate: Array, size: int, padding: str, align: bool, rounding: Callable[[Array], Array] = np.rint
) -> tuple[Array, Array]:
    """The index that a coordinate takes, and whether there is an element."""
    finite = np.nan_to_num(coordinate, nan=-1.0, posinf=2.0**31, neginf=-(2.0**31))
    if padding == "reflection":
        low, length = (0.0, float(size - 1)) if align else (-0.5, float(size))
        turned = np.mod(finite - low, 2 * length) if length else np.zeros_like(finite)
        finite = np.minimum(turned, 2 * length - turned) + low if length else turned
    if padding != "zeros":
        finite = np.clip(finite, 0, size - 1)
    index = rounding(finite)
    inside = (index >= 0) & (index <= size - 1)
    return np.where(inside, index, 0).astype(np.int64), inside


def _differing(question: Question) -> tuple[Array, ...]:
    golden = question.golden.astype(question.got.dtype) if question.got.dtype.kind == "f" else question.golden
    both = (question.got != question.got) & (golden != golden)
    return np.nonzero((question.got != golden) & ~both)


def _settled(question: Question, places: tuple[Array, ...], values: Sequence[Array]) -> Answer:
    """PyTorch's answer with the backend's own at `places`, where it is one of the `values` for these."""
    if not places[0].size:
        return Answer(question.golden, 0)
    got = question.got[places]
    near = np.zeros(got.shape, bool)
    for value in values:
        near |= (got == value) | ((got != got) & (value != value))
    settled = question.golden.copy()
    settled[tuple(each[near] for each in places)] = got[near]
    return Answer(settled, int(np.count_nonzero(near)))


def _taken_index(question: Question, coordinate: Array) -> Array:
    """The index below, above or next to a coordinate, by the node's rule."""
    rule = question.attribute("nearest_mode", "round_prefer_floor") if question.opset >= 11 else "floor"
    return _by_rule(str(rule), coordinate)


def _by_rule(rule: str, coordinate: Array) -> Array:
    match rule:
        case "round_prefer_floor":
            found = np.ceil(coordinate - 0.5)
        case "round_prefer_ceil":
            found = np.floor(coordinate + 0.5)
        case "floor":
            found = np.floor(coordinate)
        case _:
            found = np.ceil(coordinate)
    return found.astype(np.int64)


def _axes(
    question: Question, shape: Sequence[int], divided: Callable[[Array, float, float], Array] = _exactly
) -> list[tuple[int, int, Array | None]] | None:
    """Size, new size and coordinates of each axis, none where it stays as it is; None for a rule not known here.

    `divided` is the kernel's way to divide by a scale, which is given both ways round.
    """
    targets = question.golden.shape
    if len(targets) != len(shape) or 0 in shape:
        return None
    rule = question.attribute("coordinate_transformation_mode", "half_pixel") if question.opset >= 11 else "asymmetric"
    given = _scales(question, shape)
    found: list[tuple[int, int, Array | None]] = []
    for axis, (size, target) in enumerate(zip(shape, targets, strict=True)):
        scale = given.get(axis, target / size)
        if size == target and scale == 1:
            found.append((size, target, None))
            continue
        x = np.arange(target, dtype=np.float64)
        match rule:
            case "half_pixel" | "pytorch_half_pixel":
                there = divided(x + 0.5, scale, 1 / scale) - 0.5
            case "asymmetric":
                there = divided(x, scale, 1 / scale)
            case "align_corners":
                there = x * (size - 1) / max(1, target - 1)
            case "half_pixel_symmetric":
                there = size / 2 * (1 - target / (scale * size)) + divided(x + 0.5, scale, 1 / scale) - 0.5
            case "tf_half_pixel_for_nn":
                there = divided(x + 0.5, scale, 1 / scale)
            case _:
                return None
        if target == 1 and rule in ("pytorch_half_pixel", "align_corners"):
            there = np.zeros(1)
        found.append((size, target, there))
    return found


def _scales(question: Question, shape: Sequence[int]) -> dict[int, float]:
    """Axis -> the scale that the node was given; none where it was given sizes."""
    operand = question.operand(2 if question.opset >= 11 else 1)
    if operand is not None and operand.data.size:
        values = [float(each) for each in operand.data.reshape(-1)]
    else:
        values = [float(each) for each in question.attribute("scales", [])]
    axes = [int(each) % len(shape) for each in question.attribute("axes", [])] or list(range(len(shape)))
    return dict(zip(axes, values, strict=True)) if len(values) == len(axes) else {}
