"""Operators that are right, though what was shown of them, or of what they read, is not what was computed.

A runtime that computes in place (MNN a LeakyRelu on the memory of the Gemm before it) shows an inner tensor as the next
operator left it. The replay then departs twice: at the tensor that is shown otherwise, and at its reader, whose answer
is right for another input than the shown one. So such tensors are taken for hidden, and the graph is replayed once
more: a reader that departs from its shown input and agrees with what float64 computes in its place tells that the
input was right where it was computed. A wrong operator's readers answer to its wrong tensor, and depart then.

A runtime that fuses an operator with the one before it does not round between them, while what it shows of the first is
rounded. By how much that may be is told by what float32 may be off on the whole way to the tensor, unless PyTorch's own
tensor there holds no number (a NaN arrives that the runtime has lost on its way): then the two are judged as one.

That an operator is wrong alone, too, says nothing against it where it is its being an output that does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sysnoise_conform.diagnose.blame import departs
from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.diagnose.layers import readers_of
from sysnoise_conform.diagnose.seen import Recording, Seen
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

MOST_NAMED = 8


def shown_otherwise(
    shop: Workshop, variant: str, seen: Seen, layers: Sequence[Layer], culprits: Sequence[Culprit], policy: Policy
) -> tuple[str, ...]:
    """The outputs of operators that only seem to be off, told by the first sample.

    Asked of PyTorch only where a culprit is right when it runs alone.
    """

    def off(diff: TensorDiff | None) -> bool:
        return diff is not None and departs(diff, variant, policy) is not None

    readers = readers_of(shop, seen)
    departing = [each for each in layers if off(each.replayed) and not _ships(shop, seen, each.output, off)]
    suspects = {each.output for each in departing if each.island is not None and not off(each.island)}
    doubtful = {each.output for each in departing} - suspects
    blamed, by_name = {each.layer.output for each in culprits}, {each.output: each for each in layers}
    found: dict[str, None] = {}
    for group in (suspects, doubtful):
        # What an operator that is wrong alone has fooled is right alone, and not explained otherwise yet.
        group = {each for each in group if not suspects.difference(found).isdisjoint(readers.get(each, ()))}
        if group.isdisjoint(blamed) and suspects.isdisjoint(blamed.difference(found)):
            continue
        for recording in seen.first:
            names = [each.output for each in layers if each.output in group and each.output in recording.tensors]
            hidden = _apart(names, readers)
            diffs = replayed_without(shop, seen, recording, hidden) if hidden else {}
            for name in hidden:
                behind = [each for each in readers.get(name, ()) if each in diffs]
                fooled = suspects.intersection(behind)
                if fooled and not any(off(diffs[each]) for each in behind):
                    found |= dict.fromkeys([name, *sorted(fooled)])
    blind = {name for name in blamed & suspects if name not in found and _says_nothing(by_name[name])}
    for recording in seen.first if blind else ():
        read = {name for name, made in readers.items() if name not in blind and not blind.isdisjoint(made)}
        diffs = replayed_without(shop, seen, recording, read)
        found |= {name: None for name in sorted(blind & diffs.keys()) if not off(diffs[name])}
    return tuple(found)


def replayed_without(
    shop: Workshop, seen: Seen, recording: Recording, hidden: Collection[str]
) -> Mapping[str, TensorDiff]:
    """What was recorded of the first sample, replayed once more as if some tensors had not been shown."""
    golden, tally = shop.goldens.sample(0), shop.tally()
    kept = {name: array for name, array in recording.tensors.items() if name not in hidden}
    given = {**kept, **shop.samples.feed(0)}
    with shop.goldens.replayed(0, kept) as exact:
        for name, tensor in exact.items():
            if name in kept and name in recording.own:
                settled = seen.margins.settled(tensor, kept[name], given, golden, kept, inside=exact)
                tally.compare(settled.golden, kept[name], 0, ties=settled.ties)
    return tally.diffs


def _says_nothing(layer: Layer) -> bool:
    """Whether PyTorch's tensor and the runtime's have no number in common to tell what rounding may be there."""
    return layer.cumulative is not None and layer.cumulative.n > 0 and layer.cumulative.finite == 0


def _ships(shop: Workshop, seen: Seen, tensor: str, off: Callable[[TensorDiff | None], bool]) -> bool:
    """Whether a tensor is an output of the untouched graph, and off there: however it is shown, so it ships."""
    return tensor in shop.outputs and off(seen.outputs.diffs.get(tensor))


def in_words(outputs: Sequence[str]) -> str:
    """A note of what is right all the same."""
    names = ", ".join(repr(one_line(each, 60)) for each in outputs[:MOST_NAMED])
    more = f" and {len(outputs) - MOST_NAMED} more" if len(outputs) > MOST_NAMED else ""
    return f"shown otherwise than computed, or computed from what is shown otherwise: {names}{more}; none is to blame"


def _apart(names: Sequence[str], readers: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """As many of these, which are in graph order, as do not read one another."""
    chosen: list[str] = []
    for name in names:
        if not any(name in readers.get(each, ()) for each in chosen):
            chosen.append(name)
    return tuple(chosen)
