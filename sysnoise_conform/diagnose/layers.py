"""The layers of a diagnosis: what is judged as one, and all that was found of it."""

from __future__ import annotations

import onnx

from sysnoise_conform.compare.arithmetic import FLOAT32
from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.units import InUnits, counted_in
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

_LONGEST_ATTRIBUTE = 60


def layers_of(
    shop: Workshop, seen: Seen, variant: str, policy: Policy, units: InUnits | None
) -> tuple[Layer, ...]:
    """Every layer in graph order; with `units`, what float32 does not explain is counted in these."""
    nodes = shop.model.proto.graph.node
    target = shop.plan.target
    running = {} if target.model is None else {
        name: node for node in target.model.proto.graph.node for name in node.output if name
    }  # fmt: skip
    between = unwatched(shop, seen)
    layers = {each.tensor: each for each in shop.model.layers}
    blocks = seen.blocks.units
    found = []
    for each in shop.model.layers:
        if each.tensor in seen.blocks.hidden or each.tensor in shop.plan.aside:
            continue
        # A block is called by its operator and compared at its end; what lies inside is no layer of its own.
        block = blocks.get(each.tensor)
        named = each if block is None else layers[block.operator]
        in_unit, flags = counted_in(each.tensor, seen, variant, policy, units)
        found.append(
            Layer(
                index=named.index,
                node=named.node,
                op_type=named.op_type,
                output=each.tensor,
                attributes=attributes_of(_as_it_runs(nodes[named.index], running.get(target.name(named.tensor)))),
                block=block.nodes if block is not None
                else tuple(nodes[at].name or nodes[at].op_type for at in between[each.index]),
                replayed=seen.replayed.diffs.get(each.tensor),
                island=seen.islands.diffs.get(each.tensor),
                cumulative=seen.cumulative.diffs.get(each.tensor),
                not_runnable=seen.not_runnable.get(each.tensor, ""),
                arithmetic=FLOAT32.name if units is None or in_unit is None else units.name,
                in_unit=in_unit,
                flags=flags,
            )
        )  # fmt: skip
    return tuple(found)


def unwatched(shop: Workshop, seen: Seen) -> dict[int, tuple[int, ...]]:
    """Node -> those between the nearest recorded tensors and its output; none where all that it reads was recorded."""
    nodes = shop.model.proto.graph.node
    if not seen.recorded:  # nothing was watched: every operator was tried alone, and none is the end of a block
        return {each.index: () for each in shop.model.layers}
    makers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    read = [reads(node) for node in nodes]
    layers = {each.tensor for each in shop.model.layers}
    blocks = {}
    for index in {each.index for each in shop.model.layers}:
        found, waiting = {index}, [index]
        while waiting:
            for name in read[waiting.pop()]:
                maker = makers.get(name)
                if name in layers and name not in seen.recorded and maker is not None and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        blocks[index] = tuple(sorted(found)) if len(found) > 1 else ()
    return blocks


def readers_of(shop: Workshop, seen: Seen) -> dict[str, list[str]]:
    """Layer -> those that are made of it; what lies inside of a block is the block's end."""
    layers = {each.tensor for each in shop.model.layers}
    ends: dict[str, list[str]] = {}
    for end, unit in seen.blocks.units.items():
        for name in unit.tensors & seen.blocks.hidden:
            ends.setdefault(name, []).append(end)
    found: dict[str, list[str]] = {}
    for node in shop.model.proto.graph.node:
        made = [end for each in node.output if each in layers for end in ends.get(each, [each])]
        for name in (reads(node) & layers) - seen.blocks.hidden:
            found.setdefault(name, []).extend(made)
    return found


def _as_it_runs(node: onnx.NodeProto, running: onnx.NodeProto | None) -> onnx.NodeProto:
    """The node of a deployed file, where that is the model's operator; its attributes may be others."""
    return running if running is not None and running.op_type == node.op_type else node


def attributes_of(node: onnx.NodeProto) -> str:
    """`kernel_shape=[3, 3], ceil_mode=1`; what is no number or text is left out."""
    said = []
    for each in node.attribute:
        if each.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(each)
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        said.append(f"{one_line(each.name, 40)}={one_line(text, _LONGEST_ATTRIBUTE)}")
    return ", ".join(said)
