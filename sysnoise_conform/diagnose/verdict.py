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
from sysnoise_conform.errors import BackendError
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
        off = {each.diff.name for each in bad_outputs} | set(seen.missing)
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
            else "; the graph as it ships does not run here" if seen.refused is not None
            else f"; {_not_compared(seen)}" if seen.missing else "; no output is beyond its limit on these inputs"
        )  # fmt: skip
        said = f"{variant} {first.words}" if computing is not None else f"{variant}: {first.words}"
        return "culprits", f"{said}{more}{end}"
    if seen.refused is not None:
        return _refused(variant, layers, seen, seen.refused)
    if seen.asked is not None:
        return _asked(variant, bad_outputs, layers, seen)
    if not bad_outputs:
        known = sum(each.replayed is not None or each.island is not None for each in layers)
        looked_at = f"{known} of {counted(len(layers), 'layer')} looked at"
        if computing is not None:
            said = f"{variant}; no operator is further off than that"
            if seen.missing:
                return "unobservable", f"{said}; {_not_compared(seen)}; {looked_at}"
            return "clean", f"{said}, and no output is off; {looked_at}"
        if seen.missing:
            return "unobservable", f"{variant}: {_not_compared(seen)}; no operator is off; {looked_at}"
        return "clean", f"{variant}: no operator and no output is off; {looked_at}"
    output = bad_outputs[0]
    said = f"output {one_line(output.diff.name)!r} {output.words}"
    unseen = [each for each in layers if _is_unseen(each)]
    if unseen:
        region = _named(unseen[0])
        if len(unseen) > 1:
            region += f" to {_named(unseen[-1])}"
        return "unobservable", f"{variant}: {said}; {counted(len(unseen), 'layer')} could not be looked at, {region}"
    if computing is not None:
        pin = f"; {pinned(asked)}" if computing.chosen and asked.precision == "auto" else ""
        return "accumulated_rounding", f"{variant}; {said}, and no operator is further off than that explains{pin}"
    return "accumulated_rounding", f"{variant}: {said}, and no operator introduces more than its arithmetic may"


def _asked(
    variant: str, bad_outputs: Sequence[Departure], layers: Sequence[Layer], seen: Seen
) -> tuple[VerdictWord, str]:
    """Of the operators that were asked for, and of them alone: nobody knows whether others are right."""
    assert seen.asked is not None
    wanted = [each for each in layers if each.output in seen.blocks.ends(seen.asked)]
    unseen = [each for each in wanted if _is_unseen(each)]
    who = _named(wanted[0]) if len(wanted) == 1 else f"all {len(wanted)} operators that were asked for"
    if unseen or not wanted:
        who = _named(unseen[0]) if unseen else "what was asked for"
        why = unseen[0].not_runnable or seen.hidden.get(unseen[0].output, "") if unseen else ""
        return "unobservable", f"{variant}: {who} could not be looked at{f': {one_line(why, 200)}' if why else ''}"
    said = f"{variant}: {who} {'is' if len(wanted) == 1 else 'are'} right; no other operator was judged, as asked"
    if not bad_outputs and seen.missing:
        return "unobservable", f"{said}; {_not_compared(seen)}"
    if not bad_outputs:
        return "clean", f"{said}; no output is off"
    output = bad_outputs[0]
    return "unobservable", f"{said}, and output {one_line(output.diff.name)!r} {output.words}"


def _refused(
    variant: str, layers: Sequence[Layer], seen: Seen, refusal: BackendError
) -> tuple[VerdictWord, str]:
    """Of a graph that the runtime does not run as it ships: which operators it does not run, and the rest."""
    looked = [each for each in layers if seen.asked is None or each.output in seen.blocks.ends(seen.asked)]
    left = [each for each in looked if each.not_runnable and _is_unseen(each)]
    known = sum(not _is_unseen(each) for each in looked)
    said = f"{variant}: the graph does not run here ({one_line(refusal.message, 200)})"
    if left:
        more = "" if len(left) == 1 else f" and {counted(len(left) - 1, 'more operator')}"
        said += f"; not runnable here: {_named(left[0])}{more}"
    return "unobservable", f"{said}; {known} of {counted(len(looked), 'layer')} looked at alone, none is off"


def _not_compared(seen: Seen) -> str:
    """`output 'i' was not compared: the runtime did not return it, nor was 1 more output`, in the words of a run."""
    name, why = next(iter(seen.missing.items()))
    more = len(seen.missing) - 1
    return f"output {one_line(name)!r} was not compared: {one_line(why, 200)}" + (
        f", nor was {counted(more, 'more output')}" if more else ""
    )


def _is_unseen(layer: Layer) -> bool:
    return layer.replayed is None and layer.island is None


def _named(layer: Layer) -> str:
    return f"{layer.op_type} {one_line(layer.node or layer.output, 60)!r}"
