"""Small deployed files: y = x + w over [1, 4] as TFLite and as OpenVINO IR, to be spoiled by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx_files import model, node, port, save, stored

IR = """<?xml version="1.0"?>
<net name="add" version="11">
<layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" shape="1,4" offset="0" size="16"/>
<output><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="2" name="add" type="Add" version="opset1"><data auto_broadcast="numpy"/>
<input><port id="0"><dim>1</dim><dim>4</dim></port><port id="1"><dim>1</dim><dim>4</dim></port></input>
<output><port id="2" precision="FP32" names="y"><dim>1</dim><dim>4</dim></port></output></layer>
<layer id="3" name="result" type="Result" version="opset1">
<input><port id="0"><dim>1</dim><dim>4</dim></port></input></layer>
</layers>
<edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
</edges>
</net>
"""
WEIGHTS = np.array([[1, 2, 3, 4]], np.float32)


def original(folder: Path) -> Path:
    """The ONNX model that the deployed files were made from."""
    proto = model([node("Add", ["x", "w"], ["y"])], [port("x")], [port("y")], [stored("w", WEIGHTS)])
    return save(folder, proto, "original.onnx")


def ir(folder: Path, text: str = IR, weights: bytes | None = WEIGHTS.tobytes(), name: str = "model") -> Path:
    """An .xml with its .bin (none for `weights=None`); returns the .xml."""
    (folder / f"{name}.xml").write_bytes(text.encode("utf-8", "surrogateescape"))
    if weights is not None:
        (folder / f"{name}.bin").write_bytes(weights)
    return folder / f"{name}.xml"


def tensor(name: str, buffer: int = 0, shape: tuple[int, ...] = (1, 4), kind: int = 0) -> Any:
    """A tensor of the object API; `kind` is a number of TensorType."""
    made = schema.TensorT()
    made.name, made.buffer, made.shape, made.type = name, buffer, list(shape), kind
    return made


def buffer(data: bytes | None = None) -> Any:
    """A buffer of the object API."""
    made = schema.BufferT()
    made.data = None if data is None else np.frombuffer(data, np.uint8)
    return made


def add_graph() -> Any:
    """Tensors x, w, y and the operator ADD."""
    graph, operator = schema.SubGraphT(), schema.OperatorT()
    graph.tensors = [tensor("x"), tensor("w", 1), tensor("y")]
    graph.inputs, graph.outputs = [0], [2]
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1], [2]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph.operators = [operator]
    return graph


def add_model() -> Any:
    """y = x + w, in the object API of the format."""
    made, code = schema.ModelT(), schema.OperatorCodeT()
    code.version = 1
    made.version, made.operatorCodes, made.subgraphs = 3, [code], [add_graph()]
    made.buffers = [buffer(), buffer(WEIGHTS.tobytes())]
    return made


def packed(made: Any) -> bytes:
    """The file's bytes."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tflite(folder: Path, data: bytes, name: str = "model.tflite") -> Path:
    """A file with these bytes."""
    (folder / name).write_bytes(data)
    return folder / name
