"""Every operator as an island: all edges are cut, and what an operator read becomes an input of the graph.

One model then holds all operators side by side, each fed with tensors of our choice: one compile and one run tell the
error that each of them introduces by itself, and no fusion is possible. What determines a shape, a size or an axis
stays a constant, since runtimes choose kernels by it. Names are plain identifiers: converters rewrite others.

Where a tensor is not known, what makes it comes along: the island is then the block of operators back to known tensors.
So it is for the blocks of a quantised graph, which are given: nothing inside of one is an island.

Operators that are alike are compiled once and run as often as there are of them (`graph.alike`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sysnoise_conform.graph import walk
from sysnoise_conform.graph.alike import Constants, by_kind, in_models, read_in_order, signature
from sysnoise_conform.graph.naming import rename
from sysnoise_conform.graph.order import dependent
from sysnoise_conform.graph.quantised import Block, inside
from sysnoise_conform.graph.shape_slice import shape_slice

BUDGET_BYTES = 1 << 29  # tensors in and out of one model of islands
LARGEST_BLOCK = 64  # operators between known tensors

Kind = tuple[int, ...]  # nodes that are alike: the first stands in the model, the others are run by it


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One run of a model of islands: the tensors of the graph that its own inputs and outputs stand for."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Islands:
    """A model of operators without edges between them, and the runs that it takes to try all of `kinds`.

    `kinds` are positions in the graph that was taken apart.
    """

    model: onnx.ModelProto
    rounds: tuple[Round, ...]
    kinds: tuple[Kind, ...]

    @property
    def inputs(self) -> Mapping[str, str]:
        """Those of the first run."""
        return self.rounds[0].inputs

    @property
    def outputs(self) -> Mapping[str, str]:
        """Those of the first run."""
        return self.rounds[0].outputs

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes that it tries, in graph order."""
        return tuple(sorted(at for kind in self.kinds for at in kind))


@dataclass(frozen=True, slots=True)
class Archipelago:
    """What there is to take apart, and what can't be: node position -> why."""

    nodes: tuple[int, ...]
    left_out: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Island:
    """The nodes of one island, the tensors that it is fed and shows, in the order in which it meets them."""

    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    inner: frozenset[str]


class Explosion:
    """One graph, taken apart; `known` holds each of its tensors for one sample, in its declared type.

    Each of `blocks` is one island, called by the last of its ends.
    """

    def __init__(
        self, proto: onnx.ModelProto, known: Mapping[str, np.ndarray], blocks: Sequence[Block] = ()
    ) -> None:
        self._proto = proto
        self._graph = proto.graph
        hidden = inside(proto, blocks) if blocks else frozenset[str]()
        self._known = {name: array for name, array in known.items() if name not in hidden}
        self._blocks = {each.ends[-1]: each for each in blocks}
        self._called = {end: each.ends[-1] for each in blocks for end in each.ends}
        self._slice = shape_slice(proto.graph, proto.functions)
        self._stored = {each.name: each for each in proto.graph.initializer}
        self._sparse = {each.values.name: each for each in proto.graph.sparse_initializer}
        fed = [each.name for each in proto.graph.input if each.name not in self._stored]
        self._fed = dependent(proto.graph, frozenset(fed)) | set(fed)
        self._found: dict[int, _Island] = {}
        self._contents = Constants(self._stored, self._known, self._fed)
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
        """The known tensors that the island of a node makes; none for what stands in somebody else's."""
        if self._called.get(at, at) != at:
            return ()
        ends = self._blocks[at].ends if at in self._blocks else (at,)
        names = [name for end in ends for name in self._graph.node[end].output]
        return tuple(name for name in names if self._is_data(name) and name in self._known)

    def maker(self, tensor: str) -> int | None:
        """The position of the node that makes a tensor, or that the block is called by which does."""
        at = self._makers.get(tensor)
        return None if at is None else self._called.get(at, at)

    def block(self, at: int) -> tuple[int, ...]:
        """The nodes that make what node `at` makes from known tensors, itself last, in graph order."""
        found = set(self._blocks[at].nodes) if at in self._blocks else {at}
        waiting = list(found)
        while waiting and len(found) <= LARGEST_BLOCK:
            for name in walk.reads(self._graph.node[waiting.pop()]):
                maker = self._makers.get(name)
                if self._is_data(name) and name not in self._known and maker is not None and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        return tuple(sorted(found))

    def islands(self, nodes: Sequence[int], *, budget: int = BUDGET_BYTES) -> Iterator[Islands]:
        """Models that hold these nodes, in graph order, each within the budget of bytes (or one node).

        Where many are alike, each kind is in a model once.
        """
        for kinds in in_models(by_kind(nodes, lambda at, contents: self.told(at, contents=contents))):
            yield from self.models(kinds, budget=budget)

    def told(self, at: int, *, contents: bool) -> tuple[Hashable, ...]:
        """What the island of a node is known by: equal for those that are alike, see `graph.alike`."""
        island = self._island(at)
        steps = [self._graph.node[each] for each in island.nodes]
        return signature(steps, island.inputs, island.outputs, self._known, self._contents, contents=contents)

    def models(self, kinds: Sequence[Kind], *, budget: int = BUDGET_BYTES) -> Iterator[Islands]:
        """Models that hold these kinds of nodes, each within the budget of bytes (or one kind)."""
        chunk: list[Kind] = []
        room = budget
        for kind in kinds:
            island = self._island(kind[0])
            size = sum(self._known[name].nbytes for name in {*island.inputs, *island.outputs})
            if chunk and size > room:
                yield self._model(chunk)
                chunk, room = [], budget
            chunk.append(kind)
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

    def _island(self, root: int) -> _Island:
        if root not in self._found:
            self._found[root] = self._looked_up(root)
        return self._found[root]

    def _looked_up(self, root: int) -> _Island:
        nodes = self.block(root)
        block = self._blocks.get(root)
        # What a given block makes it reads itself, also where others read it and it is known; else known is known.
        mine = {name for at in nodes for name in self._graph.node[at].output if name}
        inner = mine if block is not None else {name for name in mine if name not in self._known}
        read = dict.fromkeys(name for at in nodes for name in read_in_order(self._graph.node[at]))
        return _Island(
            nodes=nodes,
            inputs=tuple(name for name in read if name not in inner and self._is_data(name)),
            outputs=self.makes(root),
            inner=frozenset(inner),
        )

    def _model(self, kinds: Sequence[Kind]) -> Islands:
        made = onnx.ModelProto(ir_version=self._proto.ir_version, producer_name="conform")
        made.opset_import.extend(self._proto.opset_import)
        made.functions.extend(self._proto.functions)
        graph = made.graph
        graph.name = "islands"
        constants: set[str] = set()
        often = max(len(kind) for kind in kinds)
        rounds = [Round(inputs={}, outputs={}) for _ in range(often)]
        shared: dict[str, str] = {}  # tensor -> our name, where no run gives it another tensor
        for kind in kinds:
            island = self._island(kind[0])
            ports = shared if often == 1 else {}
            for name in island.inputs:
                ports.setdefault(name, f"i{len(graph.input)}")
                if ports[name] not in rounds[0].inputs:
                    graph.input.append(self._port(ports[name], name))
                    rounds[0].inputs[ports[name]] = name  # type: ignore[index]  # being made
            shown = {name: f"o{len(graph.output) + place}" for place, name in enumerate(island.outputs)}
            graph.output.extend(self._port(ours, name) for name, ours in shown.items())
            self._copy(graph, island, kind[0], ports, shown, constants)
            for number, here in enumerate(rounds):
                at = kind[min(number, len(kind) - 1)]
                fed = self._island(at) if at != kind[0] else island
                here.inputs.update(zip((ports[name] for name in island.inputs), fed.inputs, strict=True))  # type: ignore[attr-defined]
                if number < len(kind):
                    here.outputs.update(zip(shown.values(), fed.outputs, strict=True))  # type: ignore[attr-defined]
        self._constants(graph, constants)
        return Islands(model=made, rounds=tuple(rounds), kinds=tuple(kinds))

    def _copy(
        self, graph: onnx.GraphProto, island: _Island, root: int, ports: Mapping[str, str], shown: Mapping[str, str],
        constants: set[str],
    ) -> None:  # fmt: skip
        """The nodes of one island, with names of ours; what they read and nobody feeds is added to `constants`."""
        inner: dict[str, str] = {}
        for at in island.nodes:
            node = self._graph.node[at]
            mapping: dict[str, str] = {}
            for name in read_in_order(node):
                if name in inner and name in island.inner:
                    mapping[name] = inner[name]
                elif self._is_data(name):
                    mapping[name] = ports[name]
                else:
                    constants.add(name)
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.name = f"n{root}_{at}"  # names may be missing, or double, which is legal and refused by some
            _rename_inputs(copy, mapping)
            for place, name in enumerate(node.output):
                if name:
                    inner[name] = copy.output[place] = shown.get(name, f"b{root}_{len(inner)}")

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
