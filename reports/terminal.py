"""The result for people at a terminal: a table per variant, the verdict sentence last."""

from __future__ import annotations

import io
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.judge.verdict import Judgement
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.report import Report
from sysnoise_conform.report.graphs import conversion_of
from sysnoise_conform.reports import conversion_rows
from sysnoise_conform.reports.conversion_rows import Parts
from sysnoise_conform.reports.rows import VariantRow, layer_rows, variant_rows
from sysnoise_conform.reports.spread import in_words, spreads
from sysnoise_conform.reports.wording import (
    NOTHING,
    coverage,
    decibels,
    deployed,
    duration,
    figure,
    floor_units,
    golden,
    number,
    observer,
    place,
    reading,
    reason,
    runtime,
    runtime_of,
    shorten,
    status,
    trouble,
)

_STYLES = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "EXPECTED": "bold cyan",
    "STALE": "bold red",
}


def render(report: Report, judgement: Judgement) -> str:
    """The result as plain text for a pipe: 80 columns, no colours."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, color_system=None, force_terminal=False, highlight=False)
    _draw(report, judgement, console)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(report: Report, judgement: Judgement, console: Console | None = None) -> None:
    """Print the result to stdout: drawn for a terminal, `render`'s text for a pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no traceback where stdout lacks a sign
    if console is not None or sys.stdout.isatty():
        _draw(report, judgement, console or Console(highlight=False))
    else:
        sys.stdout.write(render(report, judgement))


def _draw(report: Report, judgement: Judgement, console: Console) -> None:
    """Names from the model go in as plain text, never as rich's markup."""
    console.print(_facts(_head(report.header)))
    rows = variant_rows(report, judgement)
    for row in rows:
        console.print()
        console.print(_variant(report.header, row, judgement.sentence, max(16, min(60, console.width - 54))))
    found = spreads(report.header, rows)
    if found:
        console.print()
        console.print(_facts(("presets", said) for said in in_words(found)))
    console.print()
    # In a pipe the sentence stays on one line: `conform run ... | tail -1` is the verdict.
    console.print(_verdict(judgement.verdict.name, judgement.sentence), soft_wrap=not console.is_terminal)


def _verdict(word: str, sentence: str) -> Text:
    said = one_line(sentence, 2000)
    line = Text(overflow="fold")
    if not said.startswith(word):
        line.append(word, style=_STYLES.get(word, "bold")).append(": ").append(said)
    else:
        line.append(word, style=_STYLES.get(word, "bold")).append(said[len(word) :])
    return line


def _head(header: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, answer, inputs = (header.get(part) or {} for part in ("model", "golden", "inputs"))
    yield (
        "model",
        f"{one_line(model.get('path', NOTHING))} (sha256 {str(model.get('sha256') or '')[:12] or 'unknown'}, "
        f"opset {model.get('opset', NOTHING)}, {counted(int(model.get('nodes') or 0), 'node')})",
    )
    shipped = deployed(header)
    if shipped is not None:
        yield "deployed", shipped
    yield "inputs", f"{counted(int(inputs.get('samples') or 0), 'sample')}: {one_line(inputs.get('kind', 'unknown'))}"
    for each in inputs.get("chosen") or ():
        yield "chosen", one_line(each)
    yield "golden", golden(answer)
    for each in answer.get("notes") or ():
        yield "note", one_line(each, 300)


def _facts(pairs: Iterator[tuple[str, str | Text]]) -> Table:
    """Label and text, side by side; long text wraps beside its label."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, said in pairs:
        grid.add_row(Text(label), said if isinstance(said, Text) else Text(said, overflow="fold"))
    return grid


def _variant(header: Mapping[str, Any], row: VariantRow, whole: str, name_width: int) -> RenderableType:
    verdict = row.verdict.verdict.name
    title = Text(overflow="fold")
    title.append(one_line(row.result.variant, 200), style="bold")
    title.append("  ").append(verdict, style=_STYLES.get(verdict, "bold"))
    outcome = row.result.outcome
    if not isinstance(outcome, Measured):
        title.append(f"  {status(outcome)}")
    parts: list[RenderableType] = [title]
    if isinstance(outcome, Measured) and outcome.outputs:
        apart = conversion_rows.parts(outcome)
        drawn = _apart(row, apart, max(12, name_width - 8)) if apart else _outputs(row, outcome, name_width)
        parts.append(Padding(drawn, (0, 0, 0, 2)))
    parts.append(Padding(_facts(_lines(header, row, whole)), (0, 0, 0, 2)))
    return Group(*parts)


def _outputs(row: VariantRow, measured: Measured, name_width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("output", no_wrap=True)
    for heading in ("floor ×", "rel L2", "SQNR dB", "max abs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column("", no_wrap=True)
    blamed = {each.tensor for each in row.verdict.findings}
    for diff in measured.outputs:
        table.add_row(*(Text(cell) for cell in _cells(diff, name_width)), _mark(row, diff.name in blamed))
    return table


def _apart(row: VariantRow, outputs: Sequence[Parts], name_width: int) -> Table:
    """Of a converted graph: what the conversion costs, and what the runtime gets wrong, each against its golden."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("output", no_wrap=True)
    for heading in ("design", "SQNR dB", "implementation", "unit ×", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    blamed = {each.tensor for each in row.verdict.findings}
    for each in outputs:
        cells = (
            shorten(each.name, name_width),
            conversion_rows.relative(each.design),
            conversion_rows.sqnr(each.design),
            conversion_rows.relative(each.implementation),
            conversion_rows.in_units(each.implementation),
            conversion_rows.relative(each.total),
        )
        table.add_row(*(Text(cell) for cell in cells), _mark(row, each.name in blamed))
    return table


def _cells(diff: TensorDiff, name_width: int) -> tuple[str, ...]:
    known = diff.comparable and diff.finite > 0
    return (
        shorten(diff.name, name_width),
        floor_units(diff),
        number(diff.rel_l2) if known else NOTHING,
        decibels(diff.sqnr_db) if known else NOTHING,
        number(diff.max_abs) if known else NOTHING,
        place(diff.worst.index) if diff.worst and known and not diff.exact else "",
    )


def _mark(row: VariantRow, blamed: bool) -> Text:
    word = row.verdict.verdict.name
    if word == "FAIL" and not blamed:
        return Text("")
    return Text({"PASS": "✓", "FAIL": "✗"}.get(word, "?"), style=_STYLES.get(word, ""))


def _lines(header: Mapping[str, Any], row: VariantRow, whole: str) -> Iterator[tuple[str, str | Text]]:
    outcome = row.result.outcome
    why = reason(outcome)
    if why is not None:
        yield "reason", one_line(why, 1000)
    made = conversion_of(header, row.result.variant)
    if made is not None:
        yield from conversion_rows.facts_of(made)
        command = conversion_rows.command_of(made, row.result.variant)
        if command:
            yield "again", one_line(command, 1000)
    facts = runtime_of(outcome)
    if facts is not None:
        yield "runtime", runtime(facts)
    if isinstance(outcome, Measured):
        yield from _measured(header, row.result.variant, outcome, row.verdict.departing)
        for known in outcome.probe:
            yield "probe", one_line(known, 1000)
    for found in row.verdict.findings[:1]:
        yield "departs" if found.tensor == row.verdict.first_departure else "broken", one_line(found.sentence, 1000)
    if len(row.verdict.findings) > 1:
        yield "", f"and {len(row.verdict.findings) - 1} more; report.html lists them"
    if row.result.log:
        yield "log", one_line(row.result.log)
    # Of one variant the last line says it; of one that was not measured the reason.
    if why is None and row.verdict.sentence != whole:
        yield "verdict", one_line(row.verdict.sentence, 1000)


def _measured(
    header: Mapping[str, Any], variant: str, measured: Measured, departing: Container[str]
) -> Iterator[tuple[str, str | Text]]:
    layers = layer_rows(header, variant, measured)
    inner = int((header.get("model") or {}).get("inner_tensors") or 0)
    seen = [each.diff for each in layers if each.diff is not None]
    yield "layers", coverage(len(layers), seen, measured.unobservable, inner)
    yield "observer", observer(measured.observer_effect)
    for diff in measured.outputs:
        said = trouble(diff)
        if said:
            yield "output", f"{shorten(diff.name, 60)}: {said}"
        for found in diff.readings[: diff.name in departing]:  # of what conforms, rounding looks like nothing
            yield "reading", f"{shorten(diff.name, 60)}: {reading(found)}"
    for each in measured.missing_outputs:
        yield "output", f"{shorten(each.tensor, 60)}: not compared: {one_line(each.why, 200)}"
    for name in measured.nondeterministic:
        yield "output", f"{shorten(name, 60)}: another result when the same inputs ran twice"
    for task in measured.tasks:
        about = f" ({one_line(task.about, 120)})" if task.about else ""
        yield "task", f"{one_line(task.name, 60)} {figure(task)}{about}"
    for note in measured.notes:
        yield "note", one_line(note)
    taken = measured.seconds
    memory = f", {measured.peak_rss_mb:.0f} MB" if measured.peak_rss_mb is not None else ""
    yield "took", f"{duration(taken.compile)} to compile, {duration(taken.run)} to run{memory}"
