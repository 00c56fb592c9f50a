"""What a whole matrix comes to: one word, how many cells befell what, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sysnoise_conform.matrix.cells import BACKEND, CONTROL
from sysnoise_conform.matrix.facts import CellFacts, Matrix
from sysnoise_conform.statistics.gate import Word

# Which of several codes a run ends with: the first that applies, as docs/exit-codes.md has it.
_ORDER = (1, 3, 6, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    """`counts` is by verdict for cells with figures and by status for those without; the control is in neither.

    `exit_codes` are all that applied, the one that won first; empty where everything passed.
    """

    word: Word
    exit_codes: tuple[int, ...]
    counts: Mapping[str, int]

    @property
    def exit_code(self) -> int:
        """0 where every cell passed, else the gravest of what befell them."""
        return self.exit_codes[0] if self.exit_codes else 0


def overall(found: Matrix) -> Overall:
    """The verdict of all cells together; a matrix without a figure is never PASS.

    Nor is one that was asked for noises and could measure none of them, whatever its backends do by themselves.
    """
    cells = [each for each in found.cells if each.axis != CONTROL]
    codes = {code for each in cells for code in _codes(each)}
    noises = [each for each in cells if each.axis != BACKEND]
    if not any(each.figures is not None for each in noises or cells):
        codes.add(5)
    applied = tuple(each for each in _ORDER if each in codes)
    word: Word = "PASS" if not applied else "FAIL" if applied[0] == 1 else "INCONCLUSIVE"
    counts: Counter[str] = Counter(each.status if each.figures is None else each.figures.verdict for each in cells)
    return Overall(word=word, exit_codes=applied, counts=counts)


def _codes(cell: CellFacts) -> Iterator[int]:
    match cell.status:
        case "crashed":
            yield 3
        case "unavailable":
            yield 6
        case "unsupported":
            yield 5
        case "measured" if cell.figures is not None:
            yield from {"PASS": (), "FAIL": (1,), "INCONCLUSIVE": (5,)}[cell.figures.verdict]
        case _:
            pass
