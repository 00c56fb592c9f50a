"""What is wrong where it is watched, and right as it ships: a graph that does not show it tells.

A tensor that is made an output can be computed otherwise for it (onnx2tf takes one of 20 channels and 20 x 20 pixels
for one whose channels come last, and scales the columns). Its operator is then off in the tapped graph, and alone as
well, where its tensor is an output, too. So where watching has moved an output, or none of the untouched graph's is
off, the graph is watched once more with culprits' tensors left out. What reads one of them is judged together with it
there: an operator that was wrong in the first graph, as its reader tells, and is right in the second is none that ships
wrong. A reader that does not feel the error (a Relu of what is negative either way) tells nothing, and the operator
stays a culprit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from sysnoise_conform.diagnose.blame import departs
from sysnoise_conform.diagnose.boundaries import UNDISTURBED
from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.diagnose.layers import readers_of
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.shown import replayed_without
from sysnoise_conform.diagnose.verdict import Judged
from sysnoise_conform.diagnose.watching import watch_without
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant

MOST_TRIALS = 6  # each is a tapped graph of its own, and a replay
MOST_SUSPECTS = 8  # what is wrong in more places than these is no accident of watching

# A reader that is wrong alone is as far off as it is alone where what it reads is right, but for rounding: that adds in
# squares, and moves an error of five times what rounding may be by 2 %.
SAME = 0.02

CHANGED = "watching changes it: it is off where it is shown, and right where only what reads it is shown"
_WHY = "where it is watched, and is right where only its readers are: watching changes what is computed there"


def appearing(
    shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, found: Judged, policy: Policy, *, turn: int
) -> tuple[str, ...]:  # fmt: skip
    """The outputs of culprits that are right where they are not watched; `seen` is then what was watched without them.

    `child` may be dead, or die of it. `turn` counts the calls of one diagnosis.
    """
    ratio = found.observer_effect.floor_ratio
    suspects = _suspects(shop, seen, found.culprits)
    undisturbed = ratio is not None and ratio <= UNDISTURBED
    output_off = any(departs(each, str(variant), policy) is not None for each in found.outputs)
    if (undisturbed and output_off) or not seen.plain or not 0 < len(suspects) <= MOST_SUSPECTS:
        return ()
    trials = _Trials(shop, variant, place, child, seen, found.layers, policy, f"without-{turn}")
    right = trials.all_right(suspects)
    if trials.kept is None:
        return ()
    words = {each.layer.output: each.words for each in found.culprits}
    seen.watched_as(trials.kept)
    seen.hidden.update(dict.fromkeys(right, CHANGED))
    seen.notes += [f"{words[each]} {_WHY}" for each in right]
    return right


def _suspects(shop: Workshop, seen: Seen, culprits: Sequence[Culprit]) -> tuple[str, ...]:
    """The culprits' tensors that a graph can do without showing."""
    return tuple(
        each.layer.output
        for each in culprits
        if each.method == "replay" and each.layer.output in seen.recorded and each.layer.output not in shop.outputs
    )


class _Trials:
    """Graphs that are watched with one or another tensor left out."""

    def __init__(
        self, shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, layers: Sequence[Layer],
        policy: Policy, name: str,
    ) -> None:  # fmt: skip
        self._shop, self._variant, self._place, self._child, self._seen = shop, variant, place, child, seen
        self._policy, self._name = policy, name
        self._layers = {each.output: each for each in layers}
        self._readers = readers_of(shop, seen)
        self._replays: dict[frozenset[str], Mapping[str, TensorDiff]] = {}
        self._tried: dict[frozenset[str], frozenset[str]] = {}
        self.kept: Seen | None = None  # what was watched without those that turned out to be right, and nothing else

    def all_right(self, suspects: Sequence[str]) -> tuple[str, ...]:
        """Those that are right where they are left out: of all at once, of those that were, and one more at a time."""
        right, group = frozenset[str](), frozenset(suspects)
        while group and not right:
            some = self._right(group)
            right, group = (group, group) if some == group else (right, some)
        for each in suspects:
            wider = right | {each}
            if self._right(wider) == wider:
                right = wider
        return tuple(each for each in suspects if each in right)

    def _right(self, left_out: frozenset[str]) -> frozenset[str]:
        """Those of `left_out` that are right in a graph without them; none where no more graphs are tried."""
        if left_out in self._tried:
            return self._tried[left_out]
        moved = {each: self._moved(each, left_out) for each in left_out}
        found = frozenset(each for each, ends in moved.items() if ends)
        if found == left_out:
            if len(self._tried) >= MOST_TRIALS or self._shop.crew.dismissed:
                return frozenset()
            name = f"{self._name}-{len(self._tried)}"
            again = watch_without(self._shop, self._variant, self._place, self._child, self._seen, left_out, name)
            found = frozenset(each for each in left_out if self._agree(again, moved[each]))
            self._tried[left_out] = found
            if found == left_out:
                self.kept = again
        return found

    def _moved(self, tensor: str, left_out: Collection[str]) -> frozenset[str]:
        """Those nearest behind a wrong tensor that its error moves, told by the first sample.

        What lies between and is left out, too, is taken together with it.
        """
        chain, ends, waiting = {tensor}, set[str](), [tensor]
        while waiting:
            for name in self._readers.get(waiting.pop(), ()):
                if name not in left_out:
                    ends.add(name)
                elif name not in chain:
                    chain.add(name)
                    waiting.append(name)
        diffs = self._replayed_without(frozenset(chain))
        return frozenset(each for each in ends if each in diffs and self._feels(diffs[each]))

    def _replayed_without(self, hidden: frozenset[str]) -> Mapping[str, TensorDiff]:
        if hidden not in self._replays:
            parts = [replayed_without(self._shop, self._seen, each, hidden) for each in self._seen.first]
            self._replays[hidden] = {name: diff for part in parts for name, diff in part.items()}
        return self._replays[hidden]

    def _feels(self, diff: TensorDiff) -> bool:
        """Whether a reader is off, by another error than its own if it has one."""
        own = self._replayed_without(frozenset()).get(diff.name) if self._own(diff.name) is not None else None
        return self._off(diff) if own is None else _apart(diff, own) > SAME

    def _agree(self, again: Seen, ends: Collection[str]) -> bool:
        """Whether all that would feel the error are right, or off by their own; one that is not seen tells nothing."""
        diffs = [again.replayed.diffs[each] for each in ends if each in again.replayed.diffs]
        owns = [self._own(each.name) for each in diffs]
        return bool(diffs) and not any(
            self._off(diff) if own is None else _apart(diff, own) > SAME
            for diff, own in zip(diffs, owns, strict=True)
        )

    def _own(self, name: str) -> TensorDiff | None:
        """How far an operator is off alone; None where that is within its limits."""
        island = self._layers[name].island
        return island if island is not None and self._off(island) else None

    def _off(self, diff: TensorDiff) -> bool:
        return departs(diff, str(self._variant), self._policy) is not None


def _apart(diff: TensorDiff, own: TensorDiff) -> float:
    """By how much an error differs from another one, in that one's size."""
    if not diff.comparable or not own.comparable or diff.rmse is None or not own.rmse or diff.nan_mismatch:
        return math.inf
    return abs(diff.rmse - own.rmse) / own.rmse
