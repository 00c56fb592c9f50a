"""The TFLite interpreter that really works here, and what it says of a loaded file."""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sysnoise_conform.backends.shares import Shares
from sysnoise_conform.errors import BackendUnavailable
from sysnoise_conform.printable import one_line

# Modules with the same Interpreter, the maintained one first, and the packages that bring them.
_HOMES = (
    ("ai_edge_litert.interpreter", "LiteRT", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime", "tflite-runtime"),
)
# y = x + x over two floats. Only running a model proves an interpreter: with a numpy that it was not built
# for, tflite-runtime imports and then fails to construct one.
_TINY = zlib.decompress(
    base64.b64decode(
        "eNptkbFOwzAQhi8QVVETlQ4ZitShAyMDtBIzE2LoyB6liY0ilcRyHJRuDDwED8JjMDLwEEy8QPjtXCBCJPpy9vn/z/ZlSUR3N9tN"
        "TCta0oJimlOEnE8BxoQcYYXoDJyDW7AFx8DjuY0GHIFP8AZOQVWW7drIldynZtdIKXSSF1pkhj3vHF/xeem6znP79l4t8iYTeaKg"
        "L+qiKpO6UarShqbuhAGUU+ii0RlPQC30Y1HeJ7mQabM3rn7M+1hNwN6Acz7HA/jCGYZ5SxOnm7AmBFJdXqVZJtVm7VZsnmj20zWr"
        "n/F+iz+9szUfOF5wHCDu3RO45pq2hq0Zcs15LwsjHj9zvzz2Ds8H8rG75++9DyPdEIf/3CvJ3TJmz9jb/uP13Uv0DUbHO0Y="
    )
)
_WORDS = {
    "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "int8": "int8", "uint8": "int8",
    "int16": "int16",
}  # fmt: skip
# Operators that convert, view or move, whatever type they do it in.
_PLUMBING = {
    "DELEGATE", "QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "PACK",
    "UNPACK", "CONCATENATION", "SPLIT", "SLICE", "STRIDED_SLICE", "GATHER", "PAD", "PADV2", "TILE", "BROADCAST_TO",
}  # fmt: skip
_PRODUCTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"}


@dataclass(frozen=True)
class Home:
    """An interpreter module, and the name and version of what brings it."""

    module: Any
    name: str
    version: str


def find() -> Home:
    """The first interpreter that runs a tiny model. Raises `BackendUnavailable` with each one's reason."""
    reasons = []
    for module_name, name, package in _HOMES:
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            reasons.append(f"{name}: {one_line(error, 100)}")
            continue
        try:
            _double(module)
        except Exception as error:  # SystemError, ImportError, AttributeError: whatever a foreign ABI brings about
            reasons.append(f"{name} is installed and does not run: {one_line(error, 100)}")
            continue
        return Home(module, name, importlib.metadata.version(package))
    raise BackendUnavailable(
        "no TFLite interpreter works here: " + "; ".join(reasons),
        hint="pip install 'sysnoise-conform[tflite]', or conform env create tflite",
    )


def _double(module: Any) -> None:
    tiny = module.Interpreter(model_content=_TINY)
    tiny.allocate_tensors()
    tiny.set_tensor(tiny.get_input_details()[0]["index"], np.array([1, 2], np.float32))
    tiny.invoke()
    got = tiny.get_tensor(tiny.get_output_details()[0]["index"])
    if got.tolist() != [2.0, 4.0]:
        raise RuntimeError(f"it computes [1, 2] + [1, 2] = {got.tolist()}")


def load(home: Home, path: Path, *, delegate: str, threads: int, keep_all: bool = False) -> Any:
    """An interpreter with its memory planned; `delegate` is `xnnpack` (its own default) or `none`.

    Without `keep_all` the memory of inner tensors is used again, and what is read from there is another tensor's.
    """
    resolvers = home.module.OpResolverType
    resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegate == "none" else resolvers.AUTO
    interpreter = home.module.Interpreter(
        model_path=str(path), num_threads=threads or None, experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=keep_all,
    )
    interpreter.allocate_tensors()
    return interpreter


def delegated(interpreter: Any) -> str:
    """What took operators away from the builtin kernels, read from the execution plan."""
    partitions = sum(each["op_name"] == "DELEGATE" for each in interpreter._get_ops_details())
    return f"XNNPACK, {partitions} partition{'s' if partitions != 1 else ''}" if partitions else "none"


def shares(interpreter: Any) -> Shares:
    """The types that the operators compute in, by share.

    A product of float activations with 8-bit weights, quantised as they come, counts as `int8 dynamic`.
    """
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    found = Shares()
    for each in interpreter._get_ops_details():
        if each["op_name"] in _PLUMBING:
            continue
        inputs, outputs = ([details.get(int(index)) for index in each[side]] for side in ("inputs", "outputs"))
        word = next((_word(tensor) for tensor in outputs if _word(tensor) is not None), None)
        if word is None:
            continue
        product = each["op_name"] in _PRODUCTS and len(inputs) > 1
        if product and word in ("fp32", "fp16") and _word(inputs[1]) == "int8":
            word = "int8 dynamic"
        found.add(word, _flops(each["op_name"], inputs, outputs) if product else 0)
    return found


def _word(tensor: Mapping[str, Any] | None) -> str | None:
    return None if tensor is None else _WORDS.get(np.dtype(tensor["dtype"]).name)


def _flops(name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
    """Two for each product; the weight is (out, kh, kw, in), or (1, kh, kw, out) of a depthwise convolution."""
    data, weight, out = inputs[0], inputs[1], outputs[0]
    if data is None or weight is None or out is None:
        return 0.0
    shape = [int(size) for size in weight["shape"]]
    elements = prod(int(size) for size in out["shape"])
    if name == "DEPTHWISE_CONV_2D":
        return 2.0 * elements * prod(shape[1:3])
    if name == "TRANSPOSE_CONV":  # (shape, weight, data): each element of the data meets one kernel
        third = inputs[2] if len(inputs) > 2 else None
        return 0.0 if third is None else 2.0 * prod(int(size) for size in third["shape"]) * prod(shape[:3])
    if name == "BATCH_MATMUL":
        return 2.0 * elements * int(data["shape"][-1])
    return 2.0 * elements * prod(shape[1:])


def inner(interpreter: Any, names: Collection[str]) -> dict[str, int]:
    """The indices of the tensors called `names`, where operators make them and just one has that name."""
    made = {int(index) for each in interpreter._get_ops_details() for index in each["outputs"]}
    found: dict[str, list[int]] = {}
    for each in interpreter.get_tensor_details():
        if each["name"] in names and each["index"] in made:
            found.setdefault(each["name"], []).append(each["index"])
    return {name: indices[0] for name, indices in found.items() if len(indices) == 1}


def ports(interpreter: Any, side: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The `inputs` or `outputs` with their tensor names, as (name, detail)."""
    details = interpreter.get_input_details() if side == "inputs" else interpreter.get_output_details()
    return [(each["name"], each) for each in details]
