"""Runs cells over pictures, each distinct decode, resize and inference once.

Picture by picture, all cells of a pass at once: memory does not grow with the pictures, and what two cells share is at
hand. Several pictures are on their way at once, each on a thread that prepares them and asks children of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Generic, TypeVar

import numpy as np

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import DataSet, OnBad
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, BadInput, Unsupported
from sysnoise_conform.graph.intake import Port
from sysnoise_conform.graph.shapes import numpy_type
from sysnoise_conform.matrix.arithmetic import otherwise
from sysnoise_conform.matrix.batches import apart, stacked
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.facts import Feed, Status, words
from sysnoise_conform.matrix.graphs import Graphs
from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.matrix.seats import Seats
from sysnoise_conform.noise.preparation import Key, Preparation
from sysnoise_conform.pictures.decode import Decoded
from sysnoise_conform.pictures.place import Fixed, Placed, Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.tasks.evaluation import Evaluation, Result

T = TypeVar("T")

EXCHANGED_BYTES = 8 << 20  # of inputs that go to a child at once: waking it costs a tenth of a small network's run

Progress = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a backend has no answer: it refused or died, or its graph can't be."""

    status: Status
    why: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """One distinct tensor of a picture, or what stood in its way; `same`: it is the base's, bit for bit."""

    data: np.ndarray | None
    placement: Placement | None
    same: bool = False


class Latest(Generic[T]):
    """Keeps the thing of one key; what could not be made is told again to whoever asks again."""

    def __init__(self) -> None:
        self._key: Key | None = None
        self._made: T | BadInput | None = None

    def get(self, key: Key, make: Callable[[], T]) -> T:
        """Raises the BadInput that its making raised."""
        if key != self._key or self._made is None:
            self._key, self._made = key, None  # the former one goes before the next one comes
            try:
                self._made = make()
            except BadInput as err:
                self._made = err
        if isinstance(self._made, BadInput):
            raise self._made
        return self._made


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What every engine needs, whatever its items are."""

    graphs: Graphs
    seats: Seats
    crew: Crew
    on_bad: OnBad


@dataclass(slots=True, kw_only=True)
class Passes(ABC):
    """Cells over items of whatever kind: what is missing is measured and kept, several items on their way at once."""

    names: Sequence[str]  # of the items, in their order
    graphs: Graphs
    seats: Seats
    crew: Crew
    on_bad: OnBad
    problems: dict[str, str] = field(default_factory=dict)  # item -> why some cell has no answer for it
    failures: dict[str, Failure] = field(default_factory=dict)  # by backend, or by backend and graph
    computed: dict[str, str] = field(default_factory=dict)  # by backend and graph what it was computed in, if otherwise

    noun: ClassVar[str] = "items"

    @abstractmethod
    def _item(self, at: int, missing: Sequence[Cell], base: Cell | None) -> Mapping[str, tuple[Result | None, bool]]:
        """By cell its result, and whether its feed is the base's (without one, the first cell's)."""

    def run(self, cells: Sequence[Cell], journal: Journal, base: Cell | None, progress: Progress) -> int:
        """Measure what the journal lacks of `cells`; how many items were whole there already.

        `base` is the cell whose tensors tell whether another cell's are the same, if that is asked. Raises BadInput
        for an item that can't be read, unless such are left out.
        """
        self.failures.update({place: Failure(status, why) for place, (status, why) in journal.failures().items()})
        self.computed.update(journal.computed())
        done = [journal.done(each.key) for each in cells]
        waiting = [
            (at, [cell for cell, known in zip(cells, done, strict=True) if at not in known])
            for at in range(len(self.names))
        ]
        open_ones = [(at, missing) for at, missing in waiting if missing]
        whole = len(waiting) - len(open_ones)
        told, named, read_back = set(self.failures), 0, set(self.computed)
        with closing(self._ahead(open_ones, base)) as items:
            for count, (at, found) in enumerate(items, start=1):
                if len(self.seats.runtimes) > named:
                    named = len(self.seats.runtimes)
                    journal.name_runtimes(dict(self.seats.runtimes))
                for place in sorted(self.failures.keys() - told):
                    journal.fail(place, self.failures[place].status, self.failures[place].why)
                    told.add(place)
                for place in sorted(self.computed.keys() - read_back):
                    journal.compute(place, self.computed[place])
                    read_back.add(place)
                name = one_line(self.names[at], 120)
                if name in self.problems:
                    journal.trouble(name, self.problems[name])
                journal.add(at, found)
                progress(self.noun, whole + count, len(waiting))
        return whole

    def _ahead(
        self, open_ones: Sequence[tuple[int, list[Cell]]], base: Cell | None
    ) -> Generator[tuple[int, Mapping[str, tuple[Result | None, bool]]], None, None]:
        """What is found of each item, in their order."""
        # Where one lane keeps all cores busy, the next item is prepared meanwhile.
        workers = max(2, self.seats.lanes)
        ahead: deque[tuple[int, Future[Mapping[str, tuple[Result | None, bool]]]]] = deque()
        pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="items")
        try:
            for at, missing in open_ones:
                ahead.append((at, pool.submit(self._item, at, missing, base)))
                if len(ahead) > 2 * workers:
                    first, future = ahead.popleft()
                    yield first, future.result()
            for first, future in ahead:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _left_out(self, at: int, err: BadInput) -> None:
        self.problems.setdefault(one_line(self.names[at], 120), one_line(err.message, 200))

    def _inferred(self, cell: Cell, feeds: Sequence[Feed]) -> list[dict[str, np.ndarray]] | None:
        """Raw outputs of feeds of the same shapes; None where the backend refuses or has died."""
        if self.failure(cell) is not None:
            return None
        refusal = self.graphs.refusal(cell.graph_levels(), feeds[0])
        if refusal is not None:
            self.failures[_place(cell)] = Failure(*refusal)
            return None
        try:
            with self.seats.taken(cell.variant) as seat:
                session = seat.session(cell.graph_levels(), feeds[0], self.graphs.write)
                if _place(cell) not in self.computed:
                    self.computed[_place(cell)] = otherwise(
                        session, cell.variant, seat.runtime, cell.graph_levels(), feeds[0]
                    )
                answers = session.run_each(feeds)
                return [{key: array.copy() for key, array in each.items()} for each in answers]
        except BackendDied as err:  # its other graphs died with it
            if self.crew.dismissed:  # we ended it ourselves
                raise
            self.failures[str(cell.variant)] = Failure("crashed", one_line(err, 200))
        except BackendUnavailable as err:
            self.failures[str(cell.variant)] = Failure("unavailable", one_line(err, 200))
        except BackendError as err:
            self.failures[_place(cell)] = Failure("unsupported", one_line(err, 200))
        return None

    def failure(self, cell: Cell) -> Failure | None:
        """Why a cell has no answers, where its backend or graph failed."""
        return self.failures.get(str(cell.variant)) or self.failures.get(_place(cell))

    def computed_in(self, cell: Cell) -> str:
        """What a cell's graph was computed in, where that is not what the cell says; else empty."""
        return self.computed.get(_place(cell), "")


@dataclass(slots=True, kw_only=True)
class Engine(Passes):
    """Cells over pictures."""

    port: Port
    fixed: Fixed
    spec: ImageInput
    data: DataSet
    evaluation: Evaluation
    batch: int = 1  # tensors in one run of the graph

    noun: ClassVar[str] = "pictures"

    def _item(self, at: int, missing: Sequence[Cell], base: Cell | None) -> Mapping[str, tuple[Result | None, bool]]:
        """By cell its result, and whether its tensor is the base's (without one, the first cell's)."""
        cells = missing if base is None else [base, *missing]
        tensors = self._tensors(at, cells, None if base is None else base.preparation(self.spec).tensor_key())
        by_backend: dict[str, list[Cell]] = {}
        for cell in missing:
            by_backend.setdefault(str(cell.variant), []).append(cell)
        found: dict[str, tuple[Result | None, bool]] = {}
        for cells in by_backend.values():
            found.update(self._of_one_backend(at, cells, tensors))
        return found

    def _tensor(self, cell: Cell, tensors: Mapping[Key, Tensor]) -> Tensor:
        return tensors[cell.preparation(self.spec).tensor_key()]

    def _tensors(self, at: int, cells: Sequence[Cell], own: Key | None) -> dict[Key, Tensor]:
        """The distinct tensors of one picture: a tree of decodes, colours, placements, each done once.

        `own` is that of the baseline, whose way tells a bad picture.
        """
        path = self.data.pictures[at].path
        decoded, coloured, placed = Latest[Decoded](), Latest[np.ndarray](), Latest[Placed]()
        plain: np.ndarray | None = None
        found: dict[Key, Tensor] = {}
        for number, way in enumerate(along_the_tree([each.preparation(self.spec) for each in cells])):
            try:
                first = decoded.get(way.decode_key(), partial(way.decoded, path))
                second = coloured.get(way.colour_key(), partial(way.coloured, first))
                third = placed.get(way.place_key(), partial(way.placed, second, self.fixed))
            except BadInput as err:
                # What the card's own way reads is no bad picture: another decoder's refusal costs its own cells.
                if self.on_bad == "fail" and way.tensor_key() == own:
                    raise
                self._left_out(at, err)
                found[way.tensor_key()] = Tensor(None, None)
                continue
            data = way.tensor(third).astype(numpy_type(self.port), copy=False)
            plain = data if number == 0 else plain
            found[way.tensor_key()] = Tensor(data, third.placement, same=plain is not None and same_bits(data, plain))
        return found

    def _of_one_backend(
        self, at: int, cells: Sequence[Cell], tensors: Mapping[Key, Tensor]
    ) -> dict[str, tuple[Result | None, bool]]:
        found: dict[str, tuple[Result | None, bool]] = {}
        for together in self._exchanges(cells, tensors):
            inputs = [{self.port.name: tensor.data} for tensor, _ in together if tensor.data is not None]
            answers = self._in_batches(together[0][1][0], inputs) if inputs else None
            for number, (tensor, group) in enumerate(together):
                outputs = None if answers is None else answers[number]
                for cell in group:
                    found[cell.key] = self._result(at, cell, tensor, outputs), tensor.same
        return found

    def _in_batches(self, cell: Cell, feeds: Sequence[Feed]) -> list[dict[str, np.ndarray]] | None:
        if self.batch == 1:
            return self._inferred(cell, feeds)
        answers = self._inferred(cell, list(stacked(feeds, self.batch)))
        try:
            return None if answers is None else apart(answers, self.batch, len(feeds))
        except Unsupported as err:
            self.failures[_place(cell)] = Failure("unsupported", one_line(err, 240))
            return None

    def _exchanges(
        self, cells: Sequence[Cell], tensors: Mapping[Key, Tensor]
    ) -> Iterator[list[tuple[Tensor, list[Cell]]]]:
        """Cells that share their raw outputs, and of these as many as one exchange with a child serves."""
        groups: dict[Key, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.inference_key(self.spec), []).append(cell)
        waiting: dict[Key, list[tuple[Tensor, list[Cell]]]] = {}
        for group in groups.values():
            tensor = self._tensor(group[0], tensors)
            if tensor.data is None:
                yield [(tensor, group)]
                continue
            key = (group[0].graph_levels(), tensor.data.shape)
            together = waiting.setdefault(key, [])
            together.append((tensor, group))
            if len(together) >= max(1, EXCHANGED_BYTES // tensor.data.nbytes // self.batch) * self.batch:
                yield waiting.pop(key)
        yield from waiting.values()

    def _result(
        self, at: int, cell: Cell, tensor: Tensor, outputs: Mapping[str, np.ndarray] | None
    ) -> Result | None:
        if outputs is None or tensor.data is None or tensor.placement is None:
            return None
        height, width = tensor.data.shape[-2:] if self.spec.layout == "NCHW" else tensor.data.shape[1:3]
        try:
            return self.evaluation.result(at, outputs, tensor.placement, (height, width), cell.decoding())
        except BadInput as err:
            if self.on_bad == "fail":
                raise
            self._left_out(at, err)
            return None


def _place(cell: Cell) -> str:
    return f"{cell.variant}|{words(cell.graph_levels())}"


def along_the_tree(ways: Iterable[Preparation]) -> list[Preparation]:
    """The distinct ones, those that share a step one after another, in the order of whose step comes first."""
    steps = (Preparation.decode_key, Preparation.colour_key, Preparation.place_key)
    first: dict[Key, int] = {}
    distinct: dict[Key, Preparation] = {}
    for way in ways:
        distinct.setdefault(way.tensor_key(), way)
    for way in distinct.values():
        for step in steps:
            first.setdefault((step.__name__, step(way)), len(first))
    return sorted(distinct.values(), key=lambda way: [first[step.__name__, step(way)] for step in steps])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit: a NaN is itself, and -0 is not 0."""
    return a is b or (a.shape == b.shape and np.array_equal(a.view(np.uint8), b.view(np.uint8)))
