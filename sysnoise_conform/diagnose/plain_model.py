"""A small model whose inputs and outputs have plain names, and the arrays that belong to it under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.naming import Namer, rename
from sysnoise_conform.graph.walk import tensors

Arrays = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """The model, its arrays by plain name, and which tensor of the whole model each is."""

    model: onnx.ModelProto
    inputs: Mapping[str, Arrays]
    expected: Mapping[str, Arrays]
    got: Mapping[str, Arrays]
    tensors: Mapping[str, str]


def with_weights(model: onnx.ModelProto, data: Path | None) -> onnx.ModelProto:
    """A copy of `model` that carries its weights itself; `data` is the folder of those that lie in other files."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outside = any(each.data_location == TensorProto.EXTERNAL for each, _ in tensors(copy))
    if outside and data is None:
        raise BadModel("the model's weights lie in other files, without which it can't be run alone")
    if outside:
        onnx.load_external_data_for_model(copy, str(data))
    return copy


def plain_model(
    model: onnx.ModelProto,
    inputs: Mapping[str, Arrays],
    expected: Mapping[str, Arrays],
    got: Mapping[str, Arrays] | None = None,
) -> Plain:
    """Give every tensor of `model`, which is the caller's own copy, a plain name, and its ports the arrays' sizes.

    Outputs that nobody expects anything of are no longer outputs. Floats are expected in float64.
    """
    graph = model.graph
    unexpected = [each for each in graph.output if each.name not in expected]
    for each in unexpected:
        graph.output.remove(each)
    namer = Namer(graph)
    ports: dict[str, str] = {}
    for kind, side, arrays in (("input", graph.input, inputs), ("output", graph.output, expected)):
        for number, name in enumerate(each.name for each in side if each.name in arrays):
            ports[name] = namer.fresh(f"{kind}_{number}")
    names = dict(ports)
    stored = [*(each.name for each in graph.initializer), *(each.values.name for each in graph.sparse_initializer)]
    for kind, known in (("stored", stored), ("inner", [name for node in graph.node for name in node.output if name])):
        for name in known:
            if name not in names:
                names[name] = namer.fresh(f"{kind}_{len(names)}")
    for node in graph.node:
        rename(node, names)
    for field in (graph.input, graph.output, graph.initializer, graph.value_info):
        for each in field:
            each.name = names.get(each.name, each.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    made = Plain(
        model=model,
        inputs={new: storable(inputs[old]) for old, new in ports.items() if old in inputs},
        expected={new: _wide(storable(expected[old])) for old, new in ports.items() if old in expected},
        got={new: storable(array) for old, new in ports.items() if (array := (got or {}).get(old)) is not None},
        tensors={new: old for old, new in ports.items()},
    )
    _fix_sizes(made)
    return made


def _wide(array: Arrays) -> Arrays:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def storable(array: Arrays) -> Arrays:
    """As an array that a file of numpy keeps without pickling."""
    if array.dtype.kind == "O":
        return np.array([_word(each) for each in array.ravel()], dtype=np.str_).reshape(array.shape)
    # bfloat16, float8 and int4 are no types of numpy; float32 holds their values as they are.
    return array.astype(np.float32) if is_foreign(array.dtype) else array


def _word(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """A type that numpy itself has not."""
    return dtype.kind == "V" or dtype.isbuiltin == 2


def _fix_sizes(made: Plain) -> None:
    """Converters stumble over open sizes, and an operator alone has none."""
    graph = made.model.graph
    del graph.value_info[:]
    for port in (*graph.input, *graph.output):
        array = made.inputs.get(port.name, made.expected.get(port.name))
        if array is not None:
            sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in array.shape]
            port.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
