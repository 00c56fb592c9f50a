"""A matrix on the terminal: the verdict, a line for each axis, what stands out, the noises put on one after another."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.matrix.facts import CellFacts, Matrix
from sysnoise_conform.matrix.overall import overall
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.noise_rows import (
    Trouble,
    axis_rows,
    cannot_tell,
    control,
    interval,
    name_of,
    outstanding,
    plan_words,
    points,
    probability,
    sentence,
    some,
    status_words,
    tally,
    troubles,
)
from sysnoise_conform.reports.wording import duration, shorten

WIDTH = 100
MOST = 20  # cells that stand out; the files hold all
_STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}


def render(found: Matrix, folder: Path, *, verbose: bool = False) -> str:
    """The matrix as plain text for a pipe: 100 columns, no colours. `verbose` shows every cell."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, highlight=False)
    _draw(found, folder, console, verbose)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(found: Matrix, folder: Path, *, verbose: bool = False) -> None:
    """Print it to stdout: drawn for a terminal, `render`'s text for a pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no traceback where stdout lacks a sign
    if sys.stdout.isatty():
        _draw(found, folder, Console(highlight=False), verbose)
    else:
        sys.stdout.write(render(found, folder, verbose=verbose))


def _draw(found: Matrix, folder: Path, console: Console, verbose: bool) -> None:
    """Names go in as plain text, never as rich's markup."""
    for line in _head(found):
        console.print(line, soft_wrap=not console.is_terminal)
    _axes(found, console)
    chosen = list(found.cells) if verbose else outstanding(found)
    if chosen:
        console.print()
        console.print(_cells(found, chosen if verbose else chosen[:MOST], "cell" if verbose else "what stands out"))
        if not verbose and len(chosen) > MOST:
            console.print(Text(f"and {counted(len(chosen) - MOST, 'cell')} more: --verbose shows all", style="dim"))
    if not verbose:
        _troubles(troubles(found), console)
    _steps(found, console)
    _shares(found, console)
    console.print()
    for line in _foot(found, folder):
        console.print(line, soft_wrap=not console.is_terminal)


def _head(found: Matrix) -> Iterator[Text]:
    word = overall(found).word
    line = Text(overflow="fold")
    yield line.append(word, style=f"bold {_STYLES[word]}").append(f": {sentence(found)}")
    for said in (tally(found), cannot_tell(found), control(found)):
        if said:
            yield Text(one_line(said, 400), overflow="fold")


def _table(*headings: str) -> Table:
    """Headings that begin with a space are of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for each in headings:
        table.add_column(each.strip(), justify="right" if each.startswith(" ") else "left", no_wrap=True)
    return table


def _word(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, "dim"))


def _axes(found: Matrix, console: Console) -> None:
    rows = axis_rows(found)
    if not rows:
        return
    table = _table("noise", "backend", " levels", " mean drop", " max", "worst", "verdict")
    for each in rows:
        table.add_row(
            Text(each.axis), Text(shorten(each.backend, 22)), each.counted, points(each.mean, found.metric),
            points(each.largest, found.metric), Text(shorten(each.worst, 28)), _word(each.word),
        )  # fmt: skip
    console.print()
    console.print(table)


def _cells(found: Matrix, cells: Sequence[CellFacts], title: str) -> Table:
    table = _table(title, "backend", " drop", " 90 %", " lost, won", " p", "verdict")
    for each in cells:
        name, backend = Text(shorten(name_of(each), 27)), Text(shorten(each.backend, 13))
        figures = each.figures
        if figures is None:
            table.add_row(name, backend, *[""] * 4, _word(status_words(each)))
            continue
        table.add_row(
            name, backend, points(figures.delta, found.metric), interval(figures, found.metric),
            f"{figures.lost}, {figures.won}",
            probability(figures.p if figures.p_holm is None else figures.p_holm), _word(figures.verdict),
        )  # fmt: skip
    return table


def _troubles(found: Sequence[Trouble], console: Console) -> None:
    if not found:
        return
    console.print()
    for each in found:
        said = f"{each.status} on {shorten(each.backend, 40)}: {some(each.names, 6)}: {one_line(each.why, 200)}"
        console.print(Text(said, overflow="fold"), soft_wrap=not console.is_terminal)


def _steps(found: Matrix, console: Console) -> None:
    if not found.steps:
        return
    table = _table("one after another", "backend", "order", f" {found.metric}", " drop", " 90 %")
    for each in found.steps:
        low, high = each.interval
        table.add_row(
            Text(shorten(f"+ {each.added}={each.level}", 40)), Text(shorten(each.backend, 18)), each.order,
            points(each.value, found.metric), points(each.delta, found.metric),
            f"{points(low, found.metric)} … {points(high, found.metric)}",
        )  # fmt: skip
    console.print()
    console.print(table)
    console.print(Text(f"the worst level of each noise, chosen on one half of the {found.noun}s, told on the other",
                       style="dim"))  # fmt: skip


def _shares(found: Matrix, console: Console) -> None:
    columns = {
        " gone without it": [each.recovered for each in found.shares],
        " Shapley": [each.shapley for each in found.shares],
    }
    asked = {name: values for name, values in columns.items() if any(each is not None for each in values)}
    if not asked:
        return
    table = _table("whose drop it is", "backend", *asked)
    for at, each in enumerate(found.shares):
        name, backend = shorten(f"{each.axis}={each.level}", 40), shorten(each.backend, 18)
        table.add_row(Text(name), Text(backend), *(points(values[at], found.metric) for values in asked.values()))
    console.print()
    console.print(table)


def _foot(found: Matrix, folder: Path) -> Iterator[Text]:
    shared = ", ".join(f"{count:,} {name}" for name, count, _ in plan_words(found))
    alone = ", ".join(f"{count:,}" for _, _, count in plan_words(found))
    yield Text(f"{shared}; each cell by itself: {alone}", style="dim")
    if found.problems:
        first = found.problems[0]
        count = len(found.problems)
        what = f"a {found.noun} or label was" if count == 1 else f"{count:,} {found.noun}s or labels were"
        yield Text(f"{what} left out, the first: {one_line(first.name, 80)}: {one_line(first.why, 200)}")
    resumed = f", {counted(found.resumed, found.noun)} from the journal" if found.resumed else ""
    yield Text(f"{duration(found.seconds)}{resumed}; {one_line(folder, 200)}/noise.html, noise.json")
