"""What can't be watched, bisected: the smallest part of the untouched graph that shows the fault.

Watching changes what a runtime fuses, and a fault of a fusion is gone then. So parts of the graph are run that end at
one tensor, which is then an output like any other and nothing before it is disturbed: the first such tensor that is off
is where the fault shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.diagnose.part import Part, ancestors, run_part
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
    with shop.crew.member(str(variant), shop.logs / f"{place}-bisect.txt", variant=variant) as child:
        found: dict[str, TensorDiff] = {}
        tried: list[str] = []

        def off(tensor: str) -> bool:
            diff = run_part(shop, variant, child, Part(tensor=tensor), f"part-{len(tried)}")
            tried.append(tensor)
            if diff is not None:
                found[tensor] = diff
            return diff is not None and departs(diff)

        try:
            low, high = -1, len(order) - 1
            if high < 0 or not off(order[high]):
                return None
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if off(order[middle]) else (middle, high)
        except BackendDied:
            return None
    tensor = order[high]
    before = order[low] if low >= 0 else ""
    return Shown(tensor=tensor, diff=found[tensor], before=before, diff_before=found.get(before))
