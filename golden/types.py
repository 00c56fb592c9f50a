"""ONNX element types and how the golden holds them in torch."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch

T = onnx.TensorProto


@dataclass(frozen=True, slots=True)
class SmallFloat:
    """The value set of a floating-point type that torch has no arithmetic for.

    A finite value is `m * 2**q` with `q >= min_quantum_exponent` and `m` of `precision` bits
    (the implicit one counted). `infinity` and `nan` tell which special values exist; `signed_zero`
    is False for the FNUZ types, whose only pattern for it means NaN.
    """

    precision: int
    min_exponent: int  # of the smallest normal number
    largest: float
    infinity: bool = False
    nan: bool = True
    signed_zero: bool = True
    unsigned: bool = False


# OCP 8-bit Floating Point Specification 1.0; the FNUZ types of Graphcore/AMD (arXiv:2206.02915);
# OCP Microscaling Formats 1.0 for E8M0, E2M1, E2M3 and E3M2.
SMALL_FLOATS: dict[int, SmallFloat] = {
    T.FLOAT8E4M3FN: SmallFloat(4, -6, 448.0),
    T.FLOAT8E4M3FNUZ: SmallFloat(4, -7, 240.0, signed_zero=False),
    T.FLOAT8E5M2: SmallFloat(3, -14, 57344.0, infinity=True),
    T.FLOAT8E5M2FNUZ: SmallFloat(3, -15, 57344.0, signed_zero=False),
    T.FLOAT4E2M1: SmallFloat(2, 0, 6.0, nan=False),
    T.FLOAT8E8M0: SmallFloat(1, -127, 2.0**127, unsigned=True),
}
if hasattr(T, "FLOAT6E2M3"):  # newer than the oldest onnx that we run with
    SMALL_FLOATS[T.FLOAT6E2M3] = SmallFloat(4, 0, 7.5, nan=False)
    SMALL_FLOATS[T.FLOAT6E3M2] = SmallFloat(3, -2, 28.0, nan=False)

# Integer type -> (lowest, highest) value.
INTEGER_RANGE: dict[int, tuple[int, int]] = {
    T.INT8: (-(2**7), 2**7 - 1),
    T.INT16: (-(2**15), 2**15 - 1),
    T.INT32: (-(2**31), 2**31 - 1),
    T.INT64: (-(2**63), 2**63 - 1),
    T.UINT8: (0, 2**8 - 1),
    T.UINT16: (0, 2**16 - 1),
    T.UINT32: (0, 2**32 - 1),
    T.UINT64: (0, 2**64 - 1),
    T.INT4: (-8, 7),
    T.UINT4: (0, 15),
}
if hasattr(T, "INT2"):  # newer than the oldest onnx that we run with
    INTEGER_RANGE[T.INT2] = (-2, 1)
    INTEGER_RANGE[T.UINT2] = (0, 3)

# Types whose tensors operators compute in the mode's working dtype.
WORKING: frozenset[int] = frozenset({T.FLOAT, T.FLOAT16, T.BFLOAT16, *SMALL_FLOATS})
FLOATS: frozenset[int] = WORKING | {T.DOUBLE}
COMPLEX: frozenset[int] = frozenset({T.COMPLEX64, T.COMPLEX128})

# Declared type -> the torch dtype that holds a tensor of it BETWEEN nodes. FLOAT is held as float64
# in float64 mode, except in the shape slice. Torch has no arithmetic on uint16/32/64 and no 2- and
# 4-bit integers, so these live in the next type that has their range; uint64 lives in int64 modulo
# 2**64. The small floats are held as float32, which represents each of their values exactly.
HELD: dict[int, torch.dtype] = {
    T.FLOAT: torch.float32,
    T.DOUBLE: torch.float64,
    T.FLOAT16: torch.float16,
    T.BFLOAT16: torch.bfloat16,
    T.BOOL: torch.bool,
    T.INT8: torch.int8,
    T.INT16: torch.int16,
    T.INT32: torch.int32,
    T.INT64: torch.int64,
    T.UINT8: torch.uint8,
    T.UINT16: torch.int32,
    T.UINT32: torch.int64,
    T.UINT64: torch.int64,
    T.COMPLEX64: torch.complex64,
    T.COMPLEX128: torch.complex128,
    **dict.fromkeys(SMALL_FLOATS, torch.float32),
    **{each: torch.int8 if low else torch.uint8 for each, (low, high) in INTEGER_RANGE.items() if high < 2**7 - 1},
}


def type_name(elem_type: int) -> str:
    """The ONNX name of an element type, for messages: `FLOAT16`; `type 99` for an unknown one."""
    try:
        return str(T.DataType.Name(elem_type))
    except ValueError:
        return f"type {elem_type}"
