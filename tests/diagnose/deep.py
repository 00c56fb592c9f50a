"""Deep networks around one thing: pools at many depths, and one operator of a known kind in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from calibration.draft import Draft, Network, pictures
from onnx import TensorProto, helper, numpy_helper

from sysnoise_conform.probe.case import ProbeCase

SEED = 1_800_000  # of no set of the calibration
LARGE = 1e30
_WHERE = 9  # the opset that has it

Middle = Callable[[Draft, str, int], str]


def pooled(g: Draft, *, size: int, width: int) -> list[str]:
    """Pools at many depths; odd sizes leave each a last window that ceil_mode adds, and any size goes through."""
    x, channels = g.input("image", (3, size, size), pictures), 3
    for kind in ("MaxPool", "AveragePool") * 2:
        x, channels = _block(g, x, channels, width), width
        y = g.conv(g.op("Relu", g.conv(x, width, width)), width, width, gain=0.5)
        x = g.op(kind, g.op("Relu", g.op("Add", x, y)), kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", g.op("GlobalAveragePool", g.op("Relu", g.conv(x, channels, 24))))
    return [g.gemm(x, 24, 20)]


def around(name: str, middle: Middle, *, opset: int, size: int = 24, width: int = 8) -> tuple[Network, str]:
    """A convolutional network with `middle(draft, tensor of shape (1, width, size, size), width)` half way through.

    Twelve operators stand before it, and twelve behind it that take any size. The second is what `middle` made.
    """
    g = Draft(SEED)
    x, channels = g.input("image", (3, size, size), pictures), 3
    for _ in range(4):
        x, channels = _block(g, x, channels, width), width
    x = made = middle(g, x, width)
    for _ in range(3):
        x = _block(g, x, width, width)
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    return g.network(name, "around", [g.gemm(x, width, 10)], 1, opset=opset), made


def _block(g: Draft, x: str, inputs: int, outputs: int) -> str:
    return g.op("Relu", g.batch_norm(g.conv(x, inputs, outputs, bias=False), outputs))


class _Sheet:
    """Nodes and constants, without a check: what a case of the corpus is, a checker may not take."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"net_{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"net_w_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape))

    def sizes(self, *sizes: int) -> str:
        return self.constant(sizes, np.int64)


def between(case: ProbeCase) -> Network:
    """A case of the corpus deep in a network: what it is fed is computed, and what it makes is read.

    A network's answer, squeezed to 0 by Sigmoid and Floor, is added to the float32 numbers that the case is fed, which
    leaves their values as they are; what is of another type stays an input. Behind the case its mean goes on, without
    what is no number, since other operators differ on that, too.
    """
    s = _Sheet()
    x, channels = "image", 3
    for _ in range(4):
        x = s.op("Relu", s.op("Conv", x, s.weights(8, channels, 3, 3), kernel_shape=[3, 3], pads=[1] * 4))
        x, channels = s.op("Mul", x, s.constant(1.1)), 8
    x = s.op("Conv", s.op("GlobalAveragePool", x), s.weights(1, 8, 1, 1), kernel_shape=[1, 1])
    nothing = s.op("Reshape", s.op("Floor", s.op("Sigmoid", x)), s.sizes(1))
    floats = {name: array for name, array in case.feeds.items() if array.dtype == np.float32}
    others = {name: array for name, array in case.feeds.items() if name not in floats}
    if case.open_batch:  # a constant's would be known
        others |= floats
        renamed = {name: s.op("Add", name, nothing) for name in floats}
    else:
        renamed = {name: s.op("Add", s.constant(array), nothing) for name, array in floats.items()}
    for node in case.nodes:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        s.nodes.append(copy)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
    s.stored.extend(numpy_helper.from_array(array, name) for name, array in case.constants.items())
    x = _digest(s, case)
    for _ in range(4):
        x = s.op("Gemm", s.op("LeakyRelu", x, alpha=0.1), s.weights(8, 8), s.weights(8), transB=1)
    picture = pictures(s.rng, (1, 3, 12, 12))
    graph = helper.make_graph(
        s.nodes, case.name,
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 12, 12]),
            *(
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype),
                    ["batch", *array.shape[1:]] if case.open_batch else array.shape,
                )
                for name, array in others.items()
            ),
        ],
        [
            helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 8]),
            *(helper.make_tensor_value_info(name, kind, None) for name, kind in list(case.outputs.items())[1:]),
        ],
        s.stored,
    )  # fmt: skip
    model = case.model()
    model.graph.CopyFrom(graph)
    return Network(name=case.name, family="between", model=model, feeds=({"image": picture, **others},))


def _digest(s: _Sheet, case: ProbeCase) -> str:
    """The case's first output as a row of eight numbers, whatever its size and type."""
    x, kind = next(iter(case.outputs.items()))
    if kind != TensorProto.FLOAT:
        x = s.op("Cast", x, to=TensorProto.FLOAT)
    if case.opset >= _WHERE:
        # MNN's Less is wrong of a NaN with a sign, and its Greater is not.
        x = s.op("Where", s.op("Greater", s.constant(LARGE), x), x, s.constant(0.0))
        x = s.op("Where", s.op("Greater", x, s.constant(-LARGE)), x, s.constant(0.0))
    x = s.op("Abs", x)  # the mean of what is normalised would be 0 however it is scaled
    x = s.op("GlobalAveragePool", s.op("Reshape", x, s.sizes(1, 1, 1, -1)))
    x = s.op("Reshape", x, s.sizes(1, 1))
    return s.op("Gemm", x, s.weights(8, 1), s.weights(8), transB=1)
