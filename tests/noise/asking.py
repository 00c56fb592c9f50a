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
from sysnoise_conform.graph.rewrite import Rewrite
from sysnoise_conform.matrix.facts import Feed, Levels
from sysnoise_conform.matrix.graphs import Ask, Distinct, Graphs


def asking(folder: Path) -> Ask:
    """Runs graphs as the matrix does, in this process."""

    def ask(proto: onnx.ModelProto, feeds: Feed) -> Mapping[str, np.ndarray]:
        return Torch().compile(build_of(proto, folder / "asked", feeds)).run(feeds)

    return ask


class OfOneInput:
    """The graphs of a model, by the array that its only input gets."""

    def __init__(self, graphs: Graphs, name: str) -> None:
        self._graphs, self._name = graphs, name
        self.settled = graphs.settled

    def resolve(self, levels: Levels, tensor: np.ndarray) -> Rewrite:
        return self._graphs.resolve(levels, {self._name: tensor})

    def write(self, levels: Levels, folder: Path, tensor: np.ndarray) -> Path:
        return self._graphs.write(levels, folder, {self._name: tensor})

    def distinct(self, axis: str, levels: list[str], tensor: np.ndarray) -> list[Distinct]:
        return self._graphs.distinct(axis, levels, {self._name: tensor})


def graphs_of(proto: onnx.ModelProto, folder: Path) -> OfOneInput:
    """The graphs of a model, opened as always."""
    onnx.save(proto, folder / "own.onnx")
    model = open_model(folder / "own.onnx")
    return OfOneInput(Graphs(model, model.inputs, asking(folder)), model.inputs[0].name)


def ort(proto: onnx.ModelProto | Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's outputs, without its optimiser."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: array for each, array in zip(session.get_inputs(), inputs, strict=True)})
