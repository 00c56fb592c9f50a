"""An operator's unit of blame: float32, or the arithmetic that the target computes in where that explains it better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sysnoise_conform.diagnose.facts import Computing, Flags, Layer
from sysnoise_conform.diagnose.flags import PartSums, flags_of
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.judge.departure import Departure, departure, unit_of
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant

DOT_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOST_TYPES = 6  # kinds of operators that a sentence names

Told = Literal["runtime", "operands"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InUnits:
    """What was recorded of the first sample, against float64 in the arithmetic `name` and in units of it."""

    name: str
    told_by: Told
    diffs: Mapping[str, TensorDiff]
    parts: Mapping[str, PartSums]


def counted_in(
    name: str, seen: Seen, variant: str, policy: Policy, units: InUnits | None
) -> tuple[TensorDiff | None, Flags | None]:
    """The operator's error in `units`, where these explain it better than float32 does, and the flags that count."""
    replayed, island = seen.replayed.diffs.get(name), seen.islands.diffs.get(name)
    own = replayed or island
    if own is None:
        return None, None
    limits = policy.limits(variant, name, layer=True)
    narrow = None if units is None else units.diffs.get(name)
    departs = departure(own, limits, max_code_share=policy.max_code_share) is not None
    if departs and narrow is not None and _explains_better(narrow, own):
        assert units is not None
        # Without replay nobody knows whether a bias was rounded, which is the same all over a channel.
        finest = unit_of(own) if narrow.op_type in DOT_PRODUCTS and replayed is not None else None
        return narrow, flags_of(narrow, units.parts.get(name), limits, finest=finest)
    known = (seen.parts if replayed is not None else seen.island_parts).known
    flags = flags_of(own, known.get(name), limits)
    if flags.finding and replayed is not None and island is not None:  # what the inputs hide is right alone
        alone = flags_of(island, seen.island_parts.known.get(name), limits)
        flags = flags if alone.finding else replace(flags, part="", finding="")
    return None, flags


def _explains_better(narrow: TensorDiff, own: TensorDiff) -> bool:
    """Less is left, or less in its own unit: with a fault on top, what few bits explain may be a small share of it."""
    if narrow.rmse is not None and own.rmse is not None and narrow.comparable and narrow.rmse < 0.9999 * own.rmse:
        return True
    return _in_its_unit(narrow) < _in_its_unit(own)


def _in_its_unit(diff: TensorDiff) -> float:
    unit = unit_of(diff)
    if diff.rmse is None or not diff.comparable:
        return math.inf
    return diff.rmse / unit if unit > 0 else math.inf if diff.rmse else 0.0


def in_words_of(layer: Layer, found: Departure) -> Departure:
    """The departure, its numbers in words of the layer's arithmetic."""
    if layer.in_unit is None:
        return found
    return replace(found, words=found.words.replace("floor units", f"units of {layer.arithmetic}"))


def computing_in(layers: Sequence[Layer], units: InUnits, asked: Variant) -> Computing | None:
    """Which operators compute in these units; nothing where none does."""
    found = [each for each in layers if each.arithmetic == units.name]
    if not found:
        return None
    return Computing(
        name=units.name,
        told_by=units.told_by,
        chosen=not asked.knob,
        operators=tuple(each.output for each in found),
        types=tuple(sorted({each.op_type for each in found})),
    )


def computes(computing: Computing, layers: Sequence[Layer]) -> str:
    """`computes in bfloat16 by itself, 12 of 40 operators (Conv, MatMul), from 'conv_1' on`."""
    known = sum(each.replayed is not None or each.island is not None for each in layers)
    first = next(each for each in layers if each.output == computing.operators[0])
    types = ", ".join(one_line(each, 40) for each in computing.types[:MOST_TYPES])
    types += ", ..." if len(computing.types) > MOST_TYPES else ""
    own = " by itself" if computing.chosen else ", as asked"
    said = f"computes in {computing.name}{own}, {len(computing.operators)} of {counted(known, 'operator')} ({types})"
    return f"{said}, from {one_line(first.node or first.output, 80)!r} on"


def pinned(asked: Variant) -> str:
    """How to ask for the model's own types."""
    return f"{one_line(str(replace(asked, precision=None)), 80)} (no :auto) pins it"
