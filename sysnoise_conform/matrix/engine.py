"""Runs cells over pictures, each distinct decode, resize and inference once.

Picture by picture, all cells of a pass at once: memory does not grow with the pictures, and what two cells share is at
hand. The next picture is prepared on a thread while the runtimes compute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import DataSet, OnBad, Problem
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, BadInput
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import numpy_type
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.facts import Levels, Status, words
from sysnoise_conform.matrix.graphs import Graphs
from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.noise.preparation import Key
from sysnoise_conform.pictures.decode import Decoded
from sysnoise_conform.pictures.place import Fixed, Placed, Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.tasks.evaluation import Evaluation, Result
from sysnoise_conform.variant import Variant

T = TypeVar("T")

AHEAD = 2  # pictures that are prepared before they are asked for

Progress = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a backend has no answer: it refused or died, or its graph can't be."""

    status: Status
    why: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """One distinct tensor of a picture, or what stood in its way."""

    data: np.ndarray | None
    placement: Placement | None
    digest: bytes = b""
    why: str = ""


class Once(Generic[T]):
    """Makes a thing once for each key; what could not be made is told again to whoever asks again."""

    def __init__(self) -> None:
        self._made: dict[Key, T | BadInput] = {}

    def get(self, key: Key, make: Callable[[], T]) -> T:
        """Raises the BadInput that its making raised."""
        if key not in self._made:
            try:
                self._made[key] = make()
            except BadInput as err:
                self._made[key] = err
        found = self._made[key]
        if isinstance(found, BadInput):
            raise found
        return found


@dataclass(slots=True)
class Engine:
    """What all passes share. A context manager: sessions end with it."""

    model: Model
    port: Port
    fixed: Fixed
    spec: ImageInput
    data: DataSet
    evaluation: Evaluation
    graphs: Graphs
    crew: Crew
    logs: Path
    threads: int
    on_bad: OnBad
    problems: list[Problem] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)  # by backend, or by backend and graph
    runtimes: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _children: dict[str, Child] = field(default_factory=dict)
    _sessions: dict[tuple[str, Levels, tuple[int, ...]], RemoteSession] = field(default_factory=dict)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def run(self, cells: Sequence[Cell], journal: Journal, base: Cell, progress: Progress) -> int:
        """Measure what the journal lacks of `cells`; how many pictures were whole there already.

        `base` is the cell whose tensors tell whether another cell's are the same. Raises BadInput for a picture that
        can't be read, unless such are left out.
        """
        self.failures.update({place: Failure(status, why) for place, (status, why) in journal.failures().items()})
        done = [journal.done(each.key) for each in cells]
        waiting = [
            (at, [cell for cell, known in zip(cells, done, strict=True) if at not in known])
            for at in range(len(self.data.pictures))
        ]
        open_ones = [(at, missing) for at, missing in waiting if missing]
        whole = len(waiting) - len(open_ones)
        for count, (at, missing, tensors, plain) in enumerate(self._prepared(open_ones, base), start=1):
            before, named = set(self.failures), len(self.runtimes)
            found = self._answers(at, missing, tensors)
            if len(self.runtimes) > named:
                journal.name_runtimes(self.runtimes)
            for place in sorted(self.failures.keys() - before):
                journal.fail(place, self.failures[place].status, self.failures[place].why)
            journal.add(at, {
                cell.key: (found[cell.key], bool(plain) and self._tensor(cell, tensors).digest == plain)
                for cell in missing
            })  # fmt: skip
            progress("pictures", whole + count, len(waiting))
        return whole

    def _prepared(
        self, open_ones: Sequence[tuple[int, list[Cell]]], base: Cell
    ) -> Iterator[tuple[int, list[Cell], Mapping[Key, Tensor], bytes]]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures") as pool:
            ahead: list[tuple[int, list[Cell], Future[Mapping[Key, Tensor]]]] = []
            for at, missing in open_ones:
                ahead.append((at, missing, pool.submit(self._tensors, at, [base, *missing])))
                if len(ahead) > AHEAD:
                    yield self._next(ahead, base)
            while ahead:
                yield self._next(ahead, base)

    def _next(
        self, ahead: list[tuple[int, list[Cell], Future[Mapping[Key, Tensor]]]], base: Cell
    ) -> tuple[int, list[Cell], Mapping[Key, Tensor], bytes]:
        at, missing, future = ahead.pop(0)
        tensors = future.result()
        return at, missing, tensors, self._tensor(base, tensors).digest

    def _tensor(self, cell: Cell, tensors: Mapping[Key, Tensor]) -> Tensor:
        return tensors[cell.preparation(self.spec).tensor_key()]

    def _tensors(self, at: int, cells: Sequence[Cell]) -> dict[Key, Tensor]:
        """The distinct tensors of one picture: a tree of decodes, colours, placements, each done once."""
        path = self.data.pictures[at].path
        decoded, coloured, placed = Once[Decoded](), Once[np.ndarray](), Once[Placed]()
        found: dict[Key, Tensor] = {}
        for way in dict.fromkeys(each.preparation(self.spec) for each in cells):
            key = way.tensor_key()
            if key in found:
                continue
            try:
                first = decoded.get(way.decode_key(), partial(way.decoded, path))
                second = coloured.get(way.colour_key(), partial(way.coloured, first))
                third = placed.get(way.place_key(), partial(way.placed, second, self.fixed))
            except BadInput as err:
                if self.on_bad == "fail":
                    raise
                found[key] = Tensor(None, None, why=str(err))
                continue
            data = way.tensor(third).astype(numpy_type(self.port), copy=False)
            digest = hashlib.blake2b(np.ascontiguousarray(data).data, digest_size=16).digest()
            found[key] = Tensor(data, third.placement, digest)
        return found

    def _answers(self, at: int, cells: Sequence[Cell], tensors: Mapping[Key, Tensor]) -> dict[str, Result | None]:
        """By cell; inferences of different backends side by side."""
        found: dict[str, Result | None] = {}
        by_backend: dict[str, list[Cell]] = {}
        for cell in cells:
            by_backend.setdefault(str(cell.variant), []).append(cell)
        if len(by_backend) == 1:
            for each in by_backend.values():
                found.update(self._of_one_backend(at, each, tensors))
            return found
        with ThreadPoolExecutor(max_workers=len(by_backend), thread_name_prefix="backend") as pool:
            for part in pool.map(lambda each: self._of_one_backend(at, each, tensors), by_backend.values()):
                found.update(part)
        return found

    def _of_one_backend(
        self, at: int, cells: Sequence[Cell], tensors: Mapping[Key, Tensor]
    ) -> dict[str, Result | None]:
        groups: dict[Key, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.inference_key(self.spec), []).append(cell)
        found: dict[str, Result | None] = {}
        for group in groups.values():
            tensor = self._tensor(group[0], tensors)
            outputs = None if tensor.data is None else self._inferred(group[0], tensor.data)
            for cell in group:
                if outputs is None or tensor.data is None or tensor.placement is None:
                    found[cell.key] = None
                    continue
                height, width = tensor.data.shape[-2:] if self.spec.layout == "NCHW" else tensor.data.shape[1:3]
                found[cell.key] = self.evaluation.result(
                    at, outputs, tensor.placement, (height, width), cell.decoding()
                )
        return found

    def _inferred(self, cell: Cell, tensor: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """Raw outputs, valid until the next run; None where the backend refuses or has died."""
        if self.failure(cell) is not None:
            return None
        refusal = self.graphs.refusal(cell.graph_levels(), tensor)
        if refusal is not None:
            self.failures[_place(cell)] = Failure(*refusal)
            return None
        try:
            session = self._session(cell, tensor)
            return session.run({self.port.name: tensor})
        except BackendDied as err:  # its other graphs died with it
            self.failures[str(cell.variant)] = Failure("crashed", one_line(err, 200))
        except BackendUnavailable as err:
            self.failures[str(cell.variant)] = Failure("unavailable", one_line(err, 200))
        except BackendError as err:
            self.failures[_place(cell)] = Failure("unsupported", one_line(err, 200))
        return None

    def failure(self, cell: Cell) -> Failure | None:
        """Why a cell has no answers, where its backend or graph failed."""
        return self.failures.get(str(cell.variant)) or self.failures.get(_place(cell))

    def _session(self, cell: Cell, tensor: np.ndarray) -> RemoteSession:
        variant, levels = cell.variant, cell.graph_levels()
        key = (str(variant), levels, tensor.shape)
        if key not in self._sessions:
            child = self._child(variant)
            folder = child.workdir / f"graph-{len(self._sessions)}"
            folder.mkdir()
            graph = self.graphs.write(levels, folder, tensor)
            self._sessions[key] = RemoteSession(
                child, variant, Target(path=graph, format="onnx", model=None), graph, {self.port.name: tensor},
                name=folder.name, threads=self.threads,
            )  # fmt: skip
        return self._sessions[key]

    def _child(self, variant: Variant) -> Child:
        name = str(variant)
        if name not in self._children:
            place = "".join(each if each.isalnum() else "-" for each in name)
            child = self._stack.enter_context(self.crew.member(name, self.logs / f"{place}.txt", variant=variant))
            runtime = child.probe(variant.backend)
            self.runtimes[name] = f"{runtime.name} {runtime.version}"
            self._children[name] = child
        return self._children[name]


def _place(cell: Cell) -> str:
    return f"{cell.variant}|{words(cell.graph_levels())}"
