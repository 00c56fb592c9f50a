"""A table of the paper beside what was measured, in each of its forms: text, Markdown, LaTeX, CSV, HTML."""

from __future__ import annotations

import csv as writer
import io
import textwrap
from collections.abc import Iterator, Sequence

from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.markdown import prose
from sysnoise_conform.reports.markup import Markup, element, join, table
from sysnoise_conform.reports.page import page
from sysnoise_conform.reports.paper_grid import SIGNS, Cell, Grid, Line
from sysnoise_conform.reports.wording import NOTHING

_WIDE = 118
_HEAD = ("model", "source", "data")
_LATEX = str.maketrans({
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "−": "$-$", "°": r"$^\circ$", "…": r"\ldots{}",
    "±": r"$\pm$", "×": r"$\times$", "–": "--",
})  # fmt: skip
CSV_COLUMNS = ("table", "model", "source", "data", "column", "mean", "max", "ci_low", "ci_high", "mark", "about")


def text(grid: Grid) -> str:
    """For a terminal and a pipe alike."""
    head = ["", "", *grid.headings]
    rows = [[grid.label(each), each.source, *(cell.said for cell in each.cells)] for each in grid.lines]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = [f"{grid.title} ({grid.unit})", "", _aligned(head, widths)]
    lines += [_aligned(row, widths) for row in rows]
    lines.append("")
    for note in grid.notes:
        lines += textwrap.wrap(note, _WIDE, initial_indent="  " * note.startswith("  "), subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def markdown(grid: Grid) -> str:
    """GitHub's; measured rows are bold."""
    lines = [f"### {prose(grid.title)}", "", f"{prose(grid.unit)}.", ""]
    lines.append("| " + " | ".join([*_HEAD, *(prose(each) for each in grid.headings)]) + " |")
    lines.append("|" + "---|" * len(_HEAD) + "---:|" * len(grid.headings))
    for each in grid.lines:
        bold = "**" if each.source == "measured" else ""
        cells = [f"{bold}{prose(each.label)}{bold}", each.source, prose(each.data)]
        cells += [prose(cell.said) for cell in each.cells]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"{'  ' if each.startswith('  ') else ''}- {prose(each.strip())}" for each in grid.notes)]
    return "\n".join(lines) + "\n"


def latex(grid: Grid) -> str:
    """A tabular with booktabs' rules, in a table."""
    columns = "ll" + "r" * len(grid.headings)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        f"\\caption{{{_tex(grid.title)} ({_tex(grid.unit)})}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(["Model", "Source", *(_tex(each) for each in grid.headings)]) + r" \\",
        "\\midrule",
    ]
    for each in grid.lines:
        label = _tex(grid.label(each))
        cells = [f"\\textbf{{{label}}}" if each.source == "measured" else label, each.source]
        cells += [_tex(cell.text) + _superscript(cell) for cell in each.cells]
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}", *(f"% {one_line(each, 400)}" for each in grid.notes), "\\end{table}"]
    return "\n".join(lines) + "\n"


def csv(grid: Grid) -> str:
    """One row for each cell that has a figure or a reason for none."""
    stream = io.StringIO()
    rows = writer.writer(stream, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    for each in grid.lines:
        for column, cell in zip(grid.columns, each.cells, strict=True):
            low, high = cell.interval or (None, None)
            figures = (_plain(value) for value in (cell.mean, cell.largest, low, high))
            rows.writerow(
                [grid.name, each.label, each.source, each.data, column, *figures, cell.mark, one_line(cell.about, 400)]
            )
    return stream.getvalue()


def html(grid: Grid) -> str:
    """A page of its own that fetches nothing; what a cell is, in full, is its tooltip."""
    numeric = frozenset(range(len(_HEAD), len(_HEAD) + len(grid.headings)))
    content = join(
        element("h1", "conform bench"),
        element(
            "section",
            element("header", element("h2", grid.title), element("span", grid.unit, class_="soft")),
            table([*_HEAD, *grid.headings], [_row(each) for each in grid.lines], numeric=numeric),
        ),
        element("section", element("header", element("h2", "Notes")), _notes(grid.notes)),
    )
    return page(f"{grid.title} · conform bench", content)


FORMS = {"txt": text, "md": markdown, "tex": latex, "csv": csv, "html": html}


def _row(line: Line) -> list[object]:
    measured = line.source == "measured"
    cells = (element("strong", each.said) if measured and each.said != NOTHING else each.said for each in line.cells)
    told = (
        element("span", cell, title=each.about) if each.about and (measured or each.said != NOTHING) else cell
        for cell, each in zip(cells, line.cells, strict=True)
    )
    return [element("strong", line.label) if measured else line.label, line.source, line.data, *told]


def _notes(notes: Sequence[str]) -> Markup:
    """A list; those that are set in belong to the one before them."""
    points: list[list[str]] = []
    for each in notes:
        if each.startswith("  ") and points:
            points[-1].append(each.strip())
        else:
            points.append([each.strip()])
    return element("ul", *(
        element("li", first, element("ul", *(element("li", each, class_="soft") for each in rest)) if rest else "")
        for first, *rest in points
    ))  # fmt: skip


def _aligned(row: list[str], widths: list[int]) -> str:
    """Names to the left, numbers to the right; a sign hangs behind its number."""
    pairs = enumerate(zip(row, widths, strict=True))
    cells: Iterator[str] = (each.ljust(width) if at < 2 else each.rjust(width) for at, (each, width) in pairs)
    return "  ".join(cells).rstrip()


def _tex(text: str) -> str:
    return one_line(text, 200).translate(_LATEX)


def _superscript(cell: Cell) -> str:
    return {"doubtful": "$^{?}$", "weak": r"$^{\circ}$"}.get(cell.mark, _tex(SIGNS[cell.mark]))


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
