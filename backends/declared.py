"""What an ONNX file declares: its inputs, its outputs, and the precision it is written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from sysnoise_conform.backends.skeleton import read_skeleton

FLOAT_WORDS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}
_QUANTISED = {"DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger"}


@dataclass(frozen=True)
class Port:
    """A graph input or output: its name, its ONNX element type, its shape (None: unknown or symbolic)."""

    name: str
    elem_type: int
    shape: tuple[int | None, ...] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype that stands for the element type (bfloat16 and float8 are ml_dtypes')."""
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self.elem_type))


@dataclass(frozen=True)
class Declared:
    """The signature of a graph, in its order, and the precision of its weights (`fp32`, `fp16`, `int8`...)."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    precision: str


def read(path: Path) -> Declared:
    """What the file at `path` declares; weights outside of the file are not opened."""
    graph = read_skeleton(path).graph
    constants = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    return Declared(
        inputs=tuple(_port(each) for each in graph.input if each.name not in constants),
        outputs=tuple(_port(each) for each in graph.output),
        precision=_precision(graph),
    )


def _port(info: onnx.ValueInfoProto) -> Port:
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Port(name=info.name, elem_type=tensor.elem_type, shape=shape)


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _precision(graph: onnx.GraphProto) -> str:
    """The type that most weights have; without float weights, that of the first float input, else of any."""
    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    sizes: Counter[str] = Counter()
    for tensor in _constants(graph):
        if tensor.data_type in FLOAT_WORDS:
            sizes[FLOAT_WORDS[tensor.data_type]] += max(1, int(np.prod(tensor.dims)))
    if sizes:
        return sizes.most_common(1)[0][0]
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in FLOAT_WORDS:
            return FLOAT_WORDS[info.type.tensor_type.elem_type]
    return "integers"
