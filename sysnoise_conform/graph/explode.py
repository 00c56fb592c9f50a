"""Every operator as an island: all edges are cut, and what an operator read becomes an input of the graph.

One model then holds all operators side by side, each fed with tensors of our choice: one compile and one run tell the
error that each of them introduces by itself, and no fusion is possible. What determines a shape, a size or an axis
stays a constant, since runtimes choose kernels by it. Names are plain identifiers: converters rewrite others.

Where a tensor is not known, what makes it comes along: the island is then the block of operators back to known tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sysnoise_conform.graph import walk
from sysnoise_conform.graph.naming import rename
from sysnoise_conform.graph.order import dependent
from sysnoise_conform.graph.shape_slice import shape_slice

BUDGET_BYTES = 1 << 29  # tensors in and out of one model of islands
LARGEST_BLOCK = 64  # operators between known tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Islands:
    """A model of operators without edges between them.

    `inputs` and `outputs` map its own names to tensors of the graph that was taken apart; `nodes` are the positions of
    that graph's nodes.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Archipelago:
    """What there is to take apart, and what can't be: node position -> why."""

    nodes: tuple[int, ...]
    left_out: Mapping[int, str]


class Explosion:
    """One graph, taken apart; `known` holds each of its tensors for one sample, in its declared type."""

    def __init__(self, proto: onnx.ModelProto, known: Mapping[str, np.ndarray]) -> None:
        self._proto = proto
        self._graph = proto.graph
        self._known = known
        self._slice = shape_slice(proto.graph, proto.functions)
        self._stored = {each.name: each for each in proto.graph.initializer}
        self._sparse = {each.values.name: each for each in proto.graph.sparse_initializer}
        fed = [each.name for each in proto.graph.input if each.name not in self._stored]
        self._fed = dependent(proto.graph, frozenset(fed)) | set(fed)
        self._makers = {name: at for at, node in enumerate(proto.graph.node) for name in node.output if name}

    def archipelago(self) -> Archipelago:
        """The nodes that can stand alone, with what comes along."""
        nodes, left_out = [], {}
        for at in range(len(self._graph.node)):
            if not self.makes(at):
                continue  # a constant, a shape, or a part of the block of somebody else
            why = self._obstacle(self.block(at))
            if why:
                left_out[at] = why
            else:
                nodes.append(at)
        return Archipelago(nodes=tuple(nodes), left_out=left_out)

    def makes(self, at: int) -> tuple[str, ...]:
        """The known tensors that a node makes."""
        return tuple(name for name in self._graph.node[at].output if self._is_data(name) and name in self._known)

    def maker(self, tensor: str) -> int | None:
        """The position of the node that makes a tensor."""
        return self._makers.get(tensor)

    def block(self, at: int) -> tuple[int, ...]:
        """The nodes that make what node `at` makes from known tensors, itself last, in graph order."""
        found, waiting = {at}, [at]
        while waiting and len(found) <= LARGEST_BLOCK:
            for name in walk.reads(self._graph.node[waiting.pop()]):
                maker = self._makers.get(name)
                if self._is_data(name) and name not in self._known and maker is not None and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        return tuple(sorted(found))

    def islands(self, nodes: Sequence[int], *, budget: int = BUDGET_BYTES) -> Iterator[Islands]:
        """Models that hold these nodes, in graph order, each within the budget of bytes (or one node)."""
        chunk: list[int] = []
        room = budget
        for at in nodes:
            size = self._size(self._graph.node[at])
            if chunk and size > room:
                yield self._model(chunk)
                chunk, room = [], budget
            chunk.append(at)
            room -= size
        if chunk:
            yield self._model(chunk)

    def _is_data(self, name: str) -> bool:
        return name in self._fed and name not in self._slice

    def _obstacle(self, block: tuple[int, ...]) -> str:
        if len(block) > LARGEST_BLOCK:
            return f"more than {LARGEST_BLOCK} operators lie between known tensors"
        data = False
        for at in block:
            for name in walk.reads(self._graph.node[at]):
                data = data or (self._is_data(name) and name in self._known)
                if name in self._fed and name not in self._known and (name in self._slice or name not in self._makers):
                    return f"PyTorch keeps no tensor {walk.quoted(name)}"
        return "" if data else "it reads no data"

    def _size(self, node: NodeProto) -> int:
        names = {name for name in (*walk.reads(node), *node.output) if name in self._fed}
        return sum(self._known[name].nbytes for name in names if name in self._known)

    def _model(self, roots: Sequence[int]) -> Islands:
        inputs: dict[str, str] = {}  # tensor -> our name
        outputs: dict[str, str] = {}
        made = onnx.ModelProto(ir_version=self._proto.ir_version, producer_name="conform")
        made.opset_import.extend(self._proto.opset_import)
        made.functions.extend(self._proto.functions)
        graph = made.graph
        graph.name = "islands"
        constants: set[str] = set()
        for root in roots:
            inner: dict[str, str] = {}
            for at in self.block(root):
                node = self._graph.node[at]
                mapping: dict[str, str] = {}
                for name in sorted(walk.reads(node)):
                    if name in inner and name not in self._known:
                        mapping[name] = inner[name]
                    elif self._is_data(name):
                        mapping[name] = inputs.setdefault(name, f"i{len(inputs)}")
                    else:
                        constants.add(name)
                copy = graph.node.add()
                copy.CopyFrom(node)
                copy.name = f"n{root}_{at}"  # names may be missing, or double, which is legal and refused by some
                _rename_inputs(copy, mapping)
                for place, name in enumerate(node.output):
                    if name and at == root and self._is_data(name) and name in self._known:
                        copy.output[place] = outputs.setdefault(name, f"o{len(outputs)}")
                    elif name:
                        copy.output[place] = inner.setdefault(name, f"b{root}_{len(inner)}")
        self._constants(graph, constants)
        graph.input.extend(self._port(ours, name) for name, ours in inputs.items())
        graph.output.extend(self._port(ours, name) for name, ours in outputs.items())
        return Islands(
            model=made, inputs={ours: name for name, ours in inputs.items()},
            outputs={ours: name for name, ours in outputs.items()}, nodes=tuple(roots),
        )  # fmt: skip

    def _constants(self, graph: onnx.GraphProto, names: set[str]) -> None:
        """What the islands read and nobody feeds: weights, what is computed from weights alone, shapes as they were."""
        waiting, done, computed = sorted(names), set[str](), set[int]()
        while waiting:
            name = waiting.pop()
            if not name or name in done:
                continue
            done.add(name)
            if name in self._fed:  # of the shape slice
                graph.initializer.append(numpy_helper.from_array(np.asarray(self._known[name]), name))
            elif name in self._stored:
                graph.initializer.append(self._stored[name])
            elif name in self._sparse:
                graph.sparse_initializer.append(self._sparse[name])
            elif name in self._makers and self._makers[name] not in computed:
                computed.add(self._makers[name])
                waiting.extend(sorted(walk.reads(self._graph.node[self._makers[name]])))
        islands = list(graph.node)
        del graph.node[:]
        graph.node.extend(self._graph.node[at] for at in sorted(computed))
        graph.node.extend(islands)

    def _port(self, ours: str, name: str) -> onnx.ValueInfoProto:
        array = self._known[name]
        return helper.make_tensor_value_info(ours, _elem_type(array), list(array.shape))


def _rename_inputs(node: NodeProto, mapping: Mapping[str, str]) -> None:
    outputs = list(node.output)
    rename(node, mapping)
    del node.output[:]
    node.output.extend(outputs)


def _elem_type(array: np.ndarray) -> int:
    return TensorProto.STRING if array.dtype.kind in "OSU" else helper.np_dtype_to_tensor_dtype(array.dtype)
