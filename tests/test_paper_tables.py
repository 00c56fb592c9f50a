"""A table of the paper with a measured row in it, in each of its forms, and what a matrix makes of a row."""

from __future__ import annotations

import csv
import io

import pytest
from test_reports_html import ALLOWED, Page

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.matrix import paper_rows
from sysnoise_conform.matrix.cells import asked
from sysnoise_conform.matrix.paper_rows import Measured, MeasuredRow
from sysnoise_conform.models.zoo import paper
from sysnoise_conform.reports.paper_forms import FORMS
from sysnoise_conform.reports.paper_grid import Grid, of_figure, of_table


def measured(label: str, member: str, **columns: Measured) -> MeasuredRow:
    steps = (("decode", Measured(mean=0.5, largest=0.5, interval=(0.1, 0.9), shows=True, levels=1, worst="opencv")),)
    return MeasuredRow(
        label=label, member=member, about="random weights", data="imagefolder", metric="top1", trained=50.0,
        figures=columns, steps=steps, pictures=1000, noun="picture", seconds=1.0,
    )  # fmt: skip


RESIZE = Measured(mean=1.5, largest=-0.004, interval=(-1.0, 2.0), levels=10, worst="pillow-nearest")
NONE = Measured(why="the graph has no MaxPool | <b>")
ROWS = [measured("mine", "resnet-50", resize=RESIZE, ceil_mode=NONE), measured("a_b & 50 %", "", resize=RESIZE)]


@pytest.fixture
def grid() -> Grid:
    return of_table(paper.table("table2"), ROWS)


def test_a_measured_row_stands_beneath_its_published_one_and_others_at_the_end(grid: Grid) -> None:
    labels = [each.label for each in grid.lines]

    assert labels[labels.index("ResNet-50") + 1] == "mine"
    assert labels[-1] == "a_b & 50 %"
    assert len(labels) == 26 + 2


def test_marks_and_numbers(grid: Grid) -> None:
    said = {line.label: {c: cell.said for c, cell in zip(grid.columns, line.cells, strict=True)} for line in grid.lines}

    assert said["ResNet-50"]["int8"] == "0.06?"
    assert said["ResNet-50"]["decode"] == "0.98 (0.98)"
    assert said["mine"]["resize"] == "1.50 (−0.004)°"
    assert said["mine"]["ceil_mode"] == "–"
    assert said["mine"]["combined"] == "–"
    assert any("the graph has no MaxPool" in each for each in grid.notes)
    assert "mine: random weights" in grid.notes
    assert "mine: top1 on 1,000 pictures in the layout imagefolder" in grid.notes


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_every_row(grid: Grid, form: str) -> None:
    found = FORMS[form](grid)

    for each in grid.lines:
        if "&" not in each.label:
            assert each.label in found


def test_latex_is_escaped(grid: Grid) -> None:
    found = FORMS["tex"](grid)

    assert r"\textbf{a\_b \& 50 \%}" in found
    assert "$^{?}$" in found
    rows = [each for each in found.splitlines() if each.endswith(r"\\")]
    assert len({each.replace(r"\&", "").count("&") for each in rows}) == 1  # of one and the same number of cells


def test_the_page_fetches_nothing_and_escapes(grid: Grid) -> None:
    found = FORMS["html"](grid)
    page = Page(found)

    assert page.tags <= ALLOWED
    assert "<b>" not in found
    assert 'title="worst of 10: pillow-nearest; 90 % −1.00 … 2.00"' in found


def test_headings_stand_over_their_numbers_and_cells_name_themselves_on_a_narrow_screen(grid: Grid) -> None:
    found = FORMS["html"](grid)

    assert '<th class="num" scope="col">resize (max)</th>' in found
    assert '<td class="num" data-label="INT8">' in found
    assert '<td class="num none" data-label="ceil mode">–</td>' in found  # left out there
    head, inner = "<li>? doubtful in the paper:", "<ul><li class=\"soft\">"
    assert head + inner in found


def test_the_csv_has_numbers(grid: Grid) -> None:
    found = {(e["model"], e["column"]): e for e in csv.DictReader(io.StringIO(FORMS["csv"](grid)))}

    assert found["mine", "resize"]["ci_low"] == "-1"
    assert found["mine", "ceil_mode"]["mean"] == ""


def test_the_figure_has_its_steps_beside_the_papers() -> None:
    panels = paper.panels()
    found = of_figure(paper.figure_title(), panels, [(panels[0], ROWS[0])])

    assert [each.source for each in found.lines] == ["paper", "measured", "paper"]
    assert found.lines[1].cells[0].said == "0.50"
    assert found.headings[0] == "decode"
    assert found.headings[-1] == "+ post-proc."


@pytest.mark.parametrize("table", ["table2", "table3", "table4"])
def test_every_column_has_noises_that_there_are(table: str) -> None:
    card = Card(name="c", image=ImageInput())
    words = paper_rows.noises(paper.table(table).columns, card)

    found = {each.axis: each.levels for each in asked(words, task=paper.table(table).task)}
    assert len(found["decoder"]) == 3
    assert len(found["resize"]) == 10
    assert "pillow-bilinear" not in found["resize"]
    assert paper_rows.order(paper.table(table).columns)[-1] in ("ceil_mode=ceil", "upsample=linear", "box_offset=all")
