"""The words and numerals that every renderer shares: one fact reads the same everywhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

from sysnoise_conform.judge import departure
from sysnoise_conform.judge.sentences import counted, looks_like
from sysnoise_conform.outcome import (
    Crashed,
    Measured,
    NoOp,
    NotApplicable,
    Outcome,
    Reading,
    RuntimeFacts,
    Skipped,
    TaskFigure,
    TensorDiff,
    Unavailable,
    Unobservable,
    Unsupported,
)
from sysnoise_conform.printable import one_line

NOTHING = "–"


def status(outcome: Outcome) -> str:
    """The outcome's name in lower case, as `summary.json` has it."""
    match outcome:
        case Measured():
            return "measured"
        case NoOp():
            return "no_op"
        case Skipped():
            return "skipped"
        case NotApplicable():
            return "not_applicable"
        case Unsupported():
            return "unsupported"
        case Crashed():
            return "crashed"
        case Unavailable():
            return "unavailable"
        case _:
            assert_never(outcome)


def reason(outcome: Outcome) -> str | None:
    """Why nothing was measured, with the cure where one is known; None for what was measured."""
    match outcome:
        case Measured():
            return None
        case NoOp(same_as=same_as):
            return f"the same computation as {same_as}"
        case Skipped(why=why):
            return why
        case NotApplicable(why=why, node=node):
            return f"{why} (node {node})" if node else why
        case Unsupported(stage="plan", why=why):
            return why
        case Unsupported(stage=stage, why=why, node=node, op=op):
            place = ", ".join(part for part in (op, f"node {node}" if node else None) if part)
            return f"refused at {stage}{f' ({place})' if place else ''}: {why}"
        case Crashed(stage=stage, cause=cause, why=why, signal=signal):
            return f"{cause} at {stage}{f' ({signal})' if signal else ''}: {why}"
        case Unavailable(why=why, cure=cure):
            return f"{why}; {cure}" if cure else why
        case _:
            assert_never(outcome)


def runtime_of(outcome: Outcome) -> RuntimeFacts | None:
    """The runtime as it was, where the outcome got as far as knowing it."""
    match outcome:
        case Measured(runtime=runtime) | Unsupported(runtime=runtime) | Crashed(runtime=runtime):
            return runtime
        case NoOp() | Skipped() | NotApplicable() | Unavailable():
            return None
        case _:
            assert_never(outcome)


def shorten(name: object, width: int) -> str:
    """`name` on one printable line of at most `width` characters: the middle gives way, both ends stay."""
    safe = one_line(name, limit=100_000)
    if len(safe) <= width:
        return safe
    head = (width - 1) // 2
    return f"{safe[:head]}…{safe[len(safe) - (width - 1 - head) :]}"


def number(value: float | None) -> str:
    """Three significant digits; a dash for what has no value."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-3 or size >= 1e5:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 999.5 else f"{value:#.3g}".rstrip(".")


def decibels(value: float | None) -> str:
    """One decimal: more would be noise."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.1f}"


def floor_units(diff: TensorDiff) -> str:
    """The error in units of the noise floor, or why it has none."""
    if not diff.comparable:
        return NOTHING
    if diff.empty:
        return "empty"
    if diff.exact:
        # Equal NaN is no evidence that anything is right.
        return "exact" if not diff.nan_golden else "same NaN" if diff.finite else "all NaN"
    units = departure.floor_units(diff)
    if units is None:
        return f"{diff.mismatches} differ" if diff.mismatches else NOTHING
    return number(units)


def place(index: Sequence[int]) -> str:
    """An index as people write it: 0,3,17; a dash for a scalar's."""
    return ",".join(str(each) for each in index) or NOTHING


def trouble(diff: TensorDiff) -> str | None:
    """What makes a tensor's numbers moot: another shape or type, or NaN and Inf on one side only."""
    if diff.shape_got is not None:
        return f"shape {list(diff.shape_got)} where the golden has {list(diff.shape)}"
    if diff.dtype_got is not None:
        return f"type {one_line(diff.dtype_got, 40)} where the golden has {one_line(diff.dtype, 40)}"
    if diff.nan_mismatch:
        where = (
            f", first at sample {diff.first_nonfinite[0]}, index {place(diff.first_nonfinite[1:])}"
            if diff.first_nonfinite
            else ""
        )
        return f"NaN or Inf on one side only in {diff.nan_mismatch} of {diff.n} elements{where}"
    return None


def reading(found: Reading) -> str:
    """A reading in words, with the share of the error that it leaves unexplained."""
    left = f", which leaves {found.residual:.0%} of the error" if math.isfinite(found.residual) else ""
    return f"{looks_like((found,))}{left}"


def runtime(facts: RuntimeFacts) -> str:
    """Name, version, device and the precision that was really used."""
    asked = facts.asked_precision or "the model's own"
    version = f" {facts.version}" if facts.version else ""
    if not facts.device and not facts.effective_precision:  # it never got as far as a session
        return one_line(f"{facts.name}{version}, which made no session (asked: {asked})")
    return one_line(
        f"{facts.name}{version} on {facts.device or 'an unknown device'}, "
        f"effective precision {facts.effective_precision or 'unknown'} (asked: {asked})"
    )


def coverage(
    total: int, diffs: Sequence[TensorDiff], unobservable: Iterable[Unobservable], inside_bodies: int = 0
) -> str:
    """How many layers were compared, and the commonest reasons why the others were not."""
    if not total:
        said = "no layers depend on an input"
    else:
        empty = sum(each.empty for each in diffs)
        compared = len(diffs) - empty
        said = f"{compared} of {counted(total, 'layer')} compared ({_percent(compared, total)})"
        said += f"; {empty} empty: there was nothing to compare" if empty else ""
    why = Counter(one_line(each.why, 120) for each in unobservable)
    if why:
        counts = ", ".join(f"{count} {words}" for words, count in why.most_common(3))
        more = f" and {len(why) - 3} more reasons" if len(why) > 3 else ""
        said += f"; not observable: {counts}{more}"
    if inside_bodies:
        said += f"; {inside_bodies} more tensors inside If, Loop or Scan bodies are not compared"
    return said


def _percent(part: int, whole: int) -> str:
    share = math.floor(1000 * part / whole) / 10  # rounded down: 100 % means all
    return f"{share:g} %"


def observer_ratio(effects: Iterable[TensorDiff]) -> float | None:
    """The largest difference that tapping made at an output, in floor units; None where it has no such number."""
    ratios = [departure.floor_units(each) for each in effects if not each.empty]
    known = [each for each in ratios if each is not None and math.isfinite(each)]
    return max(known) if known else None


def observer(effects: Sequence[TensorDiff]) -> str:
    """What tapping the layers did to the outputs."""
    if not effects:
        return "not measured: the outputs of the tapped graph were not compared with the untouched graph's"
    if all(each.empty for each in effects):
        return "nothing to see: the outputs are empty"
    if all(each.exact or each.empty for each in effects):
        return "none: the tapped graph gives the untouched graph's outputs, bit for bit"
    moot = [each for each in effects if trouble(each)]
    if moot:
        return f"{shorten(moot[0].name, 60)}: {trouble(moot[0])}"
    ratio = observer_ratio(effects)
    if ratio is None:
        changed = sum(not (each.exact or each.empty) for each in effects)
        return f"tapping changes {changed} of {counted(len(effects), 'output')}"
    return f"tapping moves the outputs by up to {number(ratio)} × the noise floor"


def golden_from_store(facts: Mapping[str, Any]) -> bool:
    """Nothing was computed for this run: every sample's golden was there already."""
    cached = facts.get("cached")
    return bool(cached) and cached in (True, facts.get("of", cached))


def golden(facts: Mapping[str, Any]) -> str:
    """PyTorch's version, and whether the golden was computed for the run that the report is of."""
    where = "from the store" if golden_from_store(facts) else "computed during the run"
    return f"PyTorch {one_line(facts.get('torch') or 'unknown', 60)}, float64, {where}"


def deployed(header: Mapping[str, Any]) -> str | None:
    """The file that really ships, where it is another than the model; None for a run on the model itself."""
    facts = header.get("deployed")
    if not isinstance(facts, Mapping):
        return None
    sha256 = str(facts.get("sha256") or "")[:12] or "unknown"
    return f"{one_line(facts.get('path', NOTHING))} ({one_line(facts.get('format', ''), 40)}, sha256 {sha256})"


def figure(task: TaskFigure) -> str:
    """A task figure: its value and what it is out of."""
    return f"{task.value:.6g}" if task.of is None else f"{task.value:.6g} of {task.of:.6g}"


def duration(seconds: float) -> str:
    """Seconds with as many digits as a reader wants."""
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
