"""Cells over pictures that a library in an environment of its own prepares: it may fall, and costs its own cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sysnoise_conform.errors import BackendDied, BackendError, BadInput
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.engine import Engine, Failure, Passes
from sysnoise_conform.matrix.facts import Status
from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.noise import AXES
from sysnoise_conform.pictures.elsewhere import LibraryFailed
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.libraries import Libraries


@dataclass(slots=True, kw_only=True)
class Borrowing(Engine):
    """An engine that notes what becomes of libraries: one that falls is no fault of the picture that it falls at."""

    def _left_out(self, at: int, err: BadInput) -> None:
        if not isinstance(err, LibraryFailed):
            # Not super(): a dataclass with slots is another class than the one that this method was written in.
            Engine._left_out(self, at, err)
        elif not err.again:
            self.failures.setdefault(
                _place(err.library), _fallen(err.why, err.library, f" at {one_line(self.names[at], 80)}")
            )


def failure(engine: Passes, cell: Cell) -> Failure | None:
    """Why a cell has no answers: its backend or graph failed, or a library that its pictures pass through fell.

    The engine itself asks for the former alone: cells of several libraries share an exchange with a backend.
    """
    found = engine.failure(cell)
    fallen = (engine.failures[_place(each)] for each in borrowed(cell) if _place(each) in engine.failures)
    return next(fallen, None) if found is None else found


def borrowed(cell: Cell) -> tuple[str, ...]:
    """The libraries in environments of their own that a cell's pictures pass through."""
    levels = (AXES[name].level(level) for name, level in cell.levels)
    return tuple(dict.fromkeys(each.elsewhere for each in levels if each.elsewhere))


def opened(cells: Iterable[Cell], libraries: Libraries, journal: Journal) -> dict[Cell, tuple[Status, str]]:
    """Load the libraries of some cells and keep which versions they are; the cells of one that can't be, with why.

    Raises UsageError where the journal has results of another version.
    """
    fallen: dict[Cell, tuple[Status, str]] = {}
    for cell in cells:
        for library in borrowed(cell):
            try:
                journal.name_runtimes({library: libraries.version(library)})
            except LibraryFailed as err:
                failed = _fallen(err.why, library, "")
                fallen[cell] = (failed.status, failed.why)
    return fallen


def _fallen(why: BackendError, library: str, where: str) -> Failure:
    words = f"{why.message}{where}{f'; {why.hint}' if why.hint else ''}"
    return Failure(
        "crashed" if isinstance(why, BackendDied) else "unavailable", f"{one_line(words, 300)}; see logs/{library}.txt"
    )


def _place(library: str) -> str:
    return f"library {library}"
