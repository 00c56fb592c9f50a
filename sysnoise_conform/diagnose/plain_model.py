"""A small model whose inputs and outputs have plain names, and the arrays that belong to it under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

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
    got: Mapping[str, Arrays],
    *,
    converter: bool,
) -> Plain:
    """Give `model`, which is the caller's own copy, plain names. For a `converter` sizes become the arrays'."""
    graph = model.graph
    namer = Namer(graph)
    plain: dict[str, str] = {}
    for kind, ports, arrays in (("input", graph.input, inputs), ("output", graph.output, expected)):
        for number, name in enumerate(each.name for each in ports if each.name in arrays):
            plain[name] = namer.fresh(f"{kind}_{number}")
    for node in graph.node:
        rename(node, plain)
    for field in (graph.input, graph.output, graph.initializer, graph.value_info):
        for each in field:
            each.name = plain.get(each.name, each.name)
    made = Plain(
        model=model,
        inputs={new: _storable(inputs[old]) for old, new in plain.items() if old in inputs},
        expected={new: _storable(expected[old]) for old, new in plain.items() if old in expected},
        got={new: _storable(got[old]) for old, new in plain.items() if old in got},
        tensors={new: old for old, new in plain.items()},
    )
    if converter:
        _fix_sizes(made)
        _flatten(made, namer)
    return made


def _storable(array: Arrays) -> Arrays:
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
    """Converters stumble over open sizes."""
    graph = made.model.graph
    del graph.value_info[:]
    for port in (*graph.input, *graph.output):
        array = made.inputs.get(port.name, made.expected.get(port.name))
        if array is not None:
            sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in array.shape]
            port.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))


def _flatten(made: Plain, namer: Namer) -> None:
    """Let outputs of three dimensions and more leave as vectors: a converter to NHWC could turn them, unseen."""
    graph = made.model.graph
    flat = namer.fresh("one_dimension")
    for port in graph.output:
        array = made.expected.get(port.name)
        if array is None or array.ndim < 3:
            continue
        dense = namer.fresh(f"{port.name}_dense")
        for node in graph.node:
            rename(node, {port.name: dense})
        graph.node.append(helper.make_node("Reshape", [dense, flat], [port.name], name=f"{port.name}_flat"))
        port.type.tensor_type.shape.CopyFrom(
            onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=array.size)])
        )
    if any(flat in node.input for node in graph.node):
        graph.initializer.append(helper.make_tensor(flat, TensorProto.INT64, [1], [-1]))
