"""From what was seen to a verdict: whose introduced error no correct arithmetic explains. Numbers in, words out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.diagnose.bisect import Shown, first_shown
from sysnoise_conform.diagnose.boundaries import UNDISTURBED, floor_ratio
from sysnoise_conform.diagnose.facts import Culprit, Layer, ObserverEffect, VerdictWord
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.judge.departure import Departure, departure, floor_units, plain, unit_of
from sysnoise_conform.judge.evidence import carried_on
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import Reading, TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

LEAP = 3.0  # times as far off as the tensor before it: what adds up grows by less from one operator to the next
_LONGEST_ATTRIBUTE = 60

Method = Literal["replay", "explode", "cut"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The verdict and what it stands on."""

    verdict: VerdictWord
    sentence: str
    observer_effect: ObserverEffect
    outputs: tuple[TensorDiff, ...]
    layers: tuple[Layer, ...]
    culprits: tuple[Culprit, ...]
    unobservable: tuple[Unobservable, ...]
    notes: tuple[str, ...]


def decide(shop: Workshop, variant: str, seen: Seen, policy: Policy, chosen: Collection[str]) -> Judged:
    """The verdict over one variant; culprits are operators that make a tensor of `chosen`."""
    layers = _layers(shop, seen)
    readers = _readers(shop)
    cumulative = [each.cumulative for each in layers if each.cumulative is not None]
    departing = [each for each in (departs(diff, variant, policy) for diff in cumulative) if each is not None]
    going_on = {each.diff.name for each in carried_on(departing, cumulative, readers)}
    outputs = tuple(seen.outputs.in_order(shop.outputs))
    bad_outputs = [each for each in (departs(diff, variant, policy) for diff in outputs) if each is not None]
    ends = set(shop.outputs)
    culprits, notes = [], list(seen.notes)
    for layer in (each for each in layers if each.output in chosen):
        found, note = _culprit(layer, layers, readers, going_on | ends, variant, policy)
        if found is not None:
            culprits.append(found)
        if note:
            notes.append(note)
    culprits = _alone_to_blame(shop, culprits, seen, variant, policy)
    verdict, sentence = _verdict(culprits, bad_outputs, layers, seen, variant)
    return Judged(
        verdict=verdict,
        sentence=sentence,
        observer_effect=_effect(seen),
        outputs=outputs,
        layers=layers,
        culprits=tuple(culprits),
        unobservable=tuple(
            Unobservable(tensor=each.output, why=seen.hidden.get(each.output, "it was not watched"))
            for each in layers if each.cumulative is None
        ),
        notes=tuple(notes),
    )  # fmt: skip


def vanishing(shop: Workshop, variant: Variant, place: str, found: Judged, policy: Policy) -> Judged:
    """The verdict where an output is off and no operator that was watched: what watching may have hidden.

    Parts of the untouched graph are bisected then; the operator at which one begins to be off is named as what can't
    be seen in any other way.
    """
    bad = [each for each in found.outputs if departs(each, str(variant), policy) is not None]
    ratio = found.observer_effect.floor_ratio
    undisturbed = ratio is not None and ratio <= UNDISTURBED
    if found.culprits or not bad or undisturbed:  # whatever is off was off where it was watched, too
        return found
    shown = first_shown(
        shop, variant, place, found.layers, bad[0].name, lambda diff: departs(diff, str(variant), policy) is not None
    )
    if shown is None:
        return found
    layer = next(each for each in found.layers if each.output == shown.tensor)
    if _adds_up(layer, shown, str(variant), policy):
        return found
    departing = departs(shown.diff, str(variant), policy)
    assert departing is not None
    name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
    words = f"{name} {departing.words} in a part of the graph that ends there, and right "
    words += "alone" if layer.cumulative is None else "where it is watched"
    culprit = Culprit(
        layer=layer,
        method="cut",
        diff=shown.diff,
        kind=_kind(shown.diff, shown.diff.readings),
        readings=shown.diff.readings,
        words=words,
    )
    return replace(
        found,
        verdict="culprits",
        culprits=(culprit,),
        sentence=f"{variant}: {words}; output {one_line(bad[0].name)!r} is off",
    )


def _adds_up(layer: Layer, shown: Shown, variant: str, policy: Policy) -> bool:
    """Whether what crosses its limit at this layer has grown until there, and is none of its own making.

    It is then off where it is watched as well; and where nothing is watched, not much further than what comes before.
    """
    if layer.cumulative is not None:
        return departs(layer.cumulative, variant, policy) is not None
    before = None if shown.diff_before is None else floor_units(shown.diff_before)
    return before is not None and before * LEAP > (floor_units(shown.diff) or math.inf)


def _layers(shop: Workshop, seen: Seen) -> tuple[Layer, ...]:
    nodes = shop.model.proto.graph.node
    blocks = _blocks(shop, seen)
    return tuple(
        Layer(
            index=each.index,
            node=each.node,
            op_type=each.op_type,
            output=each.tensor,
            attributes=_attributes(nodes[each.index]),
            block=tuple(nodes[at].name or nodes[at].op_type for at in blocks[each.index]),
            replayed=seen.replayed.diffs.get(each.tensor),
            island=seen.islands.diffs.get(each.tensor),
            cumulative=seen.cumulative.diffs.get(each.tensor),
            not_runnable=seen.not_runnable.get(each.tensor, ""),
        )
        for each in shop.model.layers
        if each.tensor not in shop.plan.aside
    )


def _blocks(shop: Workshop, seen: Seen) -> dict[int, tuple[int, ...]]:
    """Node -> those between the nearest recorded tensors and its output; none where all that it reads was recorded."""
    nodes = shop.model.proto.graph.node
    makers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    layers = {each.tensor for each in shop.model.layers}
    blocks = {}
    for index in {each.index for each in shop.model.layers}:
        found, waiting = {index}, [index]
        while waiting:
            for name in reads(nodes[waiting.pop()]):
                maker = makers.get(name)
                if name in layers and name not in seen.recorded and maker is not None and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        blocks[index] = tuple(sorted(found)) if len(found) > 1 else ()
    return blocks


def _alone_to_blame(
    shop: Workshop, culprits: Sequence[Culprit], seen: Seen, variant: str, policy: Policy
) -> list[Culprit]:
    """Without the ends of blocks in which another operator is to blame, and they themselves are right alone."""
    blocks, guilty = _blocks(shop, seen), {each.layer.index for each in culprits}

    def excused(culprit: Culprit) -> bool:
        inside = set(blocks[culprit.layer.index]) - {culprit.layer.index}
        island = culprit.layer.island
        right_alone = island is not None and departs(island, variant, policy) is None
        return culprit.method == "replay" and right_alone and not inside.isdisjoint(guilty)

    return [each for each in culprits if not excused(each)]


def _readers(shop: Workshop) -> dict[str, list[str]]:
    layers = {each.tensor for each in shop.model.layers}
    found: dict[str, list[str]] = {}
    for node in shop.model.proto.graph.node:
        for name in reads(node) & layers:
            found.setdefault(name, []).extend(each for each in node.output if each in layers)
    return found


def departs(diff: TensorDiff, variant: str, policy: Policy) -> Departure | None:
    """Whether a layer's tensor departs from PyTorch's by the policy, and how."""
    return departure(diff, policy.limits(variant, diff.name, layer=True), max_code_share=policy.max_code_share)


def _culprit(
    layer: Layer, layers: Sequence[Layer], readers: Mapping[str, Sequence[str]], counts: set[str], variant: str,
    policy: Policy,
) -> tuple[Culprit | None, str]:  # fmt: skip
    """The culprit that a layer is, or a note of why its introduced error does not count."""
    replayed = None if layer.replayed is None else departs(layer.replayed, variant, policy)
    alone = None if layer.island is None else departs(layer.island, variant, policy)
    name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
    method: Method
    if replayed is not None and alone is None and layer.island is not None:
        off = layer.cumulative is not None and departs(layer.cumulative, variant, policy) is not None
        if not off:
            return None, f"{name} is right, though not for the inputs that were shown: those are shown otherwise"
        if layer.output not in counts:
            return None, f"{name} is shown otherwise than it was computed: nothing that reads it is off, nor it alone"
        if _within_rounding(layer, variant, policy):
            return None, f"{name} is right alone, and off in the graph by no more than rounding before it may be"
    if replayed is not None:
        method, found = "replay", replayed
    elif alone is not None:
        if layer.replayed is not None:
            said = f"{name} is {_size(alone)} off when it runs alone"
            return None, f"{said}, and right in the graph: another kernel is chosen there"
        method, found = "explode", alone
    else:
        return None, ""
    diff = found.diff
    readings = diff.readings or (layer.cumulative.readings if layer.cumulative is not None else ())
    before = [
        each.cumulative.rel_l2
        for each in layers
        if layer.output in readers.get(each.output, ()) and each.cumulative is not None and each.cumulative.rel_l2
    ]
    return (
        Culprit(
            layer=layer,
            method=method,
            diff=diff,
            kind=_kind(diff, readings),
            readings=readings,
            words=f"{name} {found.words}",
            cumulative_before=max(before, default=0.0),
        ),
        "",
    )


def _within_rounding(layer: Layer, variant: str, policy: Policy) -> bool:
    """Whether the error that replay finds is one that float32 makes on the whole way to this tensor.

    A runtime that fuses an operator with the one before it does not round between them, while what it shows of the
    first is rounded: the second is then off by the first's rounding, which its own arithmetic does not explain.
    """
    replayed, cumulative = layer.replayed, layer.cumulative
    if replayed is None or cumulative is None or replayed.rmse is None or replayed.nan_mismatch:
        return False
    limit = policy.limits(variant, layer.output, layer=True).max_floor_ratio
    return replayed.comparable and replayed.rmse <= limit * unit_of(cumulative)


def _size(found: Departure) -> str:
    return "far" if found.number is None else f"{plain(found.number)} floor units"


def _kind(diff: TensorDiff, readings: Sequence[Reading]) -> str:
    if not diff.comparable:
        return "shape" if diff.shape_got is not None else "dtype"
    if diff.nan_mismatch:
        return "nan_hidden" if diff.nan_golden > diff.nan_got else "nan_made"
    if readings:
        return readings[0].kind
    rel = diff.rel_l2
    if rel is not None and unit_roundoff(diff.dtype) is not None:
        if 2**-10 <= rel <= 2**-5:
            return "size_of_bfloat16"
        if 2**-13 <= rel < 2**-10:
            return "size_of_float16_or_tf32"
    return "unknown"


def _effect(seen: Seen) -> ObserverEffect:
    worst = seen.worst_effect
    return ObserverEffect(
        rel_l2=None if worst is None else worst.rel_l2,
        floor_ratio=floor_ratio(worst),
        tapped=len(seen.cumulative.diffs),
        boundaries=seen.boundaries,
    )


def _verdict(
    culprits: Sequence[Culprit], bad_outputs: Sequence[Departure], layers: Sequence[Layer], seen: Seen, variant: str
) -> tuple[VerdictWord, str]:
    if culprits:
        first = culprits[0]
        more = "" if len(culprits) == 1 else f", and {counted(len(culprits) - 1, 'more operator')}"
        end = (
            f"; output {one_line(bad_outputs[0].diff.name)!r} {bad_outputs[0].words}" if bad_outputs
            else "; no output is beyond its limit on these inputs"
        )  # fmt: skip
        return "culprits", f"{variant}: {first.words}{more}{end}"
    if not bad_outputs:
        known = sum(each.replayed is not None or each.island is not None for each in layers)
        looked_at = f"{known} of {counted(len(layers), 'layer')} looked at"
        return "clean", f"{variant}: no operator and no output is off; {looked_at}"
    output = bad_outputs[0]
    said = f"output {one_line(output.diff.name)!r} {output.words}"
    unseen = [each for each in layers if each.replayed is None and each.island is None]
    if unseen:
        region = f"{unseen[0].op_type} {one_line(unseen[0].node or unseen[0].output, 60)!r}"
        last = unseen[-1]
        if len(unseen) > 1:
            region += f" to {last.op_type} {one_line(last.node or last.output, 60)!r}"
        return "unobservable", f"{variant}: {said}; {counted(len(unseen), 'layer')} could not be looked at, {region}"
    return "accumulated_rounding", f"{variant}: {said}, and no operator introduces more than its arithmetic may"


def _attributes(node: onnx.NodeProto) -> str:
    """`kernel_shape=[3, 3], ceil_mode=1`; what is no number or text is left out."""
    said = []
    for each in node.attribute:
        if each.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(each)
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        said.append(f"{one_line(each.name, 40)}={one_line(text, _LONGEST_ATTRIBUTE)}")
    return ", ".join(said)
