"""From what `conform bench` is asked to its tables on disk, and the text of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sysnoise_conform.matrix.benching import Asked, Subject
    from sysnoise_conform.matrix.facts import Matrix
    from sysnoise_conform.matrix.paper_rows import MeasuredRow
    from sysnoise_conform.reports.paper_grid import Grid

# What a crashed or missing backend makes of the exit code; drops decide nothing here.
_TOLD = (3, 6)


class Bench:
    """Measures table by table; a model that two tables ask for is measured once. `exit_code` is told at the end."""

    def __init__(self, asked: Asked, out: Path) -> None:
        from sysnoise_conform.matrix import benching

        benching.checked(asked)
        self._asked, self._out = asked, out
        self._rows: dict[tuple[str, str], MeasuredRow] = {}
        self.exit_code = 0

    def texts(self) -> Iterator[str]:
        """Each table as text, once its files are written. Raises what `conform noise` and `zoo export` raise."""
        from sysnoise_conform.models.zoo import paper
        from sysnoise_conform.report.folder import atomic_write, storage_errors
        from sysnoise_conform.reports.paper_forms import FORMS, text

        with storage_errors(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        for name in self._asked.tables:
            grid = self._figure() if name == paper.FIGURE else self._table(name)
            for suffix, form in FORMS.items():
                atomic_write(self._out / f"{name}.{suffix}", form(grid))
            yield text(grid)

    def _table(self, name: str) -> Grid:
        from sysnoise_conform.models.zoo import paper
        from sysnoise_conform.reports.paper_grid import of_table

        table = paper.table(name)
        rows = [] if self._asked.published else list(self._measured(table.task, name, table.columns))
        return of_table(table, rows)

    def _figure(self) -> Grid:
        """Its halves come from what tables 2 and 3 measure."""
        from sysnoise_conform.models.zoo import paper
        from sysnoise_conform.reports.paper_grid import of_figure

        rows = []
        for panel in paper.panels() if not self._asked.published else ():
            name = "table2" if panel.task == "classify" else "table3"
            rows += [(panel, row) for row in self._measured(panel.task, paper.FIGURE, paper.table(name).columns)]
        return of_figure(paper.figure_title(), paper.panels(), rows)

    def _measured(self, task: str, table: str, columns: tuple[str, ...]) -> Iterator[MeasuredRow]:
        from sysnoise_conform.matrix import benching

        for subject in benching.subjects(self._asked, task, table, self._out / "models"):
            if not benching.fits(subject, task):
                continue
            key = (str(subject.model), task)
            if key not in self._rows:
                self._rows[key] = self._row(subject, task, columns)
            yield self._rows[key]

    def _row(self, subject: Subject, task: str, columns: tuple[str, ...]) -> MeasuredRow:
        from sysnoise_conform.matrix import benching, paper_rows
        from sysnoise_conform.matrix.overall import overall

        found = _run(benching.case(self._asked, subject, columns, task), self._out / subject.model.stem)
        codes = [each for each in overall(found).exit_codes if each in _TOLD]
        self.exit_code = min([each for each in (self.exit_code, *codes) if each], default=0)
        return paper_rows.row(found, columns, label=subject.label, member=subject.member, about=subject.about)


def _run(case: object, out: Path) -> Matrix:
    from sysnoise_conform import interruption
    from sysnoise_conform.matrix.course import MatrixCase, run_matrix
    from sysnoise_conform.report.folder import begin_noise
    from sysnoise_conform.reports import noise_publish
    from sysnoise_conform.reports.progress import counting
    from sysnoise_conform.runner.crew import Crew

    assert isinstance(case, MatrixCase)
    begin_noise(out, keep_journal=case.resume)
    with Crew(case.limits) as crew, interruption.at_once(crew.dismiss):
        crew.recruit(tuple(dict.fromkeys((case.baseline, *case.variants))))
        with counting() as progress:
            found = run_matrix(case, out, crew=crew, progress=progress)
    noise_publish.publish(out, found)
    return found
