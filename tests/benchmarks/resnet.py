"""A ResNet-18 whose every operator is a module of its own, and the same network as ONNX under the same names.

The BatchNormalizations stay apart, as a network has them before a runtime folds them: 69 nodes, and 33 MB of float32
activations for one picture of 224 x 224. No exporter would leave it like that, so the graph is written here by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

SIDE = 224  # pixels
INPUT, OUTPUT = "x", "head"
OPSET, IR_VERSION = 17, 8


class Add(nn.Module):
    """The sum of a block's two branches, as a module so that a hook can see it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2015, figure 5, left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3, self.bn3 = None, None
        if stride != 1:
            self.conv3 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(self.add(y, x if self.conv3 is None else self.bn3(self.conv3(x))))


class ResNet18(nn.Module):
    """(N, 3, 224, 224) float32 to (N, 1000), with seeded random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(
            *itertools.chain.from_iterable(
                (Block(before, width, 1 if width == before else 2), Block(width, width, 1))
                for before, width in itertools.pairwise(widths)
            )
        )
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.mean(self.blocks(self.pool(self.relu(self.bn(self.conv(x))))))))


def seeded(seed: int = 0) -> ResNet18:
    """The network in evaluation mode; no running statistic is at its start value, as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = ResNet18()
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d):
                nn.init.uniform_(each.running_mean, -0.2, 0.2)
                nn.init.uniform_(each.running_var, 0.5, 1.5)
                nn.init.uniform_(each.weight, 0.5, 1.0)
                nn.init.uniform_(each.bias, -0.1, 0.1)
    return module.eval()


def operators(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module that computes something itself, by its qualified name, which is its tensor's name in the graph."""
    return ((name, each) for name, each in module.named_modules() if not list(each.children()))


def to_onnx(module: ResNet18, path: Path, *, side: int = SIDE) -> None:
    """Write the network to `path`: the nodes in the order in which a forward pass meets them, weights inside."""
    nodes: list[onnx.NodeProto] = []
    made: dict[int, str] = {}  # the identity of a tensor -> its name; the tensors live as long as `alive`
    alive: list[Tensor] = []

    def meet(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(operator: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nodes.append(_node(name, operator, [made[id(each)] for each in inputs]))
            alive.append(output)
            made[id(output)] = name

        return hook

    handles = [operator.register_forward_hook(meet(name)) for name, operator in operators(module)]
    picture = torch.zeros(1, 3, side, side)
    made[id(picture)] = INPUT
    with torch.inference_mode():
        module(picture)
    for handle in handles:
        handle.remove()
    weights = [
        numpy_helper.from_array(value.numpy(), name)
        for name, value in module.state_dict().items()
        if value.dtype == torch.float32
    ]
    graph = helper.make_graph(
        nodes,
        "resnet18",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 1000])],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _node(name: str, operator: nn.Module, inputs: list[str]) -> onnx.NodeProto:
    """The ONNX node that does what a module does."""
    match operator:
        case nn.Conv2d(kernel_size=kernel, stride=stride, padding=padding):
            return helper.make_node(
                "Conv", [*inputs, f"{name}.weight"], [name], name, kernel_shape=kernel, strides=stride,
                pads=[*padding, *padding],
            )  # fmt: skip
        case nn.BatchNorm2d(eps=eps):
            statistics = [f"{name}.{each}" for each in ("weight", "bias", "running_mean", "running_var")]
            return helper.make_node("BatchNormalization", [*inputs, *statistics], [name], name, epsilon=eps)
        case nn.ReLU():
            return helper.make_node("Relu", inputs, [name], name)
        case nn.MaxPool2d(kernel_size=size, stride=step, padding=pad):
            return helper.make_node(
                "MaxPool", inputs, [name], name, kernel_shape=[size] * 2, strides=[step] * 2, pads=[pad] * 4
            )
        case Add():
            return helper.make_node("Add", inputs, [name], name)
        case nn.AdaptiveAvgPool2d():
            return helper.make_node("GlobalAveragePool", inputs, [name], name)
        case nn.Flatten():
            return helper.make_node("Flatten", inputs, [name], name)
        case nn.Linear():
            return helper.make_node("Gemm", [*inputs, f"{name}.weight", f"{name}.bias"], [name], name, transB=1)
    raise TypeError(f"no node is known for {type(operator).__name__}")
