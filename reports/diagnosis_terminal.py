"""A diagnosis for people at a terminal: what watching cost, the verdict, and each culprit with its evidence."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sysnoise_conform.diagnose.design import DesignFindings
from sysnoise_conform.diagnose.facts import Culprit, Diagnosis, VerdictWord
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.conversion_rows import command_of, facts_of
from sysnoise_conform.reports.diagnosis_design import (
    LAYER_HEADINGS,
    LAYERS,
    WON_HEADINGS,
    keep_line,
    layer_cells,
    outputs_in_words,
    together_in_words,
    won_cells,
)
from sysnoise_conform.reports.diagnosis_rows import (
    DiagnosedLayer,
    arithmetic_in_words,
    coverage_in_words,
    cumulative_in_words,
    deployed_in_words,
    diagnosed_layers,
    in_words,
    known_in_words,
    method_in_words,
    observed_in_words,
    owner_in_words,
    parts_in_words,
    proof_in_words,
    reading_in_words,
    relative,
    share_in_words,
    who,
    withheld_in_words,
)
from sysnoise_conform.reports.wording import duration, number, runtime, shorten

# Beyond these the page and the JSON tell more.
CULPRITS, RANKED, HIDDEN, NOTES, KNOWN = 8, 12, 5, 5, 2

_STYLES: dict[VerdictWord, str] = {
    "culprits": "bold red",
    "accumulated_rounding": "bold yellow",
    "not_integers": "bold red",
    "clean": "bold green",
    "unobservable": "bold yellow",
}


def render(diagnosis: Diagnosis) -> str:
    """The diagnosis as plain text for a pipe: 80 columns, no colours."""
    stream = io.StringIO()
    _draw(diagnosis, Console(file=stream, width=80, color_system=None, force_terminal=False, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print the diagnosis to stdout: drawn for a terminal, `render`'s text for a pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no traceback where stdout lacks a sign
    if console is not None or sys.stdout.isatty():
        _draw(diagnosis, console or Console(highlight=False))
    else:
        sys.stdout.write(render(diagnosis))


def _draw(diagnosis: Diagnosis, console: Console) -> None:
    """Names from the model go in as plain text, never as rich's markup."""
    # First what watching changed: whoever doubts the rest should know it before the rest.
    console.print(_facts(_head(diagnosis)))
    console.print()
    # In a pipe the sentence stays on one line, as the verdict of a run does.
    console.print(_verdict(diagnosis), soft_wrap=not console.is_terminal)
    places = {each.layer.output: each for each in diagnosed_layers(diagnosis)}
    for culprit in diagnosis.culprits[:CULPRITS]:
        console.print()
        console.print(_title(culprit, places.get(culprit.layer.output)))
        console.print(_indented(_facts(_culprit(culprit, diagnosis))))
    _more(console, len(diagnosis.culprits) - CULPRITS, "culprit")
    withheld = withheld_in_words(diagnosis)
    if withheld is not None:
        console.print()
        console.print(_indented(_facts(iter([("reproducers", withheld)]))))
    if diagnosis.ranking:
        console.print()
        console.print(_indented(_ranking(diagnosis, max(12, min(48, console.width - 56)))))
        _more(console, len(diagnosis.ranking) - RANKED, "layer")
    if diagnosis.design is not None:
        _draw_design(diagnosis.design, console)
    if diagnosis.conversion is not None:
        console.print()
        console.print(_indented(_facts(_conversion(diagnosis.conversion, diagnosis.variant))))
    if diagnosis.unobservable:
        console.print()
        console.print(_indented(_facts(_hidden(diagnosis))))
        _more(console, len(diagnosis.unobservable) - HIDDEN, "tensor")
    notes = [("note", one_line(each, 300)) for each in diagnosis.notes[:NOTES]]
    taken = diagnosis.seconds.get("total", math.nan)
    if math.isfinite(taken):
        notes.append(("took", duration(taken)))
    if notes:
        console.print()
        console.print(_indented(_facts(iter(notes))))


def _head(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "observer", observed_in_words(diagnosis)
    yield "coverage", coverage_in_words(diagnosis)
    yield "model", one_line(diagnosis.model, 200)
    if diagnosis.deployed is not None:
        yield "deployed", deployed_in_words(diagnosis.deployed)
    yield "variant", f"{one_line(diagnosis.variant, 200)}: {runtime(diagnosis.runtime)}"
    computing = arithmetic_in_words(diagnosis)
    if computing is not None:
        yield "arithmetic", computing


def _verdict(diagnosis: Diagnosis) -> Text:
    word = diagnosis.verdict.replace("_", " ")
    said = one_line(diagnosis.sentence, 2000)
    line = Text(overflow="fold")
    line.append(word.upper(), style=_STYLES[diagnosis.verdict])
    return line.append(f": {said}") if said else line


def _title(culprit: Culprit, place: DiagnosedLayer | None) -> Text:
    return Text(who(culprit.layer, place), style="bold", overflow="fold")


def _culprit(culprit: Culprit, diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    layer = culprit.layer
    if layer.attributes:
        yield "attributes", one_line(layer.attributes, 300)
    yield "makes", f"{shorten(layer.output, 60)}, {one_line(culprit.diff.dtype, 40)} {list(culprit.diff.shape)}"
    if layer.block:
        yield "block", ", ".join(shorten(each, 40) for each in layer.block[-6:])
    yield "introduced", f"{in_words(culprit.diff)} ({method_in_words(culprit.method)})"
    parts = parts_in_words(layer)
    if parts is not None:
        yield "parts", parts
    yield "cumulative", cumulative_in_words(culprit)
    yield "reading", reading_in_words(culprit)
    if diagnosis.deployed is not None:
        yield "owner", owner_in_words(culprit, diagnosis)
    if culprit.words:
        yield "that is", one_line(culprit.words, 600)
    for label, said in (("share", share_in_words(culprit)), ("proof", proof_in_words(culprit))):
        if said is not None:
            yield label, said
    for known in culprit.known[:KNOWN]:
        yield "known", known_in_words(known)
    if culprit.reproducer:
        yield "reproducer", f"{one_line(culprit.reproducer, 200)}: python repro.py"
    elif culprit.no_reproducer:
        yield "reproducer", f"none: {one_line(culprit.no_reproducer, 300)}"


def _draw_design(found: DesignFindings, console: Console) -> None:
    """What the conversion costs, after what the runtime gets wrong: it has another owner."""
    width = max(12, min(40, console.width - 60))
    console.print()
    console.print(_indented(_facts(outputs_in_words(found))))
    for headings, rows in (
        (LAYER_HEADINGS, [layer_cells(each, width) for each in found.layers[:LAYERS]]),
        (WON_HEADINGS, [won_cells(each, width) for each in found.won_back]),
    ):
        if rows:
            console.print()
            console.print(_indented(_table(headings, rows)))
    line = keep_line(found)
    if line is not None:
        console.print()
        console.print(Text(f"  {together_in_words(found)}, with", overflow="fold"))
        console.print(Text(f"  {line}"), soft_wrap=True)  # ready to paste


def _conversion(made: Mapping[str, Any], variant: str) -> Iterator[tuple[str, str]]:
    yield from facts_of(made)
    command = command_of(made, variant)
    if command is not None:
        yield "again", one_line(command, 1000)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _ranking(diagnosis: Diagnosis, name_width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("operator", no_wrap=True)
    table.add_column("makes", no_wrap=True)
    for heading in ("introduced", "gain", "output without"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in diagnosis.ranking[:RANKED]:
        cells = (
            shorten(each.op_type, 20),
            shorten(each.output, name_width),
            relative(each.introduced_rel_l2),
            number(each.gain),
            relative(each.without),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _hidden(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    for each in diagnosis.unobservable[:HIDDEN]:
        yield "not seen", f"{shorten(each.tensor, 60)}: {one_line(each.why, 200)}"


def _more(console: Console, count: int, noun: str) -> None:
    if count > 0:
        console.print(Text(f"  and {counted(count, noun)} more; diagnosis.html lists them", style="dim"))


def _indented(drawn: RenderableType) -> Padding:
    return Padding(drawn, (0, 0, 0, 2))


def _facts(pairs: Iterator[tuple[str, str]]) -> Table:
    """Label and text, side by side; long text wraps beside its label."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, said in pairs:
        grid.add_row(Text(label), Text(said, overflow="fold"))
    return grid
