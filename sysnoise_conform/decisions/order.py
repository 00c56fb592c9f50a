"""Decisions by order: the largest of many, the first k of them, and which are not zero."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.decisions.question import Answer, Array, Question
from sysnoise_conform.decisions.reach import is_float, reach, relative_reach, wide


def extremum(question: Question) -> Answer | None:
    """ArgMax and ArgMin: every index whose value may have been the best one.

    Equal values are a tie whatever the text says of their order: which of them comes first hangs on how a kernel goes
    through them, and what is equal in the record need not have been. Where it was, the reading says so.
    """
    x = question.operand(0)
    if x is None or not x.data.ndim or question.got.shape != question.golden.shape:
        return None
    axis = int(question.attribute("axis", 0)) % x.data.ndim
    values, span = (np.moveaxis(each, axis, -1) for each in (_signed(question, x.data), reach(x)))
    size = values.shape[-1]
    keeps = bool(question.attribute("keepdims", 1))
    got, golden = (
        np.moveaxis(each, axis, -1)[..., 0] if keeps else each for each in (question.got, question.golden)
    )
    there = (got >= 0) & (got < size)
    chosen = np.where(there, got, 0)
    value, best = (_at(values, each) for each in (chosen, golden))
    slack = _at(span, chosen) + _at(span, golden)
    with np.errstate(invalid="ignore"):
        near = there & (got != golden) & (value >= best - slack)
    settled = np.where(near, got, golden).astype(question.golden.dtype)
    if keeps:
        settled = np.moveaxis(settled[..., None], -1, axis)
    return Answer(settled, int(np.count_nonzero(near)))


def top_k(question: Question) -> Answer | None:
    """TopK: at each rank any value that may have had it, each index once."""
    x = question.operand(0)
    if x is None or not x.data.ndim or question.got.shape != question.golden.shape or question.place > 1:
        return None
    axis = int(question.attribute("axis", -1)) % x.data.ndim
    sorts = bool(question.attribute("sorted", 1))
    largest = bool(question.attribute("largest", 1))
    got, golden = (np.moveaxis(each, axis, -1) for each in (question.got, question.golden))
    rows, span = (np.moveaxis(each, axis, -1) for each in (wide(x.data), reach(x)))
    if question.place == 0:
        return _top_values(got, golden, 2 * relative_reach(x), axis, in_order=sorts)
    size = rows.shape[-1]
    there = (got >= 0) & (got < size)
    chosen = np.where(there, got, 0)
    once = np.ones(got.shape, bool)
    if got.shape[-1] > 1:
        ordered = np.sort(chosen, axis=-1)
        once &= ~(np.diff(ordered, axis=-1) == 0).any(axis=-1, keepdims=True)
    value, best = (np.take_along_axis(rows, each, axis=-1) for each in (chosen, golden))
    slack = np.take_along_axis(span, chosen, axis=-1) + np.take_along_axis(span, golden, axis=-1)
    with np.errstate(invalid="ignore"):
        if sorts:
            near = np.abs(value - best) <= slack
        else:  # any order of the k: none is worse than the last of them
            last = best.min(axis=-1, keepdims=True) if largest else best.max(axis=-1, keepdims=True)
            near = value >= last - slack if largest else value <= last + slack
    near &= there & once & (got != golden)
    settled = np.where(near, got, golden).astype(question.golden.dtype)
    ties = near if sorts else near & ~(got[..., None] == golden[..., None, :]).any(axis=-1)
    return Answer(np.moveaxis(settled, -1, axis), int(np.count_nonzero(ties)))


def non_zero(question: Question) -> Answer | None:
    """NonZero: numbers too small to be normal ones may count as zeros, as where a runtime flushes them."""
    x = question.operand(0)
    if x is None or not is_float(x.data) or question.got.ndim != 2:
        return None
    small = (x.data != 0) & (np.abs(wide(x.data)) < float(np.finfo(np.float32).tiny))
    if not small.any() or question.got.shape[0] != question.golden.shape[0]:
        return Answer(question.golden, 0)
    shape = x.data.shape or (1,)
    got = question.got
    if (got < 0).any() or any((got[axis] >= size).any() for axis, size in enumerate(shape)):
        return Answer(question.golden, 0)
    flat = np.ravel_multi_index(tuple(got), shape)
    in_order = bool((np.diff(flat) > 0).all())
    wanted, possible = (np.flatnonzero((x.data != 0) & ~small), np.flatnonzero(x.data))
    if in_order and np.isin(wanted, flat).all() and np.isin(flat, possible).all():
        return Answer(got, len(possible) - len(flat))
    return Answer(question.golden, 0)


def _signed(question: Question, data: Array) -> Array:
    """Values of which the largest is wanted."""
    values = wide(data)
    return -values if question.node.op_type == "ArgMin" else values


def _at(values: Array, index: Array) -> Array:
    found: Array = np.take_along_axis(values, index[..., None].astype(np.int64), axis=-1)[..., 0]
    return found


def _top_values(got: Array, golden: Array, slack: float, axis: int, *, in_order: bool) -> Answer:
    with np.errstate(invalid="ignore"):
        if in_order:
            near = (np.abs(wide(got) - wide(golden)) <= slack * np.abs(wide(golden))) & (got != golden)
            settled = np.where(near, got, golden).astype(golden.dtype)
            return Answer(np.moveaxis(settled, -1, axis), int(np.count_nonzero(near)))
        same = np.sort(got.astype(golden.dtype), axis=-1) == np.sort(golden, axis=-1)
    settled = np.where(same.all(axis=-1, keepdims=True), got, golden).astype(golden.dtype)
    return Answer(np.moveaxis(settled, -1, axis), 0)
