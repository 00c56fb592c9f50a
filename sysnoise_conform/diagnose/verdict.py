"""The verdict: are there culprits, is something off without one, could it be seen, and that in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sysnoise_conform.diagnose.blame import alone_to_blame, culprit_of, departs
from sysnoise_conform.diagnose.boundaries import floor_ratio
from sysnoise_conform.diagnose.facts import Computing, Culprit, Layer, ObserverEffect, VerdictWord
from sysnoise_conform.diagnose.layers import layers_of, readers_of
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.ties import to_blame, told
from sysnoise_conform.diagnose.units import InUnits, computes, computing_in, pinned
from sysnoise_conform.judge.departure import Departure
from sysnoise_conform.judge.evidence import carried_on
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant


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
    computing: Computing | None = None


def decide(
    shop: Workshop, asked: Variant, seen: Seen, policy: Policy, chosen: Collection[str], units: InUnits | None = None
) -> Judged:
    """The verdict over one variant; culprits are operators that make a tensor of `chosen`.

    With `units`, what float32 does not explain is judged in these.
    """
    variant = str(asked)
    layers = layers_of(shop, seen, variant, policy, units)
    readers = readers_of(shop, seen)
    cumulative = [each.cumulative for each in layers if each.cumulative is not None]
    departing = [each for each in (departs(diff, variant, policy) for diff in cumulative) if each is not None]
    going_on = {each.diff.name for each in carried_on(departing, cumulative, readers)}
    outputs = tuple(seen.outputs.in_order(shop.outputs))
    bad_outputs = [each for each in (departs(diff, variant, policy) for diff in outputs) if each is not None]
    ends = set(shop.outputs)
    culprits, notes = [], list(seen.notes)
    for layer in (each for each in layers if each.output in chosen):
        found, note = culprit_of(layer, layers, readers, going_on | ends, variant, policy)
        if found is not None:
            culprits.append(found)
        if note:
            notes.append(note)
    notes += told(layers)
    culprits = alone_to_blame(shop, culprits, seen, variant, policy)
    if not culprits:
        off = {each.diff.name for each in bad_outputs}
        culprits = to_blame([each for each in layers if each.output in chosen], readers, off)
    computing = None if units is None else computing_in(layers, units, asked)
    verdict, sentence = _verdict(culprits, bad_outputs, layers, seen, asked, computing)
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
        computing=computing,
    )  # fmt: skip


def _effect(seen: Seen) -> ObserverEffect:
    worst = seen.worst_effect
    return ObserverEffect(
        rel_l2=None if worst is None else worst.rel_l2,
        floor_ratio=floor_ratio(worst),
        tapped=len(seen.cumulative.diffs),
        boundaries=seen.boundaries,
    )


def _verdict(
    culprits: Sequence[Culprit], bad_outputs: Sequence[Departure], layers: Sequence[Layer], seen: Seen, asked: Variant,
    computing: Computing | None,
) -> tuple[VerdictWord, str]:  # fmt: skip
    variant = str(asked)
    if computing is not None:
        variant += f": {computes(computing, layers)}"
        if culprits:
            variant += "; beyond that"
    if culprits:
        first = culprits[0]
        more = "" if len(culprits) == 1 else f", and {counted(len(culprits) - 1, 'more operator')}"
        end = (
            f"; output {one_line(bad_outputs[0].diff.name)!r} {bad_outputs[0].words}" if bad_outputs
            else "; no output is beyond its limit on these inputs"
        )  # fmt: skip
        said = f"{variant} {first.words}" if computing is not None else f"{variant}: {first.words}"
        return "culprits", f"{said}{more}{end}"
    if not bad_outputs:
        known = sum(each.replayed is not None or each.island is not None for each in layers)
        looked_at = f"{known} of {counted(len(layers), 'layer')} looked at"
        if computing is not None:
            return "clean", f"{variant}; no operator is further off than that, and no output is off; {looked_at}"
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
    if computing is not None:
        pin = f"; {pinned(asked)}" if computing.chosen and asked.precision == "auto" else ""
        return "accumulated_rounding", f"{variant}; {said}, and no operator is further off than that explains{pin}"
    return "accumulated_rounding", f"{variant}: {said}, and no operator introduces more than its arithmetic may"
