"""Of a variant on a converted graph: what the conversion costs, and what of a difference is not the runtime's fault.

total = design + implementation: backend - golden(original) = [golden(converted) - golden(original)] + [backend -
golden(converted)]. The first has another owner and another cure than the second, and each has a limit of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sysnoise_conform.judge.computed import rounds_less
from sysnoise_conform.judge.departure import Departure, plain
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import one_line

# Steps of a quantised output are counted in float64 from float32 values: what is off by one step may be a little more.
ONE_STEP = 1.01


def cause(precision: str | None) -> str:
    """Who a design error belongs to, in words: the quantisation, the conversion to fp16."""
    return "the quantisation" if precision == "int8" else f"the conversion to {precision}"


def costs(measured: Measured, outputs: Iterable[str], policy: Policy, variant: str) -> list[Departure]:
    """The outputs at which the conversion costs more than the policy allows, or makes NaN or Inf of numbers."""
    known, found = {each.name: each for each in measured.design}, []
    who = cause(measured.runtime.asked_precision)
    for name in outputs:
        diff = known.get(name)
        if diff is None or not diff.comparable:
            continue
        if diff.nan_got > diff.nan_golden:
            count = f"{diff.nan_mismatch:,} of {diff.n:,} elements"
            words = f"loses {count} to {who}, which makes NaN or Inf of them"
            found.append(Departure(diff=diff, number=None, words=words, owner="design"))
            continue
        limit, relative = policy.limits(variant, name).max_design_rel_l2, diff.rel_l2
        if relative is not None and not relative <= limit:
            words = f"loses {size(diff)} to {who} (limit {plain(limit)})"
            found.append(Departure(diff=diff, number=None, words=words, owner="design"))
    return found


def size(diff: TensorDiff) -> str:
    """`0.0432 of its values (SQNR 27.3 dB)`."""
    if diff.rel_l2 is None:
        return "nothing" if not diff.sum_sq_err else f"up to {plain(diff.max_abs)}, where the original is zero"
    if diff.sqnr_db is None:
        return "nothing"
    return f"{plain(diff.rel_l2)} of its values (SQNR {diff.sqnr_db:.1f} dB)"


def worst(measured: Measured, outputs: Iterable[str]) -> str:
    """`the quantisation costs 'y' 0.0432 of its values (SQNR 27.3 dB)`: of several outputs the one that loses most."""
    wanted = set(outputs)
    diffs = [each for each in measured.design if each.name in wanted]
    who = cause(measured.runtime.asked_precision)
    moved = [each for each in diffs if not each.comparable]
    if moved:
        shape = list(moved[0].shape_got or ())
        return f"{who} gives {one_line(moved[0].name, 80)!r} another shape, {shape} for {list(moved[0].shape)}"
    if not diffs:
        return ""
    most = max(diffs, key=lambda each: each.rel_l2 if each.rel_l2 is not None else math.inf * (each.sum_sq_err > 0))
    return f"{who} costs {one_line(most.name, 80)!r} {size(most)}"


def costing(found: Sequence[Departure]) -> list[str]:
    """What the conversion costs beyond its limit, in words, of the output that loses most."""
    if not found:
        return []
    most = max(found, key=lambda each: each.diff.rel_l2 or 0.0)
    more = f", and {counted(len(found) - 1, 'other output')} with it" if len(found) > 1 else ""
    return [f"output {one_line(most.diff.name, 80)!r} {most.words}{more}"]


def beside(measured: Measured, outputs: Iterable[str]) -> list[str]:
    """Of a failure of the runtime's: whose doing it is, and what the conversion costs beside it."""
    return ["the runtime's doing, not the conversion's", *filter(None, [worst(measured, outputs)])]


def in_steps(diff: TensorDiff, steps: Mapping[str, float], most: float) -> bool:
    """Whether an output that comes out of integers is off by one step at most, and at no more than `most` of them."""
    step = steps.get(diff.name, 0.0)
    if not step > 0 or diff.nan_mismatch or not diff.finite or not diff.comparable:
        return False
    off = round(diff.sum_sq_err / step**2)  # elements: a float64 sum of squares is no integer on every processor
    return diff.max_abs <= ONE_STEP * step and off <= most * diff.finite


def keeps_more(diff: TensorDiff, measured: Measured) -> bool:
    """Whether an output is off because the runtime rounds less than the graph declares: it lies nearer to the original.

    Left-out roundings take part of the design error away again, so that total² = design² - implementation²; an error
    that has nothing to do with them adds up: total² = design² + implementation². The middle is total = design. Asked of
    float formats alone: who leaves out the rounding to integers did not compute in them.
    """
    if not rounds_less(measured.runtime.asked_precision):
        return False
    total, design = (
        next((each for each in group if each.name == diff.name), None) for group in (measured.total, measured.design)
    )
    if total is None or design is None or not total.comparable or not design.comparable:
        return False
    return not (diff.nan_mismatch or total.nan_mismatch) and total.sum_sq_err <= design.sum_sq_err


def steps_of(conversion: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Of a header's conversion: outputs that come out of integers, and the distance of two neighbouring ones."""
    return (conversion or {}).get("steps") or {}


def declared_of(conversion: Mapping[str, Any] | None) -> float | None:
    """Of a header's conversion: the share of its operations that the graph has in integers, where that is known."""
    share = (conversion or {}).get("in_integers")
    return None if share is None else float(share)
