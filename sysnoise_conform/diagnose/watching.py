"""The graph as it ships, for its outputs; and tapped, for every tensor, on which PyTorch's child replays each operator.

A runtime that can't show a tensor refuses the whole tapped graph, or dies of it. The graph is tapped in halves then,
until what can't be shown stands alone: it costs itself and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.boundaries import watch_at_boundaries
from sysnoise_conform.diagnose.flags import PartTally
from sysnoise_conform.diagnose.observe import open_session
from sysnoise_conform.diagnose.seen import Recording, Seen
from sysnoise_conform.errors import BackendDied, BackendError, Unsupported
from sysnoise_conform.graph.walk import reads
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.passes import compare_outputs, facts_of, not_kept, other_tensor, standing_in
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.tally import Tally
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample, GoldenTensor
from sysnoise_conform.variant import Variant

# To find one tensor of n takes 2 * log2(n) tapped graphs, each a compile, and a process where the runtime dies of it:
# two of a thousand are found within this many.
MOST_TAP_BUILDS = 40


def watch(shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, *, replay: bool) -> None:
    """The untouched graph for the outputs, then the tapped one for every tensor; `replay` asks PyTorch of these.

    Raises BackendError where the untouched graph can't be had for a reason that lies in no operator. Of one that the
    runtime refuses or dies of nothing is watched, and `seen.refused` says why. A tapped graph that fails costs what
    can't be shown; where it took `child` down, the rest goes on in another.
    """
    clock = perf_counter()
    seen.seconds["tapped"] = seen.seconds["replay"] = 0.0
    runtime = child.probe(variant.backend)
    try:
        untouched = open_session(shop, variant, child, "outputs", ())
        seen.runtime = facts_of(runtime, untouched, variant, shop.crew.interpreter(variant))
        _outputs(shop, untouched, seen)
    except (Unsupported, BackendDied) as err:  # it may be for one operator: each is tried alone
        if shop.plan.target.model is None or (isinstance(err, BackendDied) and err.cause != "crash"):
            raise
        seen.refused = err
        seen.runtime = seen.runtime or facts_of(runtime, None, variant, shop.crew.interpreter(variant))
        seen.outputs = shop.tally()
        seen.plain.clear()
        seen.hidden.update({each.tensor: "the graph does not run here" for each in shop.model.layers})
        seen.seconds["untouched"] = perf_counter() - clock
        return
    seen.seconds["untouched"] = perf_counter() - clock
    chunks = tuple(tuple(name for name in each if name not in seen.blocks.hidden) for each in shop.plan.taps)

    def tapped(taps: Sequence[tuple[str, ...]], into: Seen, name: str) -> None:
        with _Tapping(shop, variant, place, name, child, into, seen.plain, taps, replay=replay) as tapping:
            tapping.all(seen.seconds)

    tapped(chunks, seen, "layers")
    if not child.dead:
        watch_at_boundaries(seen, seen.anew(shop), untouched, chunks, tapped)


def _outputs(shop: Workshop, untouched: RemoteSession, seen: Seen) -> None:
    """What ships: the untouched graph's outputs against PyTorch's."""
    for number in range(len(shop.samples)):
        got = untouched.run(shop.samples.feed(number))
        seen.plain.append({name: array.copy() for name, array in got.items() if name in shop.outputs})
        golden = shop.goldens.sample(number)
        compare_outputs(shop, golden, got, number, seen.outputs, seen.missing)


def watch_without(
    shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, left_out: Collection[str], name: str
) -> Seen:  # fmt: skip
    """Watch once more, in graphs of that name, all that was watched but what is `left_out`; `seen` stays as it is."""
    again = seen.anew(shop)
    taps = [tuple(each for each in part if each in seen.recorded and each not in left_out) for part in shop.plan.taps]
    with _Tapping(shop, variant, place, name, child, again, seen.plain, taps, replay=True) as tapping:
        tapping.all(seen.seconds)
    return again


@dataclass(slots=True)
class _Piece:
    """What one tapped graph gave: all of it counts, or nothing."""

    names: tuple[str, ...]
    boundary: tuple[str, ...]  # read by the operators of `names`, and watched before
    cumulative: Tally
    effect: Tally
    replayed: Tally
    parts: PartTally = field(default_factory=PartTally)
    first: Tensors | None = None
    absent: dict[str, str] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    no_bool: set[str] = field(default_factory=set)  # of these, what can't stand in for PyTorch's bool
    answers: list[tuple[int, Tensors, Future[GoldenSample]]] = field(default_factory=list)


class _Tapping:
    """Graphs of one variant that are tapped for `taps`, one after the other. A context manager."""

    def __init__(
        self, shop: Workshop, variant: Variant, place: str, name: str, child: Child, seen: Seen,
        plain: Sequence[Tensors], taps: Sequence[tuple[str, ...]], *, replay: bool,
    ) -> None:  # fmt: skip
        self._shop, self._variant, self._place, self._seen, self._plain = shop, variant, place, seen, plain
        self._child, self._name = child, name
        self._replay = replay
        self._builds = 0
        self._waiting = [each for each in taps if each]
        self._tappable = {name for each in self._waiting for name in each}
        nodes = shop.model.proto.graph.node
        self._makers = {name: node for node in nodes for name in node.output if name}
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay"))

    def __enter__(self) -> _Tapping:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def all(self, seconds: dict[str, float]) -> None:
        """Every tensor that the runtime shows; what that takes is added to `seconds`."""
        while self._waiting:
            names = self._waiting.pop(0)
            shop = self._shop
            piece = _Piece(names, tuple(self._boundary(names)), shop.tally(), shop.tally(), shop.tally())
            clock = perf_counter()
            try:
                self._run(piece)
            except BackendError as err:
                self._waiting[:0] = self._halves(names, err)
                for _, _, answer in piece.answers:
                    answer.result().close()
                continue
            finally:
                seconds["tapped"] += perf_counter() - clock
            clock = perf_counter()
            self._settle(piece, leave=0)
            seconds["replay"] += perf_counter() - clock
            self._take(piece)

    def _run(self, piece: _Piece) -> None:
        self._builds += 1
        shown = (*piece.names, *piece.boundary)
        session = open_session(self._shop, self._variant, self._living(), f"{self._name}-{self._builds}", shown)
        for number in range(len(self._shop.samples)):
            recorded = self._sample(piece, session, number)
            if self._replay:
                piece.first = recorded if number == 0 else piece.first
                self._settle(piece, leave=1)
                answer = self._pool.submit(self._shop.goldens.replayed, number, recorded)
                piece.answers.append((number, recorded, answer))

    def _living(self) -> Child:
        """The child, or another one where a tapped graph has taken it down."""
        if self._child.dead:
            log = self._shop.logs / f"{self._place}-{self._name}-{self._builds}.txt"
            self._child = self._stack.enter_context(
                self._shop.crew.member(str(self._variant), log, variant=self._variant)
            )
        return self._child

    def _sample(self, piece: _Piece, session: RemoteSession, number: int) -> Tensors:
        """One sample through a tapped graph: compared with PyTorch's tensors; a copy of what was recorded."""
        got = session.run(self._shop.samples.feed(number))
        golden = self._shop.goldens.sample(number)
        for name in piece.names:
            if name not in golden:
                piece.absent[name] = not_kept(golden, name)
            elif name not in got:
                piece.absent[name] = "the runtime did not return it"
            elif why := other_tensor(self._shop, name, golden[name].shape, got[name].shape):
                piece.absent[name] = why
            else:
                piece.cumulative.compare(golden[name], got[name], number)
                piece.recorded.add(name)
                if _no_bool(golden[name], got[name]):  # whatever it was made of
                    piece.replayed.compare(golden[name], got[name], number)
                    piece.no_bool.add(name)
        plain = self._plain[number]
        for name in self._shop.outputs:
            if name in plain and name in got and name in golden:
                piece.effect.compare(standing_in(golden[name], plain[name]), got[name], number)
        return {
            name: got[name].copy() for name in (*piece.names, *piece.boundary) if name in got and name in golden
            and not _no_bool(golden[name], got[name])
            and not other_tensor(self._shop, name, golden[name].shape, got[name].shape)
        }  # fmt: skip

    def _settle(self, piece: _Piece, *, leave: int) -> None:
        """Compare what was recorded with PyTorch's answers to it; at most `leave` answers stay waited for."""
        while len(piece.answers) > leave:
            number, recorded, answer = piece.answers.pop(0)
            given: Mapping[str, np.ndarray] = {**recorded, **self._shop.samples.feed(number)}
            golden = self._shop.goldens.sample(number)
            with answer.result() as reference:
                for name, tensor in reference.items():
                    if name in piece.recorded and name in recorded:
                        got = recorded[name]
                        settled = self._seen.margins.settled(tensor, got, given, golden, recorded, inside=reference)
                        piece.replayed.compare(
                            settled.golden, got, number, ties=settled.ties, readings=settled.readings
                        )
                        if settled.ties is None:  # of a decision, a flip is one, in whatever part
                            piece.parts.add(settled.golden, got, reference)

    def _take(self, piece: _Piece) -> None:
        """Count what a tapped graph gave; the first one tells what watching changed."""
        seen = self._seen
        if not seen.effect.diffs:
            seen.effect.merge(piece.effect)
        seen.cumulative.merge(piece.cumulative)
        seen.replayed.merge(piece.replayed)
        seen.parts.merge(piece.parts)
        seen.hidden.update(piece.absent)
        seen.recorded |= piece.recorded - piece.no_bool
        if piece.first is not None:
            seen.first.append(Recording(tensors=piece.first, own=frozenset(piece.recorded & set(piece.first))))

    def _halves(self, names: tuple[str, ...], err: BackendError) -> list[tuple[str, ...]]:
        """What to try after a tapped graph failed: each half of it, or nothing more."""
        why = one_line(err.message, 300)
        # A hang has cost the whole limit: half of its graph would most likely cost it again.
        hung = isinstance(err, BackendDied) and err.cause == "timeout"
        if len(names) < 2 or hung or self._shop.crew.dismissed or self._builds >= MOST_TAP_BUILDS:
            self._seen.hidden.update(dict.fromkeys(names, f"the tapped graph failed: {why}"))
            return []
        if self._builds == 1:
            self._seen.notes.append(f"a graph with {len(names)} tensors tapped failed ({why}); tried again in halves")
        return [names[: len(names) // 2], names[len(names) // 2 :]]

    def _boundary(self, names: Sequence[str]) -> Iterator[str]:
        """What the operators that make `names` read and is not among these, as far as it can be shown.

        Without it an operator at the beginning would be judged together with all that come before.
        """
        done, waiting = set(names), list(names)
        while waiting:
            maker = self._makers.get(waiting.pop())
            for name in sorted(reads(maker)) if maker is not None else ():
                if name in done or name not in self._makers:
                    continue
                done.add(name)
                if name in self._tappable and name not in self._seen.hidden:
                    yield name
                else:
                    waiting.append(name)


def _no_bool(golden: GoldenTensor, got: np.ndarray) -> bool:
    """Whether a runtime without a bool keeps other numbers than 0 and 1 in its place: what reads them is not replayed.

    Float64 could only read true there, and the runtime computes with the number.
    """
    return golden.data.dtype.kind == "b" and got.dtype.kind != "b"
