"""Weights as arrays, wherever the file keeps them, and names for what takes their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from sysnoise_conform.errors import BadModel, StorageError
from sysnoise_conform.graph.walk import attribute_of, quoted, reads
from sysnoise_conform.printable import one_line

T = TensorProto


def float_constants(graph: onnx.GraphProto) -> None:
    """Make initialisers of the main graph's Constant nodes of FLOAT, in place: weights are looked for in one place."""
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type != "Constant" or node.domain:
            continue
        value, scalar = attribute_of(node, "value"), attribute_of(node, "value_float")
        if value is not None and value.t.data_type == T.FLOAT:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        elif scalar is not None:
            graph.initializer.append(numpy_helper.from_array(np.array(scalar.f, np.float32), node.output[0]))
        else:
            continue
        del graph.node[index]


def array_of(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The values of a stored tensor; its data file lies in `folder` if it has one. Raises StorageError, BadModel."""
    try:
        return numpy_helper.to_array(tensor, base_dir=str(folder))
    except OSError as err:
        raise StorageError(
            f"can't read the weights of {quoted(tensor.name)}: {one_line(err.strerror or err)}",
            hint="the model's data file must lie beside it for as long as it is in use",
        ) from err
    except (ValueError, onnx.checker.ValidationError) as err:
        raise BadModel(f"the weights of {quoted(tensor.name)} can't be read: {one_line(err, 160)}") from err


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove initialisers that nothing reads any more, in place."""
    read = {each.name for each in graph.output}
    for node in graph.node:
        read |= reads(node)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
