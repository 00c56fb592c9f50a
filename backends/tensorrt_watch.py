"""What TensorRT tells of an engine from inside: tensors while it runs, and its layers once it is built."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from sysnoise_conform.backends.cuda import Gpu
from sysnoise_conform.backends.shares import Shares
from sysnoise_conform.printable import one_line

MOST_LAYERS = 1000  # in a report; a table beyond that tells nobody anything
# The names that inspectors of different versions give types, in an order in which no name hides in an earlier one.
_TYPES = {
    "bfloat16": "bf16", "bf16": "bf16", "half": "fp16", "fp16": "fp16", "float16": "fp16", "int8": "int8", "fp8": "fp8",
    "float": "fp32", "fp32": "fp32",
}  # fmt: skip
_PRODUCTS = re.compile("conv|gemm|matrix|matmul", re.IGNORECASE)
_COPIES = ("Reformat", "NoOp", "Constant", "Shuffle", "Signal", "Wait")  # layers that compute nothing


def listener(trt: Any, gpu: Gpu, found: dict[str, np.ndarray]) -> Any:
    """A debug listener that copies each tensor into `found` while TensorRT waits: it is overwritten afterwards."""

    class Listener(trt.IDebugListener):  # type: ignore[misc]  # the base is known at run time
        def __init__(self) -> None:
            trt.IDebugListener.__init__(self)

        def process_debug_tensor(
            self, addr: Any, location: Any, type: Any, shape: Any, name: str, stream: int  # noqa: A002
        ) -> bool:
            dtype = numpy_type(trt, type)
            if dtype is None:  # a type that numpy has no name for stays unobserved
                return True
            size = tuple(int(each) for each in shape)
            if location == trt.TensorLocation.HOST:
                raw = ctypes.string_at(_pointer(addr), int(np.prod(size, dtype=np.int64)) * dtype.itemsize)
                found[name] = np.frombuffer(raw, dtype=dtype).reshape(size).copy()
            else:
                found[name] = gpu.download(_pointer(addr), size, dtype, stream=stream)
            return True

    return Listener()


def numpy_type(trt: Any, kind: Any) -> np.dtype[Any] | None:
    """The numpy type for one of TensorRT's, bfloat16 and float8 as ml_dtypes has them; None where there is none."""
    import ml_dtypes

    types: dict[str, Any] = {
        "FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64,
        "BOOL": np.bool_, "UINT8": np.uint8, "BF16": ml_dtypes.bfloat16, "FP8": ml_dtypes.float8_e4m3fn,
    }  # fmt: skip
    for name, dtype in types.items():
        if getattr(trt.DataType, name, None) == kind:
            found: np.dtype[Any] = np.dtype(dtype)
            return found
    return None


def layers(trt: Any, engine: Any) -> tuple[Shares, list[str]]:
    """The precisions that the engine's layers write, by share, and a line for each layer: name, type, precision."""
    try:
        text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        table = json.loads(text).get("Layers", [])
    except Exception as error:  # an engine without details gives other text, an old one no inspector
        return Shares(), [f"the inspector's table can't be read: {one_line(error, 120)}"]
    shares, lines = Shares(), []
    for layer in table:
        if not isinstance(layer, Mapping):
            lines.append(one_line(layer, 160))
            continue
        kind, precision = str(layer.get("LayerType", "?")), _precision(layer)
        if precision is not None and kind not in _COPIES:
            shares.add(precision)
        lines.append(one_line(f"{layer.get('Name', '?')}: {kind}, {precision or 'no float'}", 160))
    return shares, lines[:MOST_LAYERS]


def layer_outputs(told: str) -> tuple[str, ...] | None:
    """The tensors that layers make, from an engine's description in JSON; None where it holds no more than names."""
    try:
        table = json.loads(told)["Layers"]
        made = {tensor["Name"] for layer in table for tensor in layer["Outputs"]}
    except (ValueError, KeyError, TypeError):  # built with less verbosity, layers are mere strings
        return None
    return tuple(sorted(made))


def _precision(layer: Mapping[str, Any]) -> str | None:
    """The type that the layer writes; products of 8 bits that write floats are told by what they read."""
    read = [_type(each) for each in layer.get("Inputs", []) if isinstance(each, Mapping)]
    if _PRODUCTS.search(str(layer.get("LayerType", ""))):
        narrow = next((word for word in read if word in ("int8", "fp8")), None)
        if narrow is not None:
            return narrow
    for side in ("Outputs", "Inputs"):
        words = [_type(each) for each in layer.get(side, []) if isinstance(each, Mapping)]
        narrow = next((word for word in words if word is not None), None)
        if narrow is not None:
            return narrow
    return None


def _type(port: Mapping[str, Any]) -> str | None:
    text = str(port.get("Datatype") or port.get("Format/Datatype") or "").lower()
    return next((word for name, word in _TYPES.items() if name in text), None)


def _pointer(capsule: Any) -> int:
    """The address in a PyCapsule; a plain number is one already."""
    if isinstance(capsule, int):
        return capsule
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)) or 0)
