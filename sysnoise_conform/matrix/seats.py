"""The children of a matrix and their sessions: of each backend as many as may be at work at once.

A picture's way to its tensors runs on one core. So does a runtime that is told to take one thread: then as many
pictures as there are cores are on their way at once, each with children of its own, and no core waits for another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from sysnoise_conform.backend import Runtime
from sysnoise_conform.matrix.facts import Feed, Levels, Shapes, shapes_of
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.provenance import usable_cores
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.variant import Variant

MOST_LANES = 8  # children of one backend: each holds the model's weights
_ONE_AT_A_TIME = ("tensorrt",)  # what it compiles takes minutes, and is another program each time


def lanes(threads: int) -> int:
    """Pictures on their way at once, where a runtime takes so many threads; 0 are all of them."""
    return max(1, min(MOST_LANES, usable_cores() // threads)) if threads else 1


@dataclass(slots=True)
class Seat:
    """One child of a backend, with its sessions by graph and by shape of the input. For one thread at a time."""

    child: Child
    variant: Variant
    runtime: Runtime
    threads: int
    _sessions: dict[tuple[Levels, Shapes], RemoteSession] = field(default_factory=dict)

    def session(
        self, levels: Levels, feed: Feed, write: Callable[[Levels, Path, Feed], Path]
    ) -> RemoteSession:
        """The session of a graph, compiled when it is first asked for. Raises BackendError."""
        key = (levels, shapes_of(feed))
        if key not in self._sessions:
            folder = self.child.workdir / f"graph-{len(self._sessions)}"
            folder.mkdir(exist_ok=True)
            graph = write(levels, folder, feed)
            self._sessions[key] = RemoteSession(
                self.child, self.variant, Target(path=graph, format="onnx", model=None), graph, feed,
                name=folder.name, threads=self.threads,
            )  # fmt: skip
        return self._sessions[key]


@dataclass(slots=True)
class _Row:
    """The seats of one backend."""

    free: list[Seat]
    places: threading.Semaphore
    made: int = 0


class Seats:
    """Gives out seats, and makes them as they are needed. A context manager: children end with it."""

    def __init__(self, crew: Crew, logs: Path, threads: int) -> None:
        self.lanes = lanes(threads)
        self.runtimes: dict[str, str] = {}
        self._crew, self._logs, self._threads = crew, logs, threads
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Seats:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def taken(self, variant: Variant) -> Iterator[Seat]:
        """A seat for the length of the block; waits for one. Raises BackendUnavailable, BackendDied."""
        row = self._row(variant)
        with row.places:
            seat = self._free(row) or self._made(row, variant)
            try:
                yield seat
            finally:
                with self._lock:
                    row.free.append(seat)

    def _row(self, variant: Variant) -> _Row:
        with self._lock:
            if str(variant) not in self._rows:
                one = variant.backend in _ONE_AT_A_TIME or variant.device is not None
                self._rows[str(variant)] = _Row([], threading.Semaphore(1 if one else self.lanes))
            return self._rows[str(variant)]

    def _free(self, row: _Row) -> Seat | None:
        with self._lock:
            return row.free.pop() if row.free else None

    def _made(self, row: _Row, variant: Variant) -> Seat:
        name = str(variant)
        place = "".join(each if each.isalnum() else "-" for each in name)
        with self._lock:
            row.made += 1
            log = self._logs / f"{place}{'' if row.made == 1 else f'-{row.made}'}.txt"
            child = self._stack.enter_context(self._crew.member(name, log, variant=variant))
        runtime = child.probe(variant.backend)
        self.runtimes[name] = f"{runtime.name} {runtime.version}"
        return Seat(child, variant, runtime, self._threads)
