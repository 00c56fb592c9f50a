"""What a run is doing, told on stderr while it works; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.wording import shorten

if TYPE_CHECKING:  # rich is imported where somebody watches
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from sysnoise_conform.runner.workshop import Watch

DONE = "done"


@contextmanager
def progress(console: Console | None = None) -> Iterator[Watch]:
    """A `Watch` that draws a line per variant on stderr; it draws nothing where stderr is no terminal."""
    if console is None and not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console

    screen = console or Console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield _silent
        return
    with _bars(screen) as bars:
        yield _Lines(bars)
    sys.stderr.flush()


@contextmanager
def counting(console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """What is done of how much, with the time that is left, drawn on stderr where that is a terminal."""
    if console is None and not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    screen = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left", style="dim"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, of: bars.update(task, description=what, completed=done, total=of)
    sys.stderr.flush()


def _silent(_who: str, _what: str, _done: int, _of: int) -> None:
    """Nobody watches."""


def _bars(screen: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.fields[who]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[what]}", markup=False, style="dim", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
    )


class _Lines:
    """One bar per variant; variants report from threads of their own."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._lock = Lock()

    def __call__(self, who: str, what: str, done: int, of: int) -> None:
        label, doing = shorten(who, 40), one_line(what, 30)
        with self._lock:
            if who not in self._tasks:
                self._tasks[who] = self._bars.add_task("", total=None, who=label, what=doing)
            total = max(of, 1)
            self._bars.update(self._tasks[who], completed=total if what == DONE else done, total=total, what=doing)
