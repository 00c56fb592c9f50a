"""Small ONNX files for tests, well-formed and broken ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node
Shape = Sequence[int | str | None] | None


def port(name: str, shape: Shape = (1, 4), elem_type: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def stored(name: str, values: object, dtype: object = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def body(nodes: Iterable[NodeProto], outputs: Iterable[ValueInfoProto]) -> GraphProto:
    return helper.make_graph(list(nodes), "body", [], list(outputs))


def model(
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto] = (),
    outputs: Iterable[ValueInfoProto] = (),
    initializers: Iterable[TensorProto] = (),
    *,
    functions: Iterable[FunctionProto] = (),
    opset: int = 18,
    ir: int = 9,
    domains: Iterable[str] = (),
) -> ModelProto:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), initializer=list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(each, 1) for each in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))


def relu(name: str = "x", shape: Shape = (1, 4), elem_type: int = TensorProto.FLOAT) -> ModelProto:
    return model(
        [node("Relu", [name], ["y"], name="relu")], [port(name, shape, elem_type)], [port("y", shape, elem_type)]
    )


def save(folder: Path, proto: ModelProto | bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def external(name: str, dims: Sequence[int], entries: dict[str, object]) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def adds_stored(tensor: TensorProto) -> ModelProto:
    return model([node("Add", ["x", "w"], ["y"])], [port("x", (4,))], [port("y", (4,))], [tensor])


def run_reference(proto: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX's own slow interpreter: what the graph means."""
    return list(ReferenceEvaluator(onnx.ModelProto.FromString(proto.SerializeToString())).run(None, feeds))
