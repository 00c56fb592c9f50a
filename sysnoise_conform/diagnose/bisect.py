"""What can't be watched, bisected: the smallest part of the untouched graph that shows the fault.

Watching changes what a runtime fuses, and a fault of a fusion is gone then. So parts of the graph are run that end at
one tensor, which is then an output like any other and nothing before it is disturbed: the first such tensor that is off
is where the fault shows. What stands behind a fault in the graph is not always off (a comparison of a wrong tensor may
be right), so a bisection of graph order can step over it: where an input of what it finds is off as well, it goes on
among all that this input is computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.diagnose.part import Part, ancestors, layers_read, run_part
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The first tensor at which a part of the untouched graph is off, and the last one before it that is not."""

    tensor: str
    diff: TensorDiff
    before: str  # "" where the very first is off
    diff_before: TensorDiff | None  # of that one, where a part that ends there was run


Departs = Callable[[TensorDiff], bool]


def first_shown(
    shop: Workshop, variant: Variant, place: str, layers: Sequence[Layer], output: str, departs: Departs
) -> Shown | None:
    """Bisect the tensors that `output` is computed from; None where no part shows the fault."""
    if shop.plan.target.model is None:
        return None
    there = ancestors(shop, output)
    order = [each.output for each in layers if each.output in there]
    if not order:
        return None
    with shop.crew.member(str(variant), shop.logs / f"{place}-bisect.txt", variant=variant) as child:
        tried: dict[str, TensorDiff | None] = {}

        def off(tensor: str) -> bool:
            if tensor not in tried:
                part = Part(tensor=tensor)
                tried[tensor] = run_part(shop, variant, child, part, f"part-{len(tried)}")
            diff = tried[tensor]
            return diff is not None and departs(diff)

        try:
            if not off(order[-1]):
                return None
            while True:
                shown, before = _bisected(order, off)
                nearer = next((each for each in layers_read(shop, shown) if each in order and off(each)), None)
                if nearer is None:
                    break
                there = ancestors(shop, nearer)
                order = [each.output for each in layers if each.output in there]
        except BackendDied:
            return None
    diff = tried[shown]
    assert diff is not None
    return Shown(tensor=shown, diff=diff, before=before, diff_before=tried.get(before))


def _bisected(order: Sequence[str], off: Callable[[str], bool]) -> tuple[str, str]:
    """One that is off, and the one before it, which is not ("" for the first); the last is known to be off."""
    low, high = -1, len(order) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if off(order[middle]) else (middle, high)
    return order[high], order[low] if low >= 0 else ""
