"""Golden tensors made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.outcome import Floor


@dataclass(frozen=True)
class Golden:
    name: str
    elem_type: int
    shape: tuple[int, ...]
    data: np.ndarray[Any, Any]
    floor: Floor


def golden_of(data: Any, dtype: str = "FLOAT", *, name: str = "y", floor: Floor | None = None) -> Golden:
    """A golden tensor of a declared type; floats are held in float64, as the store does."""
    array = np.asarray(data)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    elem_type = onnx.TensorProto.DataType.Value(dtype)
    return Golden(name=name, elem_type=elem_type, shape=array.shape, data=array, floor=floor or Floor(n=array.size))
