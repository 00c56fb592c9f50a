"""From a matrix's case to its report on disk and on the terminal, and its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sysnoise_conform.matrix.course import MatrixCase


def matrix(case: MatrixCase, out: Path, *, verbose: bool = False) -> int:
    """Measure, write and print, with every cell if `verbose`; the exit code."""
    from sysnoise_conform import interruption
    from sysnoise_conform.matrix.course import run_matrix
    from sysnoise_conform.matrix.overall import overall
    from sysnoise_conform.pictures import elsewhere
    from sysnoise_conform.report.folder import begin_noise
    from sysnoise_conform.reports import noise_publish, noise_terminal
    from sysnoise_conform.reports.progress import counting
    from sysnoise_conform.runner.crew import Crew
    from sysnoise_conform.runner.libraries import Libraries

    begin_noise(out, keep_journal=case.resume)
    with Crew(case.limits) as crew, interruption.at_once(crew.dismiss):
        crew.recruit(tuple(dict.fromkeys((case.baseline, *case.variants))))
        with counting() as progress:
            found = run_matrix(case, out, crew=crew, progress=progress)
        # A gallery makes its pictures anew, also those of libraries in environments of their own.
        with Libraries(crew, out / "logs", 1, of="-gallery") as libraries, elsewhere.serving(libraries):
            noise_publish.publish(out, found)
    noise_terminal.show(found, out, verbose=verbose)
    return overall(found).exit_code

