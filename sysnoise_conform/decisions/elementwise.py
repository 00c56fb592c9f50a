"""Decisions of one element each: roundings, casts to integers, comparisons, quantisation.

All of them are monotone in what they decide by, so an answer is right for some number within reach if it lies between
the answers for the two ends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sysnoise_conform.decisions.question import Answer, Array, Operand, Question
from sysnoise_conform.decisions.reach import FLOAT32, INSIDE, is_float, reach, wide

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {"Round": np.rint, "Floor": np.floor, "Ceil": np.ceil}
_RANGES = {
    "int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3), "int8": (-128, 127), "uint8": (0, 255),
    "int16": (-32768, 32767), "uint16": (0, 65535),
}  # fmt: skip
# How far from a half between two codes float32 may lose it inside of a block: half an ulp each of some sums of up to
# 2**10 codes. Of values that lie anywhere one in two thousand is so close: as an excuse it hides nothing.
BETWEEN_CODES = 2.0**-12


def rounding(question: Question) -> Answer | None:
    """Round, Floor and Ceil: the whole numbers from one end to the other."""
    x = question.operand(0)
    if x is None or not is_float(x.data):
        return None
    step, values, span = _ROUNDINGS[question.node.op_type], wide(x.data), reach(x)
    return _between(question, step(values - span), step(values + span), whole=True)


def cast(question: Question) -> Answer | None:
    """Cast to an integer, towards zero; outside of its range no rounding decides anything."""
    x = question.operand(0)
    kind = question.golden.dtype
    if x is None or not is_float(x.data) or kind.kind not in "iu":
        return None
    values, span = wide(x.data), reach(x)
    limits = np.iinfo(kind)
    inside = (values > float(limits.min)) & (values < float(limits.max))
    span = np.where(inside, span, 0.0)
    return _between(question, np.trunc(values - span), np.trunc(values + span), only=inside)


def comparison(question: Question) -> Answer | None:
    """Either answer where both sides may have been on either side of one another."""
    a, b = question.operand(0), question.operand(1)
    if a is None or b is None or not (is_float(a.data) or is_float(b.data)):
        return None
    with np.errstate(invalid="ignore"):
        near = np.abs(wide(a.data) - wide(b.data)) < reach(a) + reach(b)
    differs = question.got != question.golden
    return _taken(question, differs & np.broadcast_to(near, question.golden.shape))


def quantisation(question: Question) -> Answer | None:
    """QuantizeLinear: round(x / scale) + zero point, where the quotient is a float32's too."""
    x, found = question.operand(0), _steps(question)
    return None if x is None or found is None else _quantised(question, x, *found)


def requantisation(question: Question) -> Answer | None:
    """The QuantizeLinear at the end of a block, whose operand PyTorch computed from what went into the block.

    A kernel adds and scales in float32, counted in codes with the zero points folded in: exact halves, as of 0 + 3 in
    steps of 6 / 255, fall to either side.
    """
    x, found = question.operand(0), _steps(question)
    if x is None or found is None:
        return None
    steps, offset = found
    low, high = _RANGES[question.golden.dtype.name]
    codes_of = wide(x.data) / steps
    ends = (np.clip(np.rint(codes_of + each) + offset, low, high) for each in (-BETWEEN_CODES, BETWEEN_CODES))
    return _between(question, *ends)


def quotient(question: Question) -> tuple[Array, Array, int, int] | None:
    """What a quantiser rounds, what is added to it then, and the ends of the range; as it is meant.

    DynamicQuantizeLinear's for the scale and the zero point that the backend itself chose.
    """
    x = question.operand(0)
    found = _chosen(question) if question.node.op_type == "DynamicQuantizeLinear" else _steps(question)
    if x is None or found is None:
        return None
    steps, offset = found
    return wide(x.data) / steps, offset, *_RANGES[question.golden.dtype.name]


def _steps(question: Question) -> tuple[Array, Array] | None:
    """Scale and zero point, shaped to broadcast over what is quantised."""
    x, scale, zero = question.operand(0), question.operand(1), question.operand(2)
    if x is None or scale is None or not is_float(x.data) or question.golden.dtype.name not in _RANGES:
        return None
    steps = _along(question, x.data, wide(scale.data))
    if steps is None or not (steps > 0).all():
        return None
    offset = np.zeros(()) if zero is None else _along(question, x.data, codes(zero.data))
    return None if offset is None else (steps, offset)


def dynamic_quantisation(question: Question) -> Answer | None:
    """DynamicQuantizeLinear: codes for the scale and the zero point that the backend itself chose, and the latter."""
    x, found, scale = question.operand(0), _chosen(question), question.others.get(1)
    if x is None:
        return None
    if found is not None:
        return _quantised(question, x, *found)
    if question.place != 2 or scale is None or not _is_dynamic(x, scale):
        return None
    low = np.minimum(x.data.min(), np.zeros((), x.data.dtype))
    return _quantised(question, Operand(data=-low), wide(scale.reshape(())), np.zeros(()))


def _chosen(question: Question) -> tuple[Array, Array] | None:
    """The scale and the zero point that a DynamicQuantizeLinear made its codes with."""
    x, scale, zero = question.operand(0), question.others.get(1), question.others.get(2)
    if question.place or x is None or scale is None or zero is None or not _is_dynamic(x, scale):
        return None
    return wide(scale.reshape(())), codes(zero).reshape(())


def _is_dynamic(x: Operand, scale: Array) -> bool:
    return is_float(x.data) and x.data.size > 0 and float(scale.reshape(())) > 0


def _quantised(question: Question, x: Operand, steps: Array, offset: Array) -> Answer:
    low, high = _RANGES[question.golden.dtype.name]
    quotient = wide(x.data) / steps
    inside = np.where(np.frexp(steps)[0] == 0.5, 0.0, INSIDE * FLOAT32)  # by a power of two nothing is rounded
    with np.errstate(invalid="ignore"):
        span = reach(x) / steps + np.where(np.isfinite(quotient), np.abs(quotient), 0.0) * inside
    ends = (np.clip(np.rint(each) + offset, low, high) for each in (quotient - span, quotient + span))
    return _between(question, *ends)


def _along(question: Question, x: Array, parameter: Array) -> Array | None:
    """A scale or zero point, shaped to broadcast over `x`: per tensor, per axis or per block."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = int(question.attribute("axis", 1))
    axis = axis % x.ndim if -x.ndim <= axis < x.ndim else 0
    if parameter.ndim == 1 and parameter.shape[0] == x.shape[axis]:
        return parameter.reshape([-1 if each == axis else 1 for each in range(x.ndim)])
    block = int(question.attribute("block_size", 0))
    if not block or parameter.ndim != x.ndim:
        return None
    spread = np.repeat(parameter, block, axis=axis)
    return np.take(spread, np.arange(x.shape[axis]), axis=axis) if spread.shape[axis] >= x.shape[axis] else None


def codes(array: Array) -> Array:
    """Numbers of any type as float64; those of 2 and 4 bits by way of integers that numpy knows."""
    known = array.astype(np.int32) if "int" in array.dtype.name and array.dtype.kind == "V" else array
    return known.astype(np.float64)


def _between(
    question: Question, low: Array, high: Array, *, whole: bool = False, only: Array | None = None
) -> Answer:
    got = codes(question.got)
    with np.errstate(invalid="ignore"):
        near = (got >= low) & (got <= high) & (got != codes(question.golden))
    if whole:
        near &= got == np.rint(got)
    return _taken(question, near if only is None else near & only)


def _taken(question: Question, near: Array) -> Answer:
    """PyTorch's answer with the backend's own where it is as good."""
    ties = int(np.count_nonzero(near))
    if not ties:
        return Answer(question.golden, 0)
    return Answer(np.where(near, question.got, question.golden).astype(question.golden.dtype), ties)


