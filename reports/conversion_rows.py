"""A variant on a converted graph: its outputs with design and implementation apart, and how the graph came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.judge import departure
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import NOTHING, decibels, floor_units, number, shorten

NAMES = 4  # of calibration samples or kept nodes that are listed; summary.json has all


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """One output: total = design + implementation. None where it was not compared."""

    name: str
    implementation: TensorDiff
    design: TensorDiff | None
    total: TensorDiff | None


def parts(measured: Measured) -> tuple[Parts, ...]:
    """The outputs of a variant that ran a converted graph; none of one that ran the model as it is."""
    design, total = ({each.name: each for each in group} for group in (measured.design, measured.total))
    if not design and not total:
        return ()
    return tuple(
        Parts(name=each.name, implementation=each, design=design.get(each.name), total=total.get(each.name))
        for each in measured.outputs
    )


def relative(diff: TensorDiff | None) -> str:
    """A relative L2 error, or a dash where there is none to tell."""
    return NOTHING if diff is None or not diff.comparable or not diff.finite else number(diff.rel_l2)


def sqnr(diff: TensorDiff | None) -> str:
    """The same in decibels."""
    return NOTHING if diff is None or not diff.comparable or not diff.finite else decibels(diff.sqnr_db)


def in_units(diff: TensorDiff) -> str:
    """An error in the unit that it is judged in: the noise floor, or what correct arithmetic of these types may be off.

    PyTorch's two runs of a graph in float16 round alike nearly everywhere: their distance is no unit there.
    """
    units = departure.in_units(diff)
    return floor_units(diff) if diff.exact or units is None else number(units)


def command_of(made: Mapping[str, Any], variant: str) -> str | None:
    """The command line that brings a variant about again."""
    pairs = zip(made.get("variants") or (), made.get("commands") or (), strict=False)
    return next((str(command) for name, command in pairs if name == variant), None)


def facts_of(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How a converted graph came about, label by label."""
    record = made.get("record") or {}
    recipe = record.get("recipe") or {}
    yield "recipe", f"{one_line(made.get('recipe', NOTHING), 200)}, graph sha256 {str(made.get('sha256') or '')[:12]}"
    yield "converted", f"{counted(int(record.get('converted') or 0), 'operator')} of the model, {_left(record)}"
    if recipe.get("keep_fp32"):
        yield "kept", _some([str(each) for each in recipe["keep_fp32"]])
    calibration = made.get("calibration")
    if isinstance(calibration, Mapping):
        yield "calibration", calibrated(calibration)
    for each in (record.get("notes") or ())[:NAMES]:
        yield "note", one_line(each, 300)


def calibrated(facts: Mapping[str, Any]) -> str:
    """`16 images, split off from the inputs (sha256 0123456789ab): a.jpg, b.jpg and 14 more`."""
    origin = {
        "given": "given", "split": "split off from the inputs, not judged", "synthetic": "synthetic, not judged"
    }.get(str(facts.get("origin")), "")
    count, sha256 = counted(int(facts.get("samples") or 0), "sample"), str(facts.get("sha256") or "")[:12]
    too = [str(each) for each in facts.get("judged_too") or ()]
    also = f"; judged as well: {_some(too)}" if too else ""
    return f"{count}, {origin} (sha256 {sha256}): {_some([str(each) for each in facts.get('names') or ()])}{also}"


def _left(record: Mapping[str, Any]) -> str:
    kept = record.get("kept") or ()
    if not kept:
        return "none left in float32"
    why = [str(each.get("why", "")) for each in kept]
    first = max(dict.fromkeys(why), key=why.count)
    return f"{len(kept)} left in float32, {why.count(first)} of them: {one_line(first, 120)}"


def _some(names: list[str]) -> str:
    shown = ", ".join(shorten(each, 60) for each in names[:NAMES])
    return f"{shown} and {len(names) - NAMES} more" if len(names) > NAMES else shown
