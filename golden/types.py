"""ONNX element types and how the golden holds them in torch."""

from __future__ import annotations

import onnx
import torch

T = onnx.TensorProto

# Declared type -> the torch dtype that holds a tensor of it BETWEEN nodes (float64 mode holds FLOAT
# as float64, see `held`). Torch has no arithmetic on uint16/32/64 and no 2- and 4-bit integers, so
# these live in the next signed type that has their range; uint64 lives in int64 modulo 2**64.
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
}
