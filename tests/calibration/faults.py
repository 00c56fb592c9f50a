"""Faults of a known size, planted at one tensor of the graph that a healthy runtime gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def _noise(rng: np.random.Generator, shape: Shape) -> Array:
    """Every element is off by a normal error."""
    return rng.normal(size=shape)


def _channel(rng: np.random.Generator, shape: Shape) -> Array:
    """One channel has an offset."""
    error = np.zeros(shape)
    axis = 1 if len(shape) in (3, 4) else len(shape) - 1
    error[(slice(None),) * axis + (int(rng.integers(shape[axis])),)] = 1.0
    return error


def _border(rng: np.random.Generator, shape: Shape) -> Array:
    """Only the last row (of a vector: its last element) is off."""
    error = np.zeros(shape)
    axis = max(len(shape) - 2, 0) if len(shape) > 2 else len(shape) - 1
    last = (slice(None),) * axis + (-1,)
    error[last] = rng.normal(size=error[last].shape)
    return error


def _element(rng: np.random.Generator, shape: Shape) -> Array:
    """A single element is off."""
    error = np.zeros(shape)
    error.reshape(-1)[int(rng.integers(error.size))] = 1.0
    return error


# As errors of rms 1, all but the scale, which multiplies.
ADDED: Mapping[str, Callable[[np.random.Generator, Shape], Array]] = {
    "noise": _noise, "one channel": _channel, "border": _border, "one element": _element,
}  # fmt: skip
SCALE = "scale"
KINDS = (*ADDED, SCALE)


def planted(
    model: onnx.ModelProto, tensor: str, kind: str, *, rms: float, golden_rms: float, shape: Shape, seed: int
) -> onnx.ModelProto:
    """The model with an error of `rms` at `tensor`, which keeps its name; what makes it gives `TENSOR_sound`.

    `golden_rms` is the size of the tensor's own values, over all samples: a scale is fitted to it. The error of the
    other kinds is the same for every sample.
    """
    faulty = onnx.ModelProto()
    faulty.CopyFrom(model)
    maker = next(number for number, node in enumerate(faulty.graph.node) if tensor in node.output)
    node = faulty.graph.node[maker]
    node.output[list(node.output).index(tensor)] = f"{tensor}_sound"
    if kind == SCALE:
        operation, values = "Mul", np.array(1 + rms / golden_rms)
    else:
        values = ADDED[kind](np.random.default_rng(seed), shape)
        operation, values = "Add", values * (rms / np.sqrt(np.mean(values**2)))
    error = numpy_helper.from_array(values.astype(np.float32), f"{tensor}_error")
    faulty.graph.initializer.append(error)
    fault = helper.make_node(operation, [f"{tensor}_sound", error.name], [tensor], name=f"{tensor}_fault")
    faulty.graph.node.insert(maker + 1, fault)
    return faulty
