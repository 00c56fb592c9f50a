"""A backend's tensor against the golden's: sums and counts, no opinion, mergeable over samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import onnx

from sysnoise_conform.compare.sums import Sums
from sysnoise_conform.compare.ulp import ulp_exponent
from sysnoise_conform.outcome import Floor, TensorDiff, Worst
from sysnoise_conform.report import elem_type_name

Array = np.ndarray[Any, Any]

_SMALL_INTEGERS = {"INT4": "int8", "UINT4": "uint8", "INT2": "int8", "UINT2": "uint8"}


class GoldenTensorLike(Protocol):
    """What is needed of a golden tensor; `store.GoldenTensor` is one.

    `data` is float64 for every float type (a value beyond the declared range is already Inf),
    otherwise the declared numpy dtype. `floor` is that of this one sample.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def elem_type(self) -> int: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def data(self) -> Array: ...  # noqa: D102
    @property
    def floor(self) -> Floor: ...  # noqa: D102


def measure(golden: GoldenTensorLike, got: Array, *, sample: int) -> TensorDiff:
    """Compare one sample's tensor. Shape and dtype first: where they differ, nothing else is counted.

    All arithmetic is float64, block by block, so that beside the two arrays only a few hundred
    kilobytes are needed. Complex numbers are compared as their real and imaginary parts; strings by
    equality alone. Non-contiguous and big-endian arrays are taken as they are meant.
    """
    dtype = elem_type_name(golden.elem_type)
    shape = tuple(int(each) for each in golden.shape)
    found = _native(np.asarray(got))
    dtype_got = _other_type(dtype, golden.elem_type, found.dtype)
    shape_got = tuple(found.shape) if tuple(found.shape) != shape else None
    blank = TensorDiff(name=golden.name, dtype=dtype, shape=shape, samples=1, floor=golden.floor)
    if dtype_got is not None or shape_got is not None:
        return replace(blank, dtype_got=dtype_got, shape_got=shape_got)
    if dtype == "STRING":
        return _strings(blank, golden.data, found)
    sums = Sums()
    expected, actual, parts = _parts(np.asarray(golden.data), found)
    if expected.dtype.kind == "f":
        sums.add_floats(expected, actual)
    else:
        sums.add_integers(expected, actual)
    worst = None
    if sums.worst is not None:
        at, value, other = sums.worst
        worst = Worst(sample=sample, index=_index(at // parts, shape), golden=value, got=other)
    return replace(
        blank,
        n=sums.n,
        finite=sums.finite,
        sum_sq_err=sums.sum_sq_err,
        sum_quad_err=sums.sum_quad_err,
        max_abs=sums.max_abs,
        worst=worst,
        sum_golden=sums.sum_golden,
        sum_got=sums.sum_got,
        sum_sq_golden=sums.sum_sq_golden,
        sum_quad_golden=sums.sum_quad_golden,
        sum_sq_got=sums.sum_sq_got,
        dot=sums.dot,
        max_golden=sums.max_golden,
        mismatches=sums.mismatches,
        nan_golden=sums.nan_golden,
        nan_got=sums.nan_got,
        nan_mismatch=sums.nan_mismatch,
        first_nonfinite=None if sums.first is None else (sample, *_index(sums.first // parts, shape)),
        ulp_histogram=sums.histogram(ulp_exponent(dtype, sums.max_golden)),
    )


def merge(a: TensorDiff, b: TensorDiff) -> TensorDiff:
    """Both, as if measured together; associative up to the rounding of the sums.

    Raises ValueError when the two are not of the same tensor.
    """
    if (a.name, a.dtype) != (b.name, b.dtype):
        raise ValueError(f"{a.name!r} ({a.dtype}) and {b.name!r} ({b.dtype}) are not the same tensor")
    counts = dict(a.ulp_histogram)
    for index, count in b.ulp_histogram.items():
        counts[index] = counts.get(index, 0) + count
    return TensorDiff(
        name=a.name,
        dtype=a.dtype,
        shape=a.shape,
        op_type=a.op_type or b.op_type,
        shape_got=a.shape_got if a.shape_got is not None else b.shape_got,
        dtype_got=a.dtype_got if a.dtype_got is not None else b.dtype_got,
        samples=a.samples + b.samples,
        n=a.n + b.n,
        finite=a.finite + b.finite,
        sum_sq_err=a.sum_sq_err + b.sum_sq_err,
        sum_quad_err=a.sum_quad_err + b.sum_quad_err,
        max_abs=max(a.max_abs, b.max_abs),
        worst=b.worst if b.worst is not None and (a.worst is None or b.max_abs > a.max_abs) else a.worst,
        sum_golden=a.sum_golden + b.sum_golden,
        sum_got=a.sum_got + b.sum_got,
        sum_sq_golden=a.sum_sq_golden + b.sum_sq_golden,
        sum_quad_golden=a.sum_quad_golden + b.sum_quad_golden,
        sum_sq_got=a.sum_sq_got + b.sum_sq_got,
        dot=a.dot + b.dot,
        max_golden=max(a.max_golden, b.max_golden),
        mismatches=a.mismatches + b.mismatches,
        ties=None if a.ties is None or b.ties is None else a.ties + b.ties,
        nan_golden=a.nan_golden + b.nan_golden,
        nan_got=a.nan_got + b.nan_got,
        nan_mismatch=a.nan_mismatch + b.nan_mismatch,
        first_nonfinite=_first(a, b),
        ulp_histogram=counts,
        floor=a.floor.merged(b.floor),
        readings=a.readings or b.readings,
    )


def _first(a: TensorDiff, b: TensorDiff) -> tuple[int, ...] | None:
    """The first place that matters: a mismatch goes before a NaN that both sides have."""
    places = [each for each in (a, b) if each.first_nonfinite is not None]
    places.sort(key=lambda each: each.nan_mismatch == 0)  # stable: a before b
    return places[0].first_nonfinite if places else None


def _native(array: Array) -> Array:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _other_type(name: str, elem_type: int, found: np.dtype[Any]) -> str | None:
    """The ONNX name of the type that came back, where it is not the declared one."""
    if name == "STRING":
        return None if found.kind in "OSU" else str(found)
    declared = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    if found == declared or (name in _SMALL_INTEGERS and found == _SMALL_INTEGERS[name]):
        return None  # never `found == table.get(name)`: numpy takes None for float64
    try:
        return elem_type_name(onnx.helper.np_dtype_to_tensor_dtype(found))
    except (KeyError, ValueError):
        return str(found)


def _parts(golden: Array, got: Array) -> tuple[Array, Array, int]:
    """Both flat and contiguous; complex numbers as pairs (the last value: how many parts an element has)."""
    expected = np.ascontiguousarray(golden).reshape(-1)
    actual = np.ascontiguousarray(got).reshape(-1)
    if expected.dtype.kind == "c":
        return expected.astype(np.complex128, copy=False).view(np.float64), actual.view(actual.real.dtype), 2
    if expected.dtype.kind == "V":  # ml_dtypes' 2- and 4-bit integers
        expected = expected.astype(np.int16)
    if expected.dtype.kind in "iub" and actual.dtype.kind == "V":
        actual = actual.astype(np.int16)
    return expected, actual, 1


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(each) for each in np.unravel_index(flat, shape)) if shape else ()


def _strings(blank: TensorDiff, golden: Array, got: Array) -> TensorDiff:
    def text(value: object) -> str:
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)

    pairs = zip(np.asarray(golden).reshape(-1), got.reshape(-1), strict=True)
    return replace(blank, n=got.size, mismatches=sum(text(x) != text(y) for x, y in pairs))
