"""Whose error it is: which layers are culprits, and why what looks like one does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.diagnose.flags import flagged
from sysnoise_conform.diagnose.layers import unwatched
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.units import in_words_of
from sysnoise_conform.judge.departure import Departure, departure, plain, unit_of
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import Reading, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

Method = Literal["replay", "explode", "cut"]


def departs(diff: TensorDiff, variant: str, policy: Policy) -> Departure | None:
    """Whether a layer's tensor departs from PyTorch's by the policy, and how."""
    return departure(diff, policy.limits(variant, diff.name, layer=True), max_code_share=policy.max_code_share)


def culprit_of(
    layer: Layer, layers: Sequence[Layer], readers: Mapping[str, Sequence[str]], counts: set[str], variant: str,
    policy: Policy,
) -> tuple[Culprit | None, str]:  # fmt: skip
    """The culprit that a layer is, or a note of why its introduced error does not count."""
    replayed = None if layer.replayed is None else departs(layer.replayed, variant, policy)
    alone = None if layer.island is None else departs(layer.island, variant, policy)
    name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
    method: Method
    part = ""
    if layer.in_unit is not None or (replayed is None and alone is None):
        found = departs(layer.in_unit, variant, policy) if layer.in_unit is not None else None
        if found is None:
            found, part = flagged(layer), layer.flags.part if layer.flags is not None else ""
        watched = layer.in_unit is not None and layer.replayed is not None
        if found is not None and watched and layer.output not in counts:
            return None, f"{name} is shown otherwise than it was computed: nothing that reads it is off"
        found = None if found is None else in_words_of(layer, found)
        replayed, alone = (found, None) if layer.replayed is not None else (None, found)
    elif replayed is not None and alone is None and layer.island is not None:
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
            given = [each for each in layers if layer.output in readers.get(each.output, ())]
            others = any(
                each.cumulative is not None and departs(each.cumulative, variant, policy) is not None for each in given
            )
            said = f"{name} is {_size(alone)} off when it runs alone"
            if others:
                return None, f"{said} on PyTorch's tensors, and right in the graph, where it is given others"
            return None, f"{said}, and right in the graph: another kernel is chosen there"
        method, found = "explode", alone
    else:
        return None, ""
    diff = found.diff
    readings = diff.readings or (layer.cumulative.readings if layer.cumulative is not None else ())
    if layer.in_unit is not None:  # that it computes in fewer bits is told already
        readings = tuple(each for each in readings if each.kind != layer.arithmetic)
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
            kind=part or kind_of(diff, readings),
            readings=readings,
            words=f"{name} {found.words}",
            cumulative_before=max(before, default=0.0),
        ),
        "",
    )


def alone_to_blame(
    shop: Workshop, culprits: Sequence[Culprit], seen: Seen, variant: str, policy: Policy
) -> list[Culprit]:
    """Without the ends of blocks in which another operator is to blame, and they themselves are right alone."""
    blocks, guilty = unwatched(shop, seen), {each.layer.index for each in culprits}

    def excused(culprit: Culprit) -> bool:
        inside = set(blocks[culprit.layer.index]) - {culprit.layer.index}
        island = culprit.layer.island
        right_alone = island is not None and departs(island, variant, policy) is None
        return culprit.method == "replay" and right_alone and not inside.isdisjoint(guilty)

    return [each for each in culprits if not excused(each)]


def kind_of(diff: TensorDiff, readings: Sequence[Reading]) -> str:
    """What the error looks like, in a word: the first reading's, or what its size is usual for."""
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
