"""What a benchmark hands to the page: figures with their targets, and the words around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIGURES_HEAD = "| what | measured | target | reached |\n|---|---:|---:|---|"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number; `target` is the most it may be, None where it only informs."""

    what: str
    value: float
    unit: str = "×"
    target: float | None = None

    @property
    def reached(self) -> str:
        """The last column of its row."""
        if self.target is None:
            return "–"
        return "yes" if self.value <= self.target else "**no**"

    def row(self) -> str:
        """One line of a table of figures."""
        target = "–" if self.target is None else f"≤ {self.target:g} {self.unit}"
        return f"| {self.what} | {self.value:.3g} {self.unit} | {target} | {self.reached} |"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One benchmark's part of the page; `text` is Markdown."""

    title: str
    figures: tuple[Figure, ...]
    text: str

    def markdown(self) -> str:
        """The section as it stands on the page."""
        parts = [f"## {self.title}", figures_table(self.figures), self.text.strip()]
        return "\n\n".join(each for each in parts if each)


def figures_table(figures: Sequence[Figure]) -> str:
    """A Markdown table of figures; nothing for none."""
    if not figures:
        return ""
    return "\n".join([FIGURES_HEAD, *(each.row() for each in figures)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(each)} |" for each in rows)])
