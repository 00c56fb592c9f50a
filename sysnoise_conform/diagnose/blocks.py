"""What is judged as one: single operators, or the blocks that integer kernels make of a quantised graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sysnoise_conform.graph.quantised import Block, inside, integer_blocks
from sysnoise_conform.runner.workshop import Workshop

Granularity = Literal["op", "block"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A block as a person names it: the tensor that its operator makes, all of its nodes, all that these make."""

    operator: str
    nodes: tuple[str, ...]
    tensors: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """The blocks of the graph under test. Tensors have the golden's names, `taken` the graph's own positions."""

    taken: tuple[Block, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)  # tensor at the end of a block -> its block
    hidden: frozenset[str] = frozenset()  # tensors inside: no kernel makes them

    def ends(self, tensors: Collection[str]) -> frozenset[str]:
        """The tensors, with the ends of the blocks that any of them lies in."""
        return frozenset({*tensors, *(end for end, unit in self.units.items() if not unit.tensors.isdisjoint(tensors))})


def blocks_of(shop: Workshop, granularity: Granularity | None) -> Blocks:
    """The blocks of a quantised graph, unless single operators are asked for; none of any other graph.

    What ends in a tensor that PyTorch has no counterpart of can't be judged, and stays in pieces.
    """
    target = shop.plan.target
    if granularity == "op" or target.model is None:
        return Blocks()
    proto = target.model.proto
    nodes = proto.graph.node
    layers = {target.name(each.tensor): each.tensor for each in shop.model.layers}
    taken = tuple(
        each for each in integer_blocks(proto)
        if all(name in layers for end in each.ends for name in nodes[end].output if name)
    )  # fmt: skip
    units: dict[str, Unit] = {}
    for block in taken:
        between = [at for at in block.nodes if nodes[at].op_type != "DequantizeLinear" and at not in block.ends]
        made = [name for at in (block.operator, *between) for name in nodes[at].output if name in layers]
        told = tuple(nodes[at].name or nodes[at].op_type for at in block.nodes)
        tensors = frozenset(layers[name] for at in block.nodes for name in nodes[at].output if name in layers)
        for name in (name for end in block.ends for name in nodes[end].output if name):
            units[layers[name]] = Unit(operator=layers[made[0] if made else name], nodes=told, tensors=tensors)
    hidden = frozenset(layers[name] for name in inside(proto, taken) if name in layers)
    return Blocks(taken=taken, units=units, hidden=hidden)
