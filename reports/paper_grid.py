"""A table of the paper with what was measured beside it, as lines of cells that every form of it shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sysnoise_conform.matrix.paper_rows import COLUMNS, COMBINED, SEVERAL, TRAINED, Measured, MeasuredRow
from sysnoise_conform.models.zoo.paper import FIGURE, Panel, Row, Table
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import NOTHING

Mark = Literal["", "doubtful", "weak", "none"]
SIGNS: Mapping[Mark, str] = {"": "", "doubtful": "?", "weak": "°", "none": ""}
HEADINGS = {
    TRAINED: "trained", "decode": "decode", "resize": "resize", "colour": "colour", "fp16": "FP16", "int8": "INT8",
    "ceil_mode": "ceil mode", "upsample": "upsample", "post_processing": "post-proc.", "stft": "STFT",
    COMBINED: "combined",
}  # fmt: skip
_NOT_THE_PAPERS = "measured with other weights than the paper's"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell: what stands there, its mark, and in full for who asks (a tooltip, a row of the CSV)."""

    text: str
    mark: Mark = ""
    about: str = ""
    mean: float | None = None
    largest: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def said(self) -> str:
        """With its sign."""
        return self.text + SIGNS[self.mark]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row: of the paper, or measured here."""

    label: str
    source: Literal["paper", "measured"]
    data: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A whole table; `columns` name its cells, `headings` say so to people. `notes` stand beneath."""

    name: str
    title: str
    unit: str
    columns: tuple[str, ...]
    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def of_table(table: Table, measured: Sequence[MeasuredRow]) -> Grid:
    """Each published row, and beneath it what was measured of the same model; others at the end."""
    lines: list[Line] = []
    doubts: dict[str, list[str]] = {}
    for row in table.rows:
        lines.append(_published(table, row))
        for figure, why in row.doubts.items():
            doubts.setdefault(why, []).append(f"{row.label}, {HEADINGS[_column(figure)]}")
        lines += [_of(table.columns, each) for each in measured if each.member == row.member]
    members = {row.member for row in table.rows}
    lines += [_of(table.columns, each) for each in measured if each.member not in members]
    return Grid(
        name=table.name, title=table.title, unit=table.unit, columns=table.columns,
        headings=tuple(f"{HEADINGS[each]}{' (max)' if each in SEVERAL else ''}" for each in table.columns),
        lines=tuple(lines),
        notes=tuple(_notes(measured, [f"{'; '.join(names)}: {why}" for why, names in doubts.items()])),
    )  # fmt: skip


def of_figure(title: str, panels: Sequence[Panel], measured: Sequence[tuple[Panel, MeasuredRow]]) -> Grid:
    """Figure 3: both halves, step by step; a half's measured lines beneath it."""
    columns = tuple(name for name in COLUMNS if any(name == step for each in panels for step, _ in each.steps))
    lines = []
    for panel in panels:
        figures = dict(panel.steps)
        cells = tuple(
            Cell(text=_number(figures[each]), mean=figures[each], largest=figures[each])
            if each in figures else _nothing("the paper's figure does not have it")
            for each in columns
        )  # fmt: skip
        lines.append(Line(label=panel.member, source="paper", data=panel.data, cells=cells))
        for its, row in measured:
            if its is panel:
                steps = dict(row.steps)
                found = tuple(
                    _measured(steps[each]) if each in steps else _nothing(row.figures[each].why if each in row.figures
                                                                          else "it was not measured")
                    for each in columns
                )  # fmt: skip
                lines.append(Line(label=row.label, source="measured", data=row.data, cells=found))
    rows = [row for _, row in measured]
    return Grid(
        name=FIGURE, title=title, unit="cumulative drop, points", columns=columns,
        headings=tuple(f"{'+ ' if at else ''}{HEADINGS[each]}" for at, each in enumerate(columns)), lines=tuple(lines),
        notes=tuple(_notes(rows, [], figure=True)),
    )  # fmt: skip


def _published(table: Table, row: Row) -> Line:
    return Line(
        label=row.label, source="paper", data=row.data, cells=tuple(_of_paper(row, each) for each in table.columns)
    )


def _of_paper(row: Row, column: str) -> Cell:
    mean, largest = row.figures.get(column, row.figures.get(f"{column}_mean")), row.figures.get(f"{column}_max")
    if mean is None:
        return _nothing("the paper has no figure here")
    names = [column, f"{column}_mean", f"{column}_max"]
    why = "; ".join(row.doubts[name] for name in names if name in row.doubts)
    text = _number(mean) if largest is None else f"{_number(mean)} ({_number(largest)})"
    return Cell(
        text=text, mark="doubtful" if why else "", about=why, mean=mean, largest=mean if largest is None else largest
    )


def _of(columns: Sequence[str], row: MeasuredRow) -> Line:
    trained = Cell(text=_number(row.trained), about=row.metric, mean=row.trained, largest=row.trained)
    cells = tuple(
        trained if each == TRAINED
        else _measured(row.figures[each], several=each in SEVERAL) if each in row.figures
        else _nothing("it was not measured")
        for each in columns
    )  # fmt: skip
    return Line(label=row.label, source="measured", data=row.data, cells=cells)


def _measured(found: Measured, *, several: bool = False) -> Cell:
    if found.mean is None or found.largest is None:
        return _nothing(found.why)
    text = f"{_number(found.mean)} ({_number(found.largest)})" if several else _number(found.mean)
    said = [f"worst of {found.levels}: {found.worst}"] if several else [found.worst] if found.worst else []
    if found.interval is not None:
        low, high = found.interval
        said.append(f"90 % {_number(low)} … {_number(high)}")
    return Cell(
        text=text, mark="" if found.shows else "weak", about="; ".join([*said, *([found.why] if found.why else [])]),
        mean=found.mean, largest=found.largest, interval=found.interval,
    )  # fmt: skip


def _nothing(why: str) -> Cell:
    return Cell(text=NOTHING, mark="none", about=why)


def _notes(measured: Sequence[MeasuredRow], doubts: Sequence[str], *, figure: bool = False) -> Iterator[str]:
    if not measured:
        yield "the paper's figures alone: nothing was measured"
    for row in measured:
        yield (
            f"{one_line(row.label, 60)}: {row.about or _NOT_THE_PAPERS}; {row.metric} on {row.pictures:,} pictures of"
            f" {one_line(row.data, 60)}"
        )
    if measured:
        yield "° does not show above its confidence interval (90 %, paired; several levels: Holm's p)"
        yield (
            "noises together are the worst level of each, chosen on every second picture and told on the others"
            if figure
            else "combined: the worst level of each, chosen on every second picture and told on the others"
        )
    for row in measured:
        for column, each in row.figures.items():
            if each.why:
                yield f"{one_line(row.label, 60)}, {HEADINGS[column]}: {one_line(each.why, 200)}"
    if doubts:
        yield "? doubtful in the paper:"
        yield from (f"  {each}" for each in doubts)


def _column(figure: str) -> str:
    return figure.removesuffix("_mean").removesuffix("_max")


def _number(value: float) -> str:
    """Two decimals, as the paper has it, three where its are less than one of the second; a real minus."""
    said = f"{value:.3f}" if 0.0005 <= abs(value) < 0.0095 else f"{value:.2f}"
    said = "0.00" if float(said) == 0 else said
    return said.replace("-", "−")
