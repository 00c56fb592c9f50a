"""Operators that are right, though what was shown of them, or of what they read, is not what was computed.

A runtime that computes in place (MNN a LeakyRelu on the memory of the Gemm before it) shows an inner tensor as the next
operator left it. The replay then departs twice: at the tensor that is shown otherwise, and at its reader, whose answer
is right for another input than the shown one. So such tensors are taken for hidden, and the graph is replayed once
more: a reader that departs from its shown input and agrees with what float64 computes in its place tells that the
input was right where it was computed. A wrong operator's readers answer to its wrong tensor, and depart then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.diagnose.layers import readers_of
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.judge.departure import departure
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
        if diff is None:
            return False
        limits = policy.limits(variant, diff.name, layer=True)
        return departure(diff, limits, max_code_share=policy.max_code_share) is not None

    suspects = {
        each.output for each in layers if off(each.replayed) and each.island is not None and not off(each.island)
    }
    if suspects.isdisjoint(each.layer.output for each in culprits):
        return ()
    readers = readers_of(shop, seen)
    feed, golden = shop.samples.feed(0), shop.goldens.sample(0)
    found: list[str] = []
    for recording in seen.first:
        recorded = recording.tensors
        hidden = _apart([each.output for each in layers if each.output in suspects & recorded.keys()], readers)
        tally = shop.tally()
        kept = {name: array for name, array in recorded.items() if name not in hidden}
        given = {**kept, **feed}
        with shop.goldens.replayed(0, kept) as exact:
            for name, tensor in exact.items():
                if name in kept and name in recording.own:
                    settled = seen.margins.settled(tensor, kept[name], given, golden, kept)
                    tally.compare(settled.golden, kept[name], 0, ties=settled.ties)
        for name in hidden:
            behind = [each for each in readers.get(name, ()) if each in tally.diffs]
            fooled = suspects.intersection(behind)
            if fooled and not any(off(tally.diffs[each]) for each in behind):
                found += [name, *sorted(fooled)]
    return tuple(dict.fromkeys(found))


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
