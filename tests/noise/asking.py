"""Small models and whoever runs them, for the tests of a graph's noises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from graphs import build_of

from sysnoise_conform.backends.torch import Torch
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.matrix.graphs import Ask, Graphs


def asking(folder: Path) -> Ask:
    """Runs graphs as the matrix does, in this process."""

    def ask(proto: onnx.ModelProto, tensor: np.ndarray) -> Mapping[str, np.ndarray]:
        feeds = {proto.graph.input[0].name: tensor}
        return Torch().compile(build_of(proto, folder / "asked", feeds)).run(feeds)

    return ask


def graphs_of(proto: onnx.ModelProto, folder: Path) -> Graphs:
    """The graphs of a model, opened as always."""
    onnx.save(proto, folder / "own.onnx")
    model = open_model(folder / "own.onnx")
    return Graphs(model, model.inputs[0], asking(folder))


def ort(proto: onnx.ModelProto | Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's outputs, without its optimiser."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: array for each, array in zip(session.get_inputs(), inputs, strict=True)})
