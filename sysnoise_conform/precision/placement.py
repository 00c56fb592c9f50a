"""Which tensors of a graph become integers, and with whose scale: the decision, before anything is rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import onnx
from onnx import NodeProto

from sysnoise_conform.graph import walk
from sysnoise_conform.graph.order import dependent
from sysnoise_conform.graph.shape_slice import shape_slice
from sysnoise_conform.graph.types import infer
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.presets import INPUTS, Preset

FLOAT = "tensor(float)"

# Beyond float16's range no network computes; masks are filled with -1e9, or with float32's lowest. Their makers and
# readers stay in float whatever the preset: onnxruntime's quantiser would take them, and leave nothing of attention.
MASK = 65504.0

# Operator -> position of its weights and of its bias. Their first input is the data.
WEIGHTED = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1, None)}

# What onnxruntime.quantization quantises besides (its QDQ and QLinear registries), less what gives no floats.
_ARITHMETIC = frozenset({
    "Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul",
    "Relu", "Sigmoid", "Softmax", "Sub", "Tanh", "Where",
})  # fmt: skip
# Operators that move values: output and input share a scale, and they are integers only where their input is.
_MOVING = frozenset({
    "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "MaxPool", "Pad", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample",
})  # fmt: skip
# Of the operators without weights, those with integer kernels where only inputs are quantised.
_WITH_KERNELS = frozenset({"Add", "AveragePool", "GlobalAveragePool"})
_ABSORBED = frozenset({"Relu", "Clip"})  # into the operator before them: no rounding lies between


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """A weight of one node: `axis` is that of the output channels, None for one scale."""

    tensor: str
    axis: int | None


@dataclass(kw_only=True, slots=True)
class Placement:
    """What is to be quantised.

    `activations`: tensor -> the tensor whose scale it has (itself, but behind operators that move values). `edges`:
    (node position, input position) that read integers; None: everybody does. `weights` and `constants`: by (node,
    input position); constants are operands that are no weights, per tensor. `biases`: node -> input position. `left`:
    node -> why it stays in float, of those that could be integers elsewhere. `masks`: activations too large for data.
    `kept`: nodes that read what they read before its rounding, since they were asked to compute in float.
    """

    activations: dict[str, str] = field(default_factory=dict)
    edges: set[tuple[int, int]] | None = None
    weights: dict[tuple[int, int], Weight] = field(default_factory=dict)
    constants: dict[tuple[int, int], str] = field(default_factory=dict)
    biases: dict[int, int] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    nodes: set[int] = field(default_factory=set)
    masks: set[str] = field(default_factory=set)
    kept: frozenset[int] = frozenset()


def place(
    proto: onnx.ModelProto, preset: Preset, ranges: Ranges, keep: Collection[int], broken: Collection[str] = ()
) -> Placement:
    """Decide for a sorted graph whose float constants are initialisers.

    `keep` holds positions of nodes, `broken` weights that are not finite: what reads them stays in float.
    """
    return _Placing(proto, preset, ranges, keep, broken).decided()


class _Placing:
    def __init__(
        self, proto: onnx.ModelProto, preset: Preset, ranges: Ranges, keep: Collection[int], broken: Collection[str]
    ) -> None:
        graph = proto.graph
        self._nodes = list(graph.node)
        self._preset = preset
        self._ranges = ranges
        self._keep = keep
        self._broken = broken
        self._types = infer(graph, {each.domain: each.version for each in proto.opset_import})
        self._stored = {each.name: each for each in graph.initializer}
        fed = [each.name for each in graph.input if each.name not in self._stored]
        self._fed = dependent(graph, frozenset(fed))
        self._slice = shape_slice(graph, proto.functions)
        self._outputs = {each.name for each in graph.output}
        self._readers = Counter(name for node in graph.node for name in walk.reads(node))
        self._reader = {name: node for node in graph.node for name in walk.reads(node)}
        self._found = Placement(edges=set() if preset.placement == INPUTS else None, kept=frozenset(keep))

    def decided(self) -> Placement:
        for at, node in enumerate(self._nodes):
            if node.domain:
                continue
            if at in self._keep:
                if node.op_type in WEIGHTED or node.op_type in _ARITHMETIC | _MOVING:
                    self._found.left[at] = "asked for"
            elif self._masked(node) and node.op_type in WEIGHTED.keys() | _ARITHMETIC | _MOVING:
                self._found.left[at] = "mask"
            elif node.op_type in WEIGHTED:
                self._weighted(at, node)
            elif self._found.edges is not None:
                if node.op_type in _WITH_KERNELS:
                    self._kernel(at, node)
            elif node.op_type in _MOVING:
                self._moving(at, node)
            elif node.op_type in _ARITHMETIC:
                self._arithmetic(at, node)
        return self._found

    def _weighted(self, at: int, node: NodeProto) -> None:
        weight_at, bias_at = WEIGHTED[node.op_type]
        data = [position for position in (0, weight_at) if self._quantisable(node.input[position])]
        stored = [position for position in (0, weight_at) if self._is_constant(node.input[position])]
        if not data or len(data) + len(stored) < 2:
            self._found.left[at] = self._reason(node.input[0] if not data else node.input[weight_at])
            return
        self._found.nodes.add(at)
        for position in data:
            self._activation(at, position, node.input[position])
        for position in stored:
            name = node.input[position]
            axis = self._axis(node, name) if self._preset.per_channel and position == weight_at else None
            self._found.weights[at, position] = Weight(tensor=name, axis=axis)
        if bias_at is not None and self._preset.integer_bias and self._plain_bias(node, bias_at) and 0 in data:
            self._found.biases[at] = bias_at
        self._output(node)

    def _kernel(self, at: int, node: NodeProto) -> None:
        """An operator without weights, where only inputs are quantised: all of its inputs, or none."""
        names = [name for name in node.input if name]
        if all(self._quantisable(name) for name in names):
            self._found.nodes.add(at)
            for position, name in enumerate(node.input):
                self._activation(at, position, name)

    def _moving(self, at: int, node: NodeProto) -> None:
        root = self._found.activations.get(node.input[0])
        if root is None:
            return
        self._found.nodes.add(at)
        for name in node.output:
            if name and self._quantisable(name):
                self._found.activations.setdefault(name, root)

    def _arithmetic(self, at: int, node: NodeProto) -> None:
        floats = [
            (position, name) for position, name in enumerate(node.input) if name and self._types.get(name) == FLOAT
        ]
        operands = floats[:1] if node.op_type == "Clip" else floats  # its bounds are no data
        if operands and self._absorbed(operands[0][1], node):
            self._found.nodes.add(at)
            self._output(node)
            return
        if not operands or not all(self._quantisable(name) or self._is_constant(name) for _, name in operands):
            return
        if not any(self._quantisable(name) for _, name in operands):
            return
        self._found.nodes.add(at)
        for position, name in operands:
            if self._quantisable(name):
                self._activation(at, position, name)
            else:
                self._found.constants[at, position] = name
        self._output(node)

    def _activation(self, at: int, position: int, name: str) -> None:
        self._found.activations.setdefault(name, name)
        if self._found.edges is not None:
            self._found.edges.add((at, position))

    def _output(self, node: NodeProto) -> None:
        if self._found.edges is not None:
            return
        for name in node.output:
            if name and self._quantisable(name) and not self._is_absorbed(name):
                self._found.activations.setdefault(name, name)

    def _is_absorbed(self, name: str) -> bool:
        """Whether the only reader of a tensor is an activation function that runtimes put into its maker."""
        reader = self._reader.get(name)
        return (
            name not in self._outputs and self._readers[name] == 1 and reader is not None
            and reader.op_type in _ABSORBED and not reader.domain and reader.input[0] == name
        )  # fmt: skip

    def _absorbed(self, name: str, node: NodeProto) -> bool:
        return node.op_type in _ABSORBED and self._is_absorbed(name) and name not in self._found.activations and any(
            name in self._nodes[at].output for at in self._found.nodes
        )

    def _masked(self, node: NodeProto) -> bool:
        found = {
            name for name in (*node.input, *node.output) if name in self._ranges and self._ranges[name].largest > MASK
        }
        self._found.masks |= found
        return bool(found)

    def _quantisable(self, name: str) -> bool:
        seen = self._ranges.get(name)
        return (
            self._types.get(name) == FLOAT and name in self._fed and name not in self._slice
            and seen is not None and not seen.nonfinite and seen.largest <= MASK
        )  # fmt: skip

    def _is_constant(self, name: str) -> bool:
        return name in self._stored and self._types.get(name) == FLOAT and name not in self._broken

    def _reason(self, name: str) -> str:
        seen = self._ranges.get(name)
        if self._types.get(name) != FLOAT:
            return f"{walk.quoted(name)} is no float32"
        if name in self._slice:
            return f"{walk.quoted(name)} determines a shape"
        if name in self._broken or (seen is not None and seen.nonfinite):
            return f"{walk.quoted(name)} holds NaN or infinities"
        return f"{walk.quoted(name)} is computed from weights" if name not in self._fed else "no range is known"

    def _plain_bias(self, node: NodeProto, position: int) -> bool:
        """A bias that int32 with the product's scale can stand for."""
        if len(node.input) <= position or not self._is_constant(node.input[position]):
            return False
        factors = {each.name: each.f for each in node.attribute if each.name in ("alpha", "beta")}
        return all(value == 1 for value in factors.values()) and len(self._stored[node.input[position]].dims) == 1

    def _axis(self, node: NodeProto, name: str) -> int | None:
        rank = len(self._stored[name].dims)
        attributes = {each.name: each.i for each in node.attribute}
        match node.op_type:
            case "Conv":
                return 0
            case "ConvTranspose":  # its output channels lie along axis 1, once for each group
                return 1 if attributes.get("group", 1) == 1 else None
            case "Gemm":
                return 0 if attributes.get("transB", 0) else 1
            case _:
                return rank - 1 if rank >= 2 else None


def described(nodes: Iterator[NodeProto]) -> str:
    """The operators of a graph in words, the most frequent first."""
    counts = Counter(each.op_type for each in nodes)
    return ", ".join(name for name, _ in counts.most_common(6))
