"""How far apart the presets of one backend are: of `--preset all`, the best and the worst at each output."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.outcome import Measured
from sysnoise_conform.printable import one_line
from sysnoise_conform.report.graphs import conversion_of
from sysnoise_conform.reports.rows import VariantRow
from sysnoise_conform.reports.wording import decibels, shorten

OUTPUTS = 4  # that people are told of; summary.json has all
_CHOICE = re.compile(r"\+(preset|observer)=[^+]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The design error at one output over the presets of one backend, in decibels of SQNR by preset."""

    variant: str  # without its preset and observer
    output: str
    sqnr_db: Mapping[str, float]

    @property
    def lowest(self) -> str:
        """The preset that costs most."""
        return min(self.sqnr_db, key=self.sqnr_db.__getitem__)

    @property
    def highest(self) -> str:
        """The preset that costs least."""
        return max(self.sqnr_db, key=self.sqnr_db.__getitem__)


def spreads(header: Mapping[str, Any], rows: Sequence[VariantRow]) -> tuple[Spread, ...]:
    """Of every backend and output for which two presets or more were measured, in the report's order."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        made, outcome = conversion_of(header, row.result.variant), row.result.outcome
        recipe = ((made or {}).get("record") or {}).get("recipe") or {}
        if not recipe.get("preset") or not isinstance(outcome, Measured):
            continue
        backend = _CHOICE.sub("", row.result.variant)
        label = _label(row.result.variant, recipe)
        outputs = {each.name for each in outcome.outputs}
        for diff in outcome.design:
            known = diff.sqnr_db if diff.comparable and diff.finite else None
            if diff.name in outputs and known is not None and math.isfinite(known):
                found.setdefault((backend, diff.name), {})[label] = known
    return tuple(
        Spread(variant=backend, output=output, sqnr_db=known)
        for (backend, output), known in found.items()
        if len(known) > 1
    )


def _label(variant: str, recipe: Mapping[str, Any]) -> str:
    """The preset, and the observer where the variant names another than the preset's own."""
    observer = f", {recipe.get('observer')}" if "+observer=" in variant else ""
    return f"{recipe['preset']}{observer}"


def as_json(spread: Spread) -> dict[str, Any]:
    """As `summary.json` has it."""
    return {
        "variant": spread.variant,
        "output": spread.output,
        "design_sqnr_db": dict(spread.sqnr_db),
        "lowest": spread.lowest,
        "highest": spread.highest,
    }


def in_words(found: Sequence[Spread]) -> Iterator[str]:
    """`ort:int8, 'y': design SQNR 2.4 dB (power_of_two) to 19.2 dB (tflite) over 8 presets`."""
    for each in found[:OUTPUTS]:
        low, high = each.lowest, each.highest
        yield (
            f"{one_line(each.variant, 60)}, {shorten(each.output, 60)}: design SQNR "
            f"{decibels(each.sqnr_db[low])} dB ({one_line(low, 60)}) to {decibels(each.sqnr_db[high])} dB "
            f"({one_line(high, 60)}) over {len(each.sqnr_db)} presets"
        )
    if len(found) > OUTPUTS:
        yield f"and {len(found) - OUTPUTS} more; summary.json has them"
