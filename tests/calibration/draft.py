"""A small graph under construction: ONNX nodes with seeded weights, and inputs as such a network would get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
Feed = dict[str, Array]

OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A model and its samples of one each; it takes any number at once (the first axis), and keeps them apart."""

    name: str
    family: str
    model: onnx.ModelProto
    feeds: tuple[Feed, ...]

    @property
    def ops(self) -> set[str]:
        """The operator types in it."""
        return {each.op_type for each in self.model.graph.node}


class Draft:
    """Adds one node after another; every method returns the name of the tensor that it makes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._makers: dict[str, Callable[[np.random.Generator, int], Array]] = {}

    def input(
        self, name: str, shape: Sequence[int], make: Callable[[np.random.Generator, tuple[int, ...]], Array]
    ) -> str:
        """A graph input of `shape` behind an open batch axis; `make` draws samples of a whole shape."""
        kind = helper.np_dtype_to_tensor_dtype(make(np.random.default_rng(0), (1, *shape)).dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, ["batch", *shape]))
        self._makers[name] = lambda rng, batch: make(rng, (batch, *shape))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """One node; the name of its first output, the others follow as `NAME_1` and on."""
        stem = f"{kind.lower()}_{len(self._nodes)}"
        names = [stem, *(f"{stem}_{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=f"node_{stem}", **attributes))
        return stem

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        name = f"w_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def shape(self, *sizes: int) -> str:
        """A vector of int64."""
        return self.constant(sizes, np.int64)

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """Normal weights."""
        return self.constant(self.rng.normal(0, scale, shape))

    def uniform(self, low: float, high: float, *shape: int) -> str:
        """Uniform weights."""
        return self.constant(self.rng.uniform(low, high, shape))

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int | tuple[int, ...] = 3, *, stride: int = 1, groups: int = 1,
        dilation: int = 1, bias: bool = True, gain: float = 2.0, rank: int = 2, pad: int | None = None,
    ) -> str:  # fmt: skip
        """A convolution of the same size (before its stride), He-initialised."""
        sizes = (kernel,) * rank if isinstance(kernel, int) else kernel
        fan_in = inputs // groups * int(np.prod(sizes))
        weights = [self.normal(outputs, inputs // groups, *sizes, scale=(gain / fan_in) ** 0.5)]
        if bias:
            weights.append(self.normal(outputs, scale=0.1))
        pads = [(each - 1) * dilation // 2 if pad is None else pad for each in sizes]
        return self.op(
            "Conv", x, *weights, kernel_shape=list(sizes), strides=[stride] * rank, group=groups,
            dilations=[dilation] * rank, pads=[*pads, *pads],
        )  # fmt: skip

    def deconv(self, x: str, inputs: int, outputs: int, kernel: int = 4, stride: int = 2) -> str:
        """A transposed convolution that multiplies the size by its stride."""
        pad = (kernel - stride) // 2
        scale = (2.0 * stride**2 / (inputs * kernel**2)) ** 0.5
        return self.op(
            "ConvTranspose", x,
            self.normal(inputs, outputs, kernel, kernel, scale=scale), self.normal(outputs, scale=0.1),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4,
        )  # fmt: skip

    def batch_norm(self, x: str, channels: int) -> str:
        """Statistics as training leaves them: no channel at its start value."""
        return self.op(
            "BatchNormalization", x, self.uniform(0.6, 1.2, channels), self.normal(channels, scale=0.2),
            self.normal(channels, scale=0.3), self.uniform(0.5, 2.0, channels), epsilon=1e-5,
        )  # fmt: skip

    def linear(self, x: str, inputs: int, outputs: int, *, gain: float = 1.0, bias: bool = True) -> str:
        """MatMul and Add over the last axis."""
        y = self.op("MatMul", x, self.normal(inputs, outputs, scale=(gain / inputs) ** 0.5))
        return self.op("Add", y, self.normal(outputs, scale=0.1)) if bias else y

    def gemm(self, x: str, inputs: int, outputs: int, *, gain: float = 1.0) -> str:
        """A fully connected layer with its weights as PyTorch keeps them."""
        weights = self.normal(outputs, inputs, scale=(gain / inputs) ** 0.5)
        return self.op("Gemm", x, weights, self.normal(outputs, scale=0.1), transB=1)

    def layer_norm(self, x: str, width: int, *, decomposed: bool = False) -> str:
        """As one operator, or as exporters before opset 17 wrote it."""
        scale, shift = self.uniform(0.7, 1.3, width), self.normal(width, scale=0.1)
        if not decomposed:
            return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Pow", centred, self.constant(2.0)), axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(1e-5)))
        return self.op("Add", self.op("Mul", self.op("Div", centred, deviation), scale), shift)

    def activation(self, x: str, kind: str, channels: int = 1) -> str:
        """One of the usual nonlinearities, also those that exporters write as several nodes."""
        match kind:
            case "LeakyRelu":
                return self.op(kind, x, alpha=0.1)
            case "PRelu":
                return self.op(kind, x, self.uniform(0.05, 0.4, channels, 1, 1))
            case "Clip":
                return self.op(kind, x, self.constant(0.0), self.constant(6.0))
            case "SiLU":
                return self.op("Mul", x, self.op("Sigmoid", x))
            case "Mish":
                return self.op("Mul", x, self.op("Tanh", self.op("Softplus", x)))
            case "Gelu":  # as torch.onnx writes it
                y = self.op("Erf", self.op("Mul", x, self.constant(0.5**0.5)))
                return self.op("Mul", self.op("Mul", x, self.constant(0.5)), self.op("Add", y, self.constant(1.0)))
            case "GeluTanh":
                cube = self.op("Mul", self.op("Pow", x, self.constant(3.0)), self.constant(0.044715))
                inner = self.op("Mul", self.op("Add", x, cube), self.constant((2 / np.pi) ** 0.5))
                return self.op(
                    "Mul",
                    self.op("Mul", x, self.constant(0.5)),
                    self.op("Add", self.op("Tanh", inner), self.constant(1.0)),
                )
            case _:
                return self.op(kind, x)

    def network(
        self, name: str, family: str, outputs: Sequence[str], samples: int, *, opset: int = OPSET
    ) -> Network:
        """The finished network. Raises what ONNX's checker says of a graph that is not valid."""
        graph = helper.make_graph(
            self._nodes,
            name,
            self._inputs,
            [helper.make_empty_tensor_value_info(each) for each in outputs],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
        found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        del model.graph.output[:]
        model.graph.output.extend(found.graph.output)
        onnx.checker.check_model(model)
        feeds = tuple({key: make(self.rng, 1) for key, make in self._makers.items()} for _ in range(samples))
        return Network(name=name, family=family, model=model, feeds=feeds)


def pictures(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Smooth images with some grain, normalised as for ImageNet: mean about 0, deviation about 1."""
    n, channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.zeros(shape)
    for _ in range(6):
        fy, fx = rng.uniform(-6, 6, (2, n, channels, 1, 1))
        waves += rng.normal(0, 0.5, (n, channels, 1, 1)) * np.sin(
            2 * np.pi * (fy * y + fx * x) + rng.uniform(0, 6.3, (n, 1, 1, 1))
        )
    return (waves + rng.normal(0, 0.2, shape)).astype(np.float32)


def normals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal values."""
    return rng.normal(size=shape).astype(np.float32)


def sounds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A few tones with noise, in -1..1."""
    time = np.arange(shape[-1])
    total = rng.normal(0, 0.02, shape)
    for _ in range(4):
        pitch, phase, loud = (
            rng.uniform(0.01, 0.6, (*shape[:-1], 1)),
            rng.uniform(0, 6.3, (*shape[:-1], 1)),
            rng.uniform(0, 0.25, (*shape[:-1], 1)),
        )
        total = total + loud * np.sin(pitch * time + phase)
    return np.clip(total, -1, 1).astype(np.float32)


def ids(vocabulary: int) -> Callable[[np.random.Generator, tuple[int, ...]], Array]:
    """Token numbers; frequent ones come more often, as in language."""
    return lambda rng, shape: np.minimum(rng.zipf(1.3, shape) - 1, vocabulary - 1).astype(np.int64)


def measurements(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Columns of a table: each of another size and spread, all positive."""
    columns = np.exp(np.linspace(-1, 4, shape[-1]))
    return (columns * rng.lognormal(0, 0.5, shape)).astype(np.float32)
