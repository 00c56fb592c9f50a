"""What a runtime with integer kernels makes one of: DequantizeLinear, operator, activation and QuantizeLinear.

ONNX writes an integer convolution as DequantizeLinear -> Conv -> Relu -> QuantizeLinear. A runtime that has a kernel
for it looks for this pattern and never makes the floats in between (ONNX Runtime's QDQ transformer, OpenVINO's
low-precision transformations, TensorRT's Q/DQ fusions). Whoever cuts a graph in between, or shows a tensor from there,
measures another kernel than the one that ships.

A block is an operator all of whose data comes out of DequantizeLinears, with these, with the activations behind it that
nobody else reads, and with the QuantizeLinears at its ends. Where there are none, it ends with the operator: integer
kernels with a result in floats are there as well. QLinearConv, ConvInteger and their like are one kernel each already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx

from sysnoise_conform.graph import walk
from sysnoise_conform.graph.order import dependent
from sysnoise_conform.graph.shape_slice import shape_slice

LONGEST_ACTIVATION = 8  # nodes; SiLU and HardSwish are written with up to five

# What integer kernels take along behind their operator, as one table look-up or in the scale: one value in, one out.
# Arithmetic counts where all but one of its inputs are constants (a bias, a folded normalisation).
ACTIVATIONS = frozenset({
    "BatchNormalization", "Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish",
    "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
    "Add", "Div", "Mul", "Sub", "Max", "Min", "QuickGelu",
})  # fmt: skip
_SHAPE_ONLY = ("Shape", "Size")  # reads no value


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Positions of nodes: the operator, all that belong together in graph order, and those at the ends."""

    operator: int
    nodes: tuple[int, ...]
    ends: tuple[int, ...]


def integer_blocks(proto: onnx.ModelProto) -> tuple[Block, ...]:
    """The blocks of a graph in the order of their operators; none where nothing is dequantised."""
    if not any(node.op_type == "DequantizeLinear" for node in proto.graph.node):
        return ()
    return tuple(_Search(proto).blocks())


def inside(proto: onnx.ModelProto, blocks: Sequence[Block]) -> frozenset[str]:
    """The tensors that live inside of blocks alone."""
    graph = proto.graph
    wanted = {each.name for each in graph.output}
    member: dict[int, set[int]] = {}
    for number, block in enumerate(blocks):
        for at in block.nodes:
            member.setdefault(at, set()).add(number)
    shown = {at for block in blocks for at in block.ends}
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    hidden = {
        name for name, at in makers.items() if at in member and at not in shown and name not in wanted
    }
    for at, node in enumerate(graph.node):
        if node.op_type in _SHAPE_ONLY:
            continue
        hidden -= {
            name for name in walk.reads(node) & hidden if not member.get(at, set()) & member[makers[name]]
        }
    return frozenset(hidden)


class _Search:
    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = self._graph = proto.graph
        stored = {each.name for each in graph.initializer}
        fed = frozenset(each.name for each in graph.input if each.name not in stored)
        self._data = (dependent(graph, fed) | fed) - shape_slice(graph, proto.functions)
        self._makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
        self._outputs = {each.name for each in graph.output}
        self._readers: dict[str, list[int]] = {}
        for at, node in enumerate(graph.node):
            if node.op_type not in _SHAPE_ONLY:
                for name in walk.reads(node):
                    self._readers.setdefault(name, []).append(at)

    def blocks(self) -> Iterator[Block]:
        for at, node in enumerate(self._graph.node):
            before = self._dequantised(at)
            if before is None or self._is(at, "DequantizeLinear"):
                continue
            behind = set[int]()
            ends = list[int]()
            if self._is(at, "QuantizeLinear"):  # from one scale to another
                ends.append(at)
            else:
                for name in (each for each in node.output if each in self._readers or each in self._outputs):
                    chain, quantisers = self._followed(name)
                    if not quantisers:
                        behind, ends = set(), [at]
                        break
                    behind |= chain
                    ends += quantisers
            if ends:
                yield Block(
                    operator=at, nodes=tuple(sorted({*before, at, *behind, *ends})), ends=tuple(sorted(set(ends)))
                )

    def _is(self, at: int, name: str) -> bool:
        return bool(self._graph.node[at].op_type == name)

    def _inputs(self, at: int) -> list[str]:
        """The data that a node reads."""
        return sorted(walk.reads(self._graph.node[at]) & self._data)

    def _dequantised(self, at: int) -> set[int] | None:
        """The DequantizeLinears that all data of a node comes out of; None where some does not, or there is none."""
        node = self._graph.node[at]
        names = self._inputs(at)
        if not names or node.op_type in _SHAPE_ONLY or any(True for _ in walk.bodies(node)):
            return None
        makers = {self._makers.get(name, -1) for name in names}
        return makers if all(each >= 0 and self._is(each, "DequantizeLinear") for each in makers) else None

    def _followed(self, tensor: str) -> tuple[set[int], list[int]]:
        """The activations behind a tensor, and the QuantizeLinears behind them; none of these where others read it."""
        chain = set[int]()
        while len(chain) <= LONGEST_ACTIVATION and tensor not in self._outputs:
            readers = set(self._readers.get(tensor, ()))
            if readers and all(self._is(each, "QuantizeLinear") for each in readers):
                return chain, sorted(readers)
            last = self._gated(tensor, readers) if len(readers) == 2 else readers
            if last is None or not last or not all(self._activates(each) for each in last):
                break
            chain |= last
            end = max(last)
            if len(last) == 1 and len(self._inputs(end)) != 1:
                break
            tensor = self._graph.node[end].output[0]
        return set(), []

    def _activates(self, at: int) -> bool:
        node = self._graph.node[at]
        return bool(node.op_type in ACTIVATIONS) and sum(bool(name) for name in node.output) == 1

    def _gated(self, tensor: str, readers: Collection[int]) -> set[int] | None:
        """x * f(x), as SiLU, HardSwish and Gelu are written: all nodes of f and the last; None where it is not that."""
        for gate in readers:
            (last,) = set(readers) - {gate}
            found, name = {gate}, self._graph.node[gate].output[0]
            while len(found) <= LONGEST_ACTIVATION:
                if len(self._inputs(max(found))) != 1 or name in self._outputs:
                    break
                following = set(self._readers.get(name, ()))
                if following == {last}:
                    return {*found, last} if self._inputs(last) == sorted({tensor, name}) else None
                if len(following) != 1:
                    break
                found |= following
                name = self._graph.node[max(found)].output[0]
        return None
