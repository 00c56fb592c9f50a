"""Operators that are right, though what was shown of them, or of what they read, is not what was computed.

A runtime that computes in place (MNN a LeakyRelu on the memory of the Gemm before it) shows an inner tensor as the next
operator left it. The replay then departs twice: at the tensor that is shown otherwise, and at its reader, whose answer
is right for another input than the shown one. So such tensors are taken for hidden, and the graph is replayed once
more: a reader that departs from its shown input and agrees with what float64 computes in its place tells that the
input was right where it was computed. A wrong operator's readers answer to its wrong tensor, and depart then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.judge.departure import departure
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

MOST_NAMED = 8


def shown_otherwise(
    shop: Workshop, variant: str, recordings: Sequence[Tensors], layers: Sequence[Layer], culprits: Sequence[Culprit],
    policy: Policy,
) -> tuple[str, ...]:  # fmt: skip
    """The outputs of operators that only seem to be off; `recordings` hold the first sample, one for each tapped graph.

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
    read = {each.output: reads(shop.model.proto.graph.node[each.index]) for each in layers}
    found: list[str] = []
    for recorded in recordings:
        hidden = _apart([each.output for each in layers if each.output in suspects & recorded.keys()], read)
        tally = shop.tally()
        kept = {name: array for name, array in recorded.items() if name not in hidden}
        with shop.goldens.replayed(0, kept) as exact:
            for name, tensor in exact.items():
                if name in kept:
                    tally.compare(tensor, kept[name], 0)
        for name in hidden:
            readers = [each for each in read if name in read[each] and each in tally.diffs]
            fooled = suspects.intersection(readers)
            if fooled and not any(off(tally.diffs[each]) for each in readers):
                found += [name, *sorted(fooled)]
    return tuple(dict.fromkeys(found))


def in_words(outputs: Sequence[str]) -> str:
    """A note of what is right all the same."""
    names = ", ".join(repr(one_line(each, 60)) for each in outputs[:MOST_NAMED])
    more = f" and {len(outputs) - MOST_NAMED} more" if len(outputs) > MOST_NAMED else ""
    return f"shown otherwise than computed, or computed from what is shown otherwise: {names}{more}; none is to blame"


def _apart(names: Sequence[str], read: Mapping[str, Collection[str]]) -> set[str]:
    """As many of these, which are in graph order, as do not read one another."""
    chosen: set[str] = set()
    for name in names:
        if chosen.isdisjoint(read[name]):
            chosen.add(name)
    return chosen
