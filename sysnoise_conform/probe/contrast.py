"""A case's outputs against its truth: the result, and in what a deviation shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
from onnx import helper

from sysnoise_conform.backend import Tensors
from sysnoise_conform.printable import one_line
from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.case import ProbeCase, Property, Refusal, Values
from sysnoise_conform.probe.result import Agrees, Deviates, Result, Shows, Unsupported

# Of the largest value: bfloat16 is off by 2**-9 of a number, a recurrent layer in it was measured at 2**-6.7.
SMALL = 2.0**-6


def contrast(case: ProbeCase, first: Tensors, second: Tensors | None) -> Result:
    """The result of a case of which the runtime gave `first`, and `second` when it was run again."""
    match case.truth:
        case Refusal():
            shown = "; ".join(f"{name} = {_shown(array)}" for name, array in first.items())
            return Deviates(shows=Shows.NO_ERROR, detail=f"it answered {shown}: {case.truth.why}")
        case Property():
            wrong = _lacking(case, first) or case.truth.check(first)
            return Deviates(shows=Shows.VALUES, detail=wrong) if wrong else Agrees()
        case Values():
            found = _values(case, case.truth, first)
        case _:
            assert_never(case.truth)
    if second is None or not case.steady or equal(first, second):
        return found
    off = "another answer at the second run"
    match found:
        case Agrees():
            return Deviates(shows=Shows.UNSTEADY, max_abs=_apart(first, second), detail=off)
        case Deviates():
            return Deviates(
                shows=found.shows, max_abs=found.max_abs, max_rel=found.max_rel, beyond=found.beyond, of=found.of,
                detail=f"{found.detail}, and {off}" if found.detail else off,
            )  # fmt: skip
        case _:
            return found


def _lacking(case: ProbeCase, got: Tensors) -> str:
    absent = [name for name in case.outputs if name not in got]
    return f"it returned no {', '.join(absent)}" if absent else ""


def _values(case: ProbeCase, truth: Values, got: Tensors) -> Result:
    absent = [name for name in truth.arrays if name not in got]
    if absent:
        return Unsupported(stage="run", why=f"it returned no {', '.join(absent)}")
    worst: Result = Agrees()
    for name, want in truth.arrays.items():
        declared = np.dtype(helper.tensor_dtype_to_np_dtype(case.outputs[name]))
        found = _array(want, got[name], declared, truth.allowed)
        if isinstance(found, Deviates) and not isinstance(worst, Deviates):
            prefix = f"{name}: " if len(truth.arrays) > 1 else ""
            worst = Deviates(
                shows=found.shows, max_abs=found.max_abs, max_rel=found.max_rel, beyond=found.beyond, of=found.of,
                detail=f"{prefix}{found.detail}" if found.detail or prefix else "",
            )  # fmt: skip
        elif isinstance(found, Agrees) and isinstance(worst, Agrees):
            worst = Agrees(max_abs=max(worst.max_abs, found.max_abs))
    return worst


def _array(want: Array, got: Array, declared: np.dtype[Any], allowed: float | Array) -> Agrees | Deviates:
    if got.shape != want.shape:
        detail = f"shape {list(got.shape)} in place of {list(want.shape)}"
        return Deviates(shows=Shows.SHAPE, of=want.size, detail=detail)
    if got.dtype != declared:
        return Deviates(shows=Shows.TYPE, of=want.size, detail=f"{got.dtype} in place of {declared}")
    a, b = want.astype(np.float64), got.astype(np.float64)
    if want.dtype.kind in "iub":
        wrong = want != got
        if not wrong.any():
            return Agrees()
        largest = float(np.abs(a - b).max())
        return Deviates(
            shows=Shows.VALUES, max_abs=largest, max_rel=_over(largest, a), beyond=int(wrong.sum()), of=want.size,
            detail=_first(want, got, wrong),
        )  # fmt: skip
    plain = np.isfinite(a) & np.isfinite(b)
    odd = ~plain & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    difference = np.where(plain, np.abs(np.where(plain, a, 0) - np.where(plain, b, 0)), 0)
    largest = float(difference.max(initial=0.0))
    if odd.any():
        return Deviates(
            shows=Shows.NONFINITE, max_abs=largest, beyond=int(odd.sum()), of=want.size, detail=_first(want, got, odd)
        )
    wrong = difference > allowed
    if not wrong.any():
        return Agrees(max_abs=largest)
    share = _over(largest, a)
    return Deviates(
        shows=Shows.SMALL if share is not None and share < SMALL else Shows.VALUES, max_abs=largest, max_rel=share,
        beyond=int(wrong.sum()), of=want.size, detail=_first(want, got, wrong),
    )  # fmt: skip


def _over(largest: float, want: Array) -> float | None:
    scale = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
    return largest / scale if scale > 0 else None


def _first(want: Array, got: Array, wrong: Array) -> str:
    index = tuple(int(each[0]) for each in np.nonzero(np.atleast_1d(wrong)))
    a, b = np.atleast_1d(want)[index], np.atleast_1d(got)[index]
    return f"{_number(b)} in place of {_number(a)} at {','.join(map(str, index))}"


def _number(value: Any) -> str:
    return f"{float(value):.6g}" if np.asarray(value).dtype.kind == "f" else str(value)


def _shown(array: Array) -> str:
    return one_line(np.array2string(array.reshape(-1)[:8], threshold=8, precision=4, separator=", "), 80)


def equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    """The same outputs, bit for bit; a NaN equals a NaN."""
    return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _apart(first: Mapping[str, Array], second: Mapping[str, Array]) -> float | None:
    """The largest difference of elements that are finite on both sides; None where shapes differ."""
    largest = 0.0
    for name in first.keys() & second.keys():
        a, b = first[name].astype(np.float64), second[name].astype(np.float64)
        if a.shape != b.shape:
            return None
        plain = np.isfinite(a) & np.isfinite(b)
        largest = max(largest, float(np.abs(a[plain] - b[plain]).max(initial=0.0)))
    return largest
