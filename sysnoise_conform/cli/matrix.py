"""From a matrix's case to its report on disk and on the terminal, and its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sysnoise_conform.matrix.course import MatrixCase
    from sysnoise_conform.matrix.facts import Matrix

# Which of several codes a run ends with: the first that applies, as docs/exit-codes.md has it.
_ORDER = (1, 3, 6, 5)


def matrix(case: MatrixCase, out: Path) -> int:
    """Measure, write and print; the exit code."""
    from sysnoise_conform import interruption
    from sysnoise_conform.matrix.course import run_matrix
    from sysnoise_conform.report.folder import begin_noise
    from sysnoise_conform.reports import noise_publish, noise_terminal
    from sysnoise_conform.reports.progress import counting
    from sysnoise_conform.runner.crew import Crew

    begin_noise(out, keep_journal=case.resume)
    with Crew(case.limits) as crew, interruption.at_once(crew.dismiss):
        crew.recruit(tuple(dict.fromkeys((case.baseline, *case.variants))))
        with counting() as progress:
            found = run_matrix(case, out, crew=crew, progress=progress)
    noise_publish.publish(out, found)
    noise_terminal.show(found, out)
    return exit_code(found)


def exit_code(found: Matrix) -> int:
    """0 where every cell passed, else the gravest of what befell them; a matrix without a figure is never 0."""
    codes = set()
    for each in found.cells:
        match each.status:
            case "crashed":
                codes.add(3)
            case "unavailable":
                codes.add(6)
            case "unsupported":
                codes.add(5)
            case "measured" if each.figures is not None and each.axis != "control":
                codes |= {"PASS": set(), "FAIL": {1}, "INCONCLUSIVE": {5}}[each.figures.verdict]
            case _:
                pass
    if not any(each.figures is not None and each.axis != "control" for each in found.cells):
        codes.add(5)
    return next((each for each in _ORDER if each in codes), 0)
