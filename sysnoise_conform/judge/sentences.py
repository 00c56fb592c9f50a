"""The judge's words: what a person at the end of a long day needs to know, and do, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.judge.computed import usual_for
from sysnoise_conform.judge.departure import (
    Departure,
    by_sigma,
    departure_units,
    floor_excess,
    floor_units,
    in_its_unit,
    limit_words,
    plain,
    sigma_excess,
    sigma_limit,
)
from sysnoise_conform.judge.policy import Deviation, Limits
from sysnoise_conform.outcome import (
    Crashed,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Reading,
    RuntimeFacts,
    Skipped,
    TensorDiff,
    Unavailable,
    Unsupported,
)
from sysnoise_conform.printable import one_line

# Relative L2 errors that networks computed in a format were measured to have: docs/error-model.md, "Sizes".
_SIZES = {"bfloat16": (2.0**-10, 2.0**-5), "float16 or TF32": (2.0**-13, 2.0**-10)}
_FORMATS = {"bfloat16": ("bf16",), "float16 or TF32": ("fp16", "tf32")}


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's maker: the layer's number in graph order (from 1), out of how many."""

    number: int
    of: int
    op_type: str
    node: str


def quoted(name: str) -> str:
    """A model's name in quotes, safe to print and not longer than a line bears."""
    return repr(one_line(name, 80))


def layer(place: Place | None, tensor: str) -> str:
    """`Conv 'node_conv2d' (layer 3 of 120)`."""
    if place is None:
        return f"tensor {quoted(tensor)}"
    return f"{one_line(place.op_type, 40)} {quoted(place.node or tensor)} (layer {place.number} of {place.of})"


def looks_like(readings: Sequence[Reading]) -> str:
    """`this looks like bfloat16 arithmetic`; empty without a reading."""
    if not readings:
        return ""
    first = readings[0]
    value = one_line(first.value, 80)
    match first.kind:
        case "bfloat16" | "float16" | "tf32" | "int8":
            words = f"{first.kind} arithmetic"
        case "scale":
            words = f"a constant scale of {value}"
        case "sign_flip":
            words = "a flipped sign"
        case "offset":
            words = f"a constant offset of {value}"
        case "shift":
            words = f"a shift {value}"
        case "channels_swapped":
            words = f"swapped channels ({value})"
        case "transposed":
            words = f"a transposed layout ({value})"
        case "constant":
            words = f"a constant output ({value})"
        case "tie_order":
            words = f"equal values in another order ({value})"
        case "rounding_mode":
            words = f"another rule of rounding ({value})"
        case "nan_hidden":
            return f"{value} of PyTorch's NaN or Inf come back as numbers"
        case "clipped":
            words = f"values that are clipped {value}"
        case "saturated":
            words = f"integers that saturate {value}, where PyTorch's wrap around"
        case "wrapped":
            words = f"integers that wrap {value}"
        case "float32":
            words = "integers that went through float32"
        case "attribute":
            words = f"the same operator with {value}"
        case "border":
            words = f"an error at the border only ({value})"
        case "one_channel":
            words = f"an error in one channel only ({value})"
        case other:
            words = f"{one_line(other, 40)} {value}".strip()
    return f"this looks like {words}"


def size_of(diff: TensorDiff, runtime: RuntimeFacts, variant: str) -> str:
    """What an unexplained error's size is usual for; a weaker word than a reading.

    Nothing where the arithmetic is known to be another, where NaN is what departs, and of integers.
    """
    if diff.nan_mismatch or unit_roundoff(diff.dtype) is None:
        return ""
    relative = diff.rel_l2
    for name in usual_for(runtime, variant, _FORMATS):
        low, high = _SIZES[name]
        if relative is not None and low <= relative < high:
            return f"its size, {relative:.1e} of the values, is usual for {name}"
    return ""


def departs(found: Departure, place: Place | None, runtime: RuntimeFacts, variant: str, *, output: bool) -> str:
    """One finding as a sentence of its own."""
    who = f"output {quoted(found.diff.name)}" if output else layer(place, found.diff.name)
    said = f"{who} {found.words}"
    why = "" if found.owner == "design" else looks_like(found.diff.readings) or size_of(found.diff, runtime, variant)
    return f"{said}; {why}" if why else said


def broken(diff: TensorDiff, *, nonfinite_inputs: int, since: str | None) -> str:
    """What an output of NaN and Inf that PyTorch has as well says of the model; `since` is the layer that began it."""
    words = "holds no finite value" if not diff.finite else f"holds {diff.nan_golden:,} NaN or Inf"
    words += ", and PyTorch's golden holds the same: "
    if nonfinite_inputs:
        return f"{words}the inputs hold {nonfinite_inputs:,} NaN or Inf"
    words += "the model is broken, not the runtime: its weights hold NaN or Inf, or it makes them of these inputs"
    return words if since is None else f"{words}; nothing finite is left from {since} on"


def expiries(expired: Sequence[Deviation]) -> list[str]:
    """Deviations that would have covered a failure, each in words."""
    return [
        f"the deviation that covered it expired on {each.expires} (owner {one_line(each.owner, 60)})"
        for each in dict.fromkeys(expired)
    ]


def first_departure(found: Departure, place: Place | None, *, converted: bool) -> str:
    """`first departure: Conv 'node_conv2d' (layer 3 of 120), 8,700 floor units`."""
    return f"first departure: {layer(place, found.diff.name)}, {much(found, converted=converted)}"


def much(found: Departure, *, converted: bool) -> str:
    """By how much, in the unit of the tables, or what else is wrong."""
    if found.number is None:
        return found.words
    return in_its_unit(found.diff) if converted and by_sigma(found.diff) else departure_units(found.number)


def not_measured(variant: str, outcome: Outcome, log: str | None) -> str:
    """Why there is nothing to judge."""
    name = one_line(variant, 120)
    match outcome:
        case Measured():
            return f"INCONCLUSIVE {name}"
        case Unsupported(stage="plan", why=why):  # conform's own limit, no word of the runtime's
            return f"INCONCLUSIVE {name}: {one_line(why)}"
        case Unsupported(stage=stage, why=why, node=node, op=op):
            where = f" {one_line(op, 60)}" if op else ""
            where += f" at node {quoted(node)}" if node else ""
            return f"INCONCLUSIVE {name}: the runtime refuses{where or ' the model'} at {stage}: {one_line(why)}"
        case Crashed(stage=stage, cause=cause, why=why, signal=signal):
            how = {"timeout": "ran out of time", "memory": "ran out of memory"}.get(cause, "crashed")
            by = f" ({signal})" if signal else ""
            see = f"; its last words: {log}" if log else ""
            return f"INCONCLUSIVE {name}: {how}{by} at {stage}: {one_line(why)}{see}"
        case Unavailable(why=why, cure=cure):
            return f"INCONCLUSIVE {name}: not here: {one_line(why)}" + (f"; {one_line(cure)}" if cure else "")
        case Skipped(why=why):
            return f"INCONCLUSIVE {name}: skipped: {one_line(why)}"
        case NotApplicable(why=why, node=node):
            where = f" (node {quoted(node)})" if node else ""
            return f"INCONCLUSIVE {name}: not applicable{where}: {one_line(why)}"
        case NoOp(same_as=same_as):
            return f"INCONCLUSIVE {name}: the same computation as {one_line(same_as, 120)}, nothing of its own was run"
        case _:
            assert_never(outcome)


def counted(number: int, noun: str) -> str:
    """`1 output`, `2 outputs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def worst_output(diffs: Sequence[TensorDiff], limits: Callable[[TensorDiff], Limits], *, converted: bool) -> str:
    """`worst 2.1 floor units (limit 10)`; of several outputs the one that is nearest to its limit, by name.

    Of a `converted` graph in the unit of the tables: PyTorch's two runs of a graph in float16 round alike nearly
    everywhere, and their distance is no unit there.
    """
    if all(each.exact or each.empty for each in diffs):
        return "bit for bit"
    known = [(_near(each, limits(each), sigma=converted and by_sigma(each)), each) for each in diffs]
    near = [(share, each) for share, each in known if share is not None]
    if not near:
        return "equal within the limits"
    share, worst = max(near, key=lambda item: item[0])
    which = "worst" if len(diffs) == 1 else f"nearest to its limit {quoted(worst.name)} at"
    if converted and by_sigma(worst):
        return f"{which} {in_its_unit(worst)} ({sigma_limit(worst, limits(worst))})"
    limit = limit_words(limits(worst).max_floor_ratio, worst)
    said = f"{which} {plain(floor_units(worst) or 0.0)} floor units ({limit}"
    if share > 1 and worst.z is not None:
        said += f"; correct arithmetic may be that far off here: z {plain(worst.z)}"
    return said + ")"


def _near(diff: TensorDiff, limits: Limits, *, sigma: bool) -> float | None:
    """The error as a share of its limit, in one of the two units; None where it has no such number."""
    if sigma:
        excess = sigma_excess(diff)
        return excess / limits.max_z if excess is not None and limits.max_z > 0 else None
    excess = floor_excess(diff)
    return excess / limits.max_floor_ratio if excess is not None and limits.max_floor_ratio > 0 else None
