"""A matrix on the terminal: axes first, then what stands out, then the noises put on one after another."""

from __future__ import annotations

import sys
from pathlib import Path

from sysnoise_conform.matrix.facts import CellFacts, Matrix
from sysnoise_conform.reports.wording import shorten

_WIDE = 34


def show(found: Matrix, folder: Path) -> None:
    """Print it to stdout."""
    sys.stdout.write(text(found, folder))


def text(found: Matrix, folder: Path) -> str:
    """The whole text."""
    value = found.baseline.get(found.metric, float("nan"))
    lines = [
        f"{found.metric} {value * 100:.2f} on {found.pictures} pictures ({found.layout}), baseline"
        f" {found.baseline_backend}; a drop of {found.margin * 100:g} points is allowed",
        "",
        f"{'noise':{_WIDE}}{'backend':16}{found.metric:>8}{'drop':>8}{'90 %':>18}{'lost':>6}{'won':>5}  verdict",
    ]
    lines += [_row(each) for each in found.cells]
    if found.steps:
        lines += ["", "put on one after another, the worst level of each (chosen on one half, told on the other):"]
        for step in found.steps:
            lines.append(
                f"  {'+ ' + step.added + '=' + step.level:{_WIDE}}{step.backend:16}{step.value * 100:8.2f}"
                f"{step.delta * 100:8.2f}{'  (greedy)' if step.order == 'greedy' else ''}"
            )
    plan = found.plan
    lines += [
        "",
        f"{plan.decodes:,} decodes, {plan.resizes:,} resizes, {plan.inferences:,} inferences; each cell by itself:"
        f" {plan.naive_decodes:,}, {plan.naive_resizes:,}, {plan.naive_inferences:,}",
    ]
    if found.problems:
        lines.append(f"{len(found.problems)} pictures or labels left out, the first: {found.problems[0].name}:"
                     f" {found.problems[0].why}")  # fmt: skip
    lines.append(f"{found.seconds:.0f} s; {folder}/noise.json")
    return "\n".join(lines) + "\n"


def _row(each: CellFacts) -> str:
    name = shorten(each.axis if each.axis == "backend" else f"{each.axis}={each.level}", _WIDE - 2)
    head = f"{name:{_WIDE}}{shorten(each.backend, 15):16}"
    figures = each.figures
    if figures is None:
        return f"{head}{each.status.upper().replace('_', ' ')}: {each.reason}"
    low, high = (value * 100 for value in figures.interval)
    interval = f"[{low:.2f}, {high:.2f}]"
    end: str = figures.verdict
    if figures.images_to_decide:
        end += f" ({figures.images_to_decide:,} pictures would tell)"
    numbers = f"{figures.value * 100:8.2f}{figures.delta * 100:8.2f}{interval:>18}{figures.lost:6}{figures.won:5}"
    return f"{head}{numbers}  {end}"
