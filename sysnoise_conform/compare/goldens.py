"""Two goldens of one tensor: what a conversion of the graph costs, free of any runtime."""

from __future__ import annotations

from dataclasses import replace

from onnx import TensorProto

from sysnoise_conform.compare.tensors import GoldenTensorLike, measure
from sysnoise_conform.outcome import Floor, TensorDiff
from sysnoise_conform.report import elem_type_name
from sysnoise_conform.store import GoldenTensor


def apart(original: GoldenTensor, converted: GoldenTensorLike, *, sample: int) -> TensorDiff:
    """golden(converted) - golden(original) of one sample, under the original's name and declared type.

    Both are float64 wherever both are floating-point numbers, whatever either declares, so no rounding to a type is
    part of the difference; there is no floor, since there is no runtime.
    """
    floats = original.data.dtype.kind == "f" and converted.data.dtype.kind == "f"
    side = replace(original, floor=Floor(), elem_type=TensorProto.DOUBLE if floats else original.elem_type)
    diff = measure(side, converted.data, sample=sample)
    return replace(diff, dtype=elem_type_name(original.elem_type), ulp_histogram={})
