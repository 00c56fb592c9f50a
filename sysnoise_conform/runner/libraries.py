"""Picture libraries in environments of their own: children of these, asked for pixels, and named when they fall."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, Interrupted, Unsupported
from sysnoise_conform.pictures.elsewhere import LibraryFailed
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.crew import Crew


@dataclass(slots=True)
class _Row:
    """The children of one library: those that wait for work, and places for as many as may be at work."""

    places: threading.Semaphore
    free: list[Child] = field(default_factory=list)
    made: int = 0
    version: str = ""
    over: BackendError | None = None  # what befell it: one that fell once is asked no more


class Libraries:
    """A `pictures.elsewhere.Host`. A context manager: children end with it. Thread-safe.

    `lanes` are the pictures on their way at once: of each library as many children as that, made as they are needed.
    Their logs are `logs/NAME.txt`, `logs/NAME-2.txt` and so on, with `of` behind the name.
    """

    def __init__(self, crew: Crew, logs: Path, lanes: int, *, of: str = "") -> None:
        self._crew, self._logs, self._lanes, self._of = crew, logs, lanes, of
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Libraries:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def version(self, library: str) -> str:
        """What a library is, with its version; it is started for it. Raises LibraryFailed."""
        with self._taken(library) as (row, _):
            return row.version

    def ask(self, library: str, request: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        """See `Host`."""
        with self._taken(library) as (_, child):
            try:
                reply = child.call("picture", {"library": library, **request}, {"x": array}, stage="run")
            except Unsupported as err:  # it lives
                raise ValueError(f"{library}: {one_line(err.message, 200)}") from err
            return np.array(reply.tensors["y"])

    @contextmanager
    def _taken(self, library: str) -> Iterator[tuple[_Row, Child]]:
        """A child that has loaded the library, for the length of the block; waits for one. Raises LibraryFailed."""
        with self._lock:
            row = self._rows.setdefault(library, _Row(threading.Semaphore(self._lanes)))
        with row.places:
            if row.over is not None:
                raise LibraryFailed(library, row.over, again=True)
            try:
                child = self._free(row) or self._made(row, library)
                try:
                    yield row, child
                finally:
                    with self._lock:
                        row.free.append(child)
            except (BackendDied, BackendUnavailable) as err:
                if self._crew.dismissed:  # we ended it ourselves
                    raise Interrupted("the run was interrupted") from err
                row.over = err
                raise LibraryFailed(library, err) from err

    def _free(self, row: _Row) -> Child | None:
        with self._lock:
            return row.free.pop() if row.free else None

    def _made(self, row: _Row, library: str) -> Child:
        with self._lock:
            row.made += 1
            log = self._logs / f"{library}{self._of}{'' if row.made == 1 else f'-{row.made}'}.txt"
            child = self._stack.enter_context(self._crew.library(library, log))
        told = child.call("picture", {"library": library, "do": "open"}, stage="start").payload
        row.version = str(told["version"])
        return child
