"""A table of the paper beside what was measured, in each of its forms: text, Markdown, LaTeX, CSV, HTML."""

from __future__ import annotations

import csv as writer
import io
import textwrap
from collections.abc import Iterator

from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.markdown import prose
from sysnoise_conform.reports.markup import Markup, element, join
from sysnoise_conform.reports.page import page
from sysnoise_conform.reports.paper_grid import SIGNS, Cell, Grid, Line

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
    rows = [[_short(each), each.source, *(cell.said for cell in each.cells)] for each in grid.lines]
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
        label = _tex(_short(each))
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
    headings = [element("th", each, scope="col") for each in ("model", "source", "data", *grid.headings)]
    body = [_row(each) for each in grid.lines]
    notes = [element("li", each.strip(), class_="soft" if each.startswith("  ") else None) for each in grid.notes]
    content = join(
        element("h1", grid.title),
        element("p", grid.unit, class_="soft"),
        element("div", element("table", element("thead", element("tr", *headings)), element("tbody", *body)),
                class_="drawn"),
        element("section", element("ul", *notes)),
    )  # fmt: skip
    return page(f"{grid.title} · conform bench", content, styles=("report.css", "noise.css"))


FORMS = {"txt": text, "md": markdown, "tex": latex, "csv": csv, "html": html}


def _row(line: Line) -> Markup:
    head = line.label if line.source == "paper" else element("strong", line.label)
    cells = [
        element("td", element("strong", each.said) if line.source == "measured" else each.said, class_="num",
                title=each.about or None)
        for each in line.cells
    ]  # fmt: skip
    return element("tr", element("td", head), element("td", line.source), element("td", line.data), *cells)


def _short(line: Line) -> str:
    return one_line(line.label, 40)


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
