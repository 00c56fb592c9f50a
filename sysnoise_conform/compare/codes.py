"""What a difference of integers looks like: which rule would have made the backend's of PyTorch's, element by element.

Each hypothesis predicts integers from integers, so it is right or wrong at an element; `residual` is the share of the
differing elements that it does not predict. Differences of one are no business of these: they are roundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sysnoise_conform.outcome import Reading

Array = np.ndarray[Any, Any]

EXPLAINS = 0.5  # a hypothesis that is wrong at more of the differing elements than this is not named
_NARROWER = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


def read_codes(golden: Array, got: Array) -> tuple[Reading, ...]:
    """The hypotheses that explain where integers differ, best first, the simplest first among equals."""
    if golden.dtype.kind not in "iu" or got.dtype.kind not in "iu" or golden.shape != got.shape:
        return ()
    differs = got != golden
    g, a = golden[differs], got[differs]
    if not g.size or not (_apart(g, a) > 1).any():
        return ()
    found = [
        each
        for hypothesis in (_clipped, _saturated, _wrapped, _unsaturated, _float32)
        for each in hypothesis(g, a)
        if each.residual < EXPLAINS
    ]
    return tuple(sorted(found, key=lambda each: each.residual))


def _apart(g: Array, a: Array) -> Array:
    distance: Array = np.abs(g.astype(np.float64) - a.astype(np.float64))
    return distance


def _wrong(predicted: Array, a: Array) -> float:
    return float(np.mean(predicted != a))


def _limits(kind: np.dtype[Any]) -> tuple[int, int]:
    about = np.iinfo(kind)
    return int(about.min), int(about.max)


def _clipped(g: Array, a: Array) -> Iterator[Reading]:
    """At the ends of a narrower type, within which everything is PyTorch's."""
    low, high = _limits(g.dtype)
    for name in _NARROWER:
        least, most = (int(each) for each in np.clip(_limits(np.dtype(name)), low, high))
        if (least, most) == (low, high):
            continue
        predicted = np.clip(g, g.dtype.type(least), g.dtype.type(most))
        wrong = _wrong(predicted, a)
        if wrong < EXPLAINS:
            words = [f"at {most} above"] if (g > most).any() else []
            words += [f"at {least} below"] if (g < least).any() else []
            yield Reading(kind="clipped", residual=wrong, value=", ".join(words))
            return


def _saturated(g: Array, a: Array) -> Iterator[Reading]:
    """At an end of its own type, where PyTorch's is not: the runtime saturates what by the operator's text wraps."""
    low, high = _limits(a.dtype)
    ends = (a == high) | (a == low)
    reached = [str(each) for each in (low, high) if (a == each).any()]
    if a.size > 1 or g.dtype.itemsize < 8:  # a lone extreme int64 is a number that nobody could hold
        yield Reading(kind="saturated", residual=float(np.mean(~ends)), value=f"at {' and '.join(reached)}")


def _wrapped(g: Array, a: Array) -> Iterator[Reading]:
    """The lower bits alone, read as a narrower type."""
    for name in ("int32", "uint32", "int16", "uint16", "int8", "uint8"):
        kind = np.dtype(name)
        if kind.itemsize >= g.dtype.itemsize:
            continue
        wrong = _wrong(g.astype(kind).astype(g.dtype), a)
        if wrong < EXPLAINS:
            yield Reading(kind="wrapped", residual=wrong, value=f"around at {8 * kind.itemsize} bits")
            return


def _unsaturated(g: Array, a: Array) -> Iterator[Reading]:
    """PyTorch's is at an end of the type and the backend's went round it, mostly into the other half of the range."""
    low, high = _limits(g.dtype)
    if g.dtype.itemsize > 2:
        return
    middle = (low + high + 1) // 2
    far = ((g == high) & (a < middle)) | ((g == low) & (a >= middle))
    if far.mean() > EXPLAINS:  # a wrong scale brings codes back from the end, too, but not that far
        at_end = (g == high) | (g == low)
        yield Reading(kind="wrapped", residual=float(np.mean(~at_end)), value="around where PyTorch's stay at the end")


def _float32(g: Array, a: Array) -> Iterator[Reading]:
    """The nearest integer that a float32 holds."""
    if g.dtype.itemsize < 4:
        return
    with np.errstate(invalid="ignore", over="ignore"):
        near = g.astype(np.float32).astype(np.float64)
        yield Reading(kind="float32", residual=float(np.mean(near != a.astype(np.float64))), value="")
