"""Tensors between nodes: from numpy and ONNX into torch, rounded to their declared type, and back."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.golden.types import (
    COMPLEX,
    FLOATS,
    HELD,
    INTEGER_RANGE,
    SMALL_FLOATS,
    SmallFloat,
    T,
    type_name,
)

# Rounding to nearest even, a magnitude from here on becomes Inf in binary32 (IEEE 754, 7.4).
FLOAT32_OVERFLOW = 2.0**128 - 2.0**103


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor with its declared ONNX element type.

    `data` is a torch tensor held as `types.HELD` says (FLOAT as float64 in float64 mode), or for
    strings a numpy object array.
    """

    data: Any
    elem_type: int


def from_numpy(array: np.ndarray[Any, Any], elem_type: int) -> Value:
    """`array`, of the numpy dtype that belongs to `elem_type`, as a Value; FLOAT as float32.

    Shares the array's memory where torch can.
    """
    if elem_type == T.STRING:
        return Value(_strings(array), T.STRING)
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if elem_type == T.BFLOAT16:
        return Value(_shared(array.view(np.int16)).view(torch.bfloat16), elem_type)
    if elem_type == T.UINT64:
        return Value(_shared(array.view(np.int64)), elem_type)
    held = HELD.get(elem_type)
    if held is None:
        raise TypeError(f"no tensor can have the element type {type_name(elem_type)}")
    if elem_type in SMALL_FLOATS:
        return Value(_shared(array.astype(np.float32)), elem_type)
    if elem_type in INTEGER_RANGE and array.dtype.itemsize * 8 != held.itemsize * 8:
        array = array.astype(np.int64)
    elif elem_type in INTEGER_RANGE and not np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int16)  # ml_dtypes' 2- and 4-bit integers
    return Value(_shared(array).to(held), elem_type)


def _strings(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat = [each.decode("utf-8") if isinstance(each, bytes) else str(each) for each in np.asarray(array).reshape(-1)]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(np.shape(array))


def _shared(array: np.ndarray[Any, Any]) -> torch.Tensor:
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        # A read-only array is fine: no operator writes into its inputs.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        # The default device: the CPU, whose memory is then shared, unless the torch backend has chosen a GPU.
        return torch.from_numpy(array).to(torch.get_default_device())


def from_proto(proto: onnx.TensorProto, base_dir: Path | None = None) -> Value:
    """A TensorProto's content; external data is looked for under `base_dir`."""
    array = numpy_helper.to_array(proto, base_dir="" if base_dir is None else str(base_dir))
    return from_numpy(array, proto.data_type)


def from_sparse_proto(proto: onnx.SparseTensorProto, base_dir: Path | None = None) -> Value:
    """A SparseTensorProto's content, dense; external data is looked for under `base_dir`."""
    values, indices = from_proto(proto.values, base_dir), from_proto(proto.indices, base_dir).data
    flat = torch.zeros(int(np.prod(proto.dims)), dtype=values.data.dtype)
    if indices.dim() == 2:
        strides = torch.tensor([int(np.prod(proto.dims[axis + 1 :])) for axis in range(len(proto.dims))])
        indices = (indices * strides).sum(1)
    flat[indices] = values.data
    return Value(flat.reshape(tuple(proto.dims)), values.elem_type)


def to_numpy(value: Value, *, declared: bool = True) -> np.ndarray[Any, Any]:
    """A Value as a numpy array of its own.

    With `declared`, in the numpy dtype of its declared ONNX type (that of ml_dtypes for BFLOAT16, the
    small floats and the 2- and 4-bit integers); without, every floating-point type as float64 in the
    precision that it was computed in.
    """
    if isinstance(value.data, np.ndarray):
        return value.data.copy()
    tensor = value.data.detach()
    if not declared and value.elem_type in FLOATS:
        return _owned(tensor.to(torch.float64))
    if value.elem_type == T.BFLOAT16:
        return _owned(round_to(tensor, T.BFLOAT16).view(torch.int16)).view(tensor_dtype_to_np_dtype(T.BFLOAT16))
    if value.elem_type == T.UINT64:
        return _owned(tensor).view(np.uint64)
    if value.elem_type == T.FLOAT:
        tensor = tensor.to(torch.float32)
    return _owned(tensor).astype(tensor_dtype_to_np_dtype(value.elem_type), copy=False)


def _owned(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.array(tensor.cpu().contiguous().numpy(), order="C")


def settle(tensor: torch.Tensor, elem_type: int, working: torch.dtype) -> torch.Tensor:
    """An operator's result as it is held between nodes, rounded or wrapped to its declared type.

    `working` is the dtype that FLOAT is held in: in float64 a FLOAT keeps its digits, and a magnitude
    beyond float32's range becomes Inf.
    """
    if elem_type == T.FLOAT:
        if working is torch.float32:
            return tensor if tensor.dtype is torch.float32 else tensor.to(torch.float32)
        return within_float32_range(tensor if tensor.dtype is torch.float64 else tensor.to(torch.float64))
    if elem_type in FLOATS:
        return round_to(tensor, elem_type)
    if elem_type in COMPLEX or elem_type == T.BOOL:
        return tensor.to(HELD[elem_type])
    return wrap(tensor, elem_type)


def within_float32_range(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` with every magnitude that overflows binary32 replaced by Inf of its sign."""
    if tensor.numel() == 0:
        return tensor
    low, high = torch.aminmax(tensor)
    if low.item() > -FLOAT32_OVERFLOW and high.item() < FLOAT32_OVERFLOW:
        return tensor
    infinite = torch.where(tensor > 0, torch.inf, -torch.inf).to(tensor.dtype)
    return torch.where(tensor.abs() >= FLOAT32_OVERFLOW, infinite, tensor)


def round_to(tensor: torch.Tensor, elem_type: int) -> torch.Tensor:
    """`tensor` rounded once, to nearest even, to a floating-point type; overflow gives Inf (or NaN).

    The small floats overflow as a Cast with saturate=0 does.
    """
    if elem_type in SMALL_FLOATS:
        return round_small(tensor, SMALL_FLOATS[elem_type]).to(torch.float32)
    dtype = HELD[elem_type]
    if tensor.dtype is torch.float64 and elem_type in (T.FLOAT16, T.BFLOAT16):
        tensor = _round_to_odd(tensor)
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def _round_to_odd(tensor: torch.Tensor) -> torch.Tensor:
    """float64 to float32 by rounding to odd, after which a second rounding to 16 bits is correct.

    Torch goes from float64 to a 16-bit float by way of float32, which rounds twice. (Boldo and
    Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd".)
    """
    near = tensor.to(torch.float32)
    error = near.to(torch.float64) - tensor
    inexact = (error != 0) & torch.isfinite(tensor)
    away = inexact & ((error > 0) == (tensor > 0))
    bits = near.view(torch.int32) - away.to(torch.int32)
    return (bits | inexact.to(torch.int32)).view(torch.float32)


def power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """2**exponent as float64, exactly, for integer exponents of normal numbers (-1022 to 1023)."""
    return ((exponent.to(torch.int64) + 1023) << 52).view(torch.float64)


def round_small(tensor: torch.Tensor, kind: SmallFloat, *, saturate: bool = False) -> torch.Tensor:
    """`tensor` rounded to nearest even to a small float's values, in its own dtype.

    With `saturate` an overflow gives the largest finite value, otherwise Inf where the type has one
    and NaN where not; a type without NaN and Inf always saturates.
    """
    _, exponent = torch.frexp(tensor)
    quantum_exponent = (exponent - 1).clamp(min=kind.min_exponent) - (kind.precision - 1)
    quantum = power_of_two(quantum_exponent)
    wide = torch.round(tensor.to(torch.float64) / quantum) * quantum
    over = wide.abs() > kind.largest
    if saturate or not (kind.nan or kind.infinity):
        wide = torch.where(over | torch.isinf(tensor), torch.copysign(torch.full_like(wide, kind.largest), wide), wide)
    else:
        beyond = torch.copysign(torch.full_like(wide, torch.inf), wide) if kind.infinity else torch.nan
        wide = torch.where(over | torch.isinf(tensor), beyond, wide)
    # Without a pattern for it NaN becomes zero, as in ONNX's node tests.
    wide = torch.where(torch.isnan(tensor), torch.nan if kind.nan else 0.0, wide)
    if not kind.signed_zero:
        wide = torch.where(wide == 0, 0.0, wide)
    return wide.to(tensor.dtype)


def wrap(tensor: torch.Tensor, elem_type: int) -> torch.Tensor:
    """An integer tensor reduced modulo 2**width to the range of its declared type, as held."""
    low, high = INTEGER_RANGE[elem_type]
    held = HELD[elem_type]
    if tensor.dtype is held and (low, high) == (torch.iinfo(held).min, torch.iinfo(held).max):
        return tensor
    if tensor.dtype.is_floating_point:
        raise TypeError(f"a floating-point result where {type_name(elem_type)} is declared")
    if elem_type in (T.INT64, T.UINT64, T.INT32, T.INT16, T.INT8, T.UINT8):
        return tensor.to(held)  # torch's integer conversions wrap
    wide = tensor.to(torch.int64) & (high - low)
    return (torch.where(wide > high, wide - (high - low + 1), wide) if low else wide).to(held)


def as_working(value: Value, working: torch.dtype) -> torch.Tensor:
    """A floating-point Value in the dtype that operators compute in (float64 for DOUBLE always)."""
    target = torch.float64 if value.elem_type == T.DOUBLE else working
    data: torch.Tensor = value.data
    return data if data.dtype is target else data.to(target)
