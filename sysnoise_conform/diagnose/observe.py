"""What a diagnosis looks at: the untouched graph, the tapped one, and each operator alone.

All in one child, which imports its runtime once; the islands come last, and an operator which takes the process down
costs itself. PyTorch's child answers to recorded tensors meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.boundaries import watch_at_boundaries
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.graph.explode import Explosion, Islands
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.passes import facts_of, standing_in
from sysnoise_conform.runner.session import RemoteSession, to_promote
from sysnoise_conform.runner.tally import Tally
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample, GoldenTensor
from sysnoise_conform.variant import Variant

# A model of islands that a runtime refuses is halved until the operator is alone that it refuses; each is a compile.
MOST_BUILDS = 60


# A sample's number, what was recorded of it, PyTorch's answers to that, and where they are compared.
Answers = list[tuple[int, Tensors, Future[GoldenSample], Tally]]


def declared(golden: GoldenTensor) -> np.ndarray:
    """A golden tensor in the type that the model declares."""
    if golden.data.dtype.kind != "f":
        return golden.data
    with np.errstate(over="ignore"):
        return golden.data.astype(tensor_dtype_to_np_dtype(golden.elem_type))


def watch(shop: Workshop, variant: Variant, child: Child, seen: Seen, *, replay: bool) -> None:
    """The untouched graph for the outputs, then the tapped one for every tensor; `replay` asks PyTorch of these.

    Raises BackendError where the untouched graph fails. A tapped graph that fails costs what it would have shown.
    """
    clock = perf_counter()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay") as pool:
        runtime = child.probe(variant.backend)
        untouched = _session(shop, variant, child, "outputs", ())
        seen.runtime = facts_of(runtime, untouched, variant, shop.crew.interpreter(variant))
        plain: list[Tensors] = []
        for number in range(len(shop.samples)):
            got = untouched.run(shop.samples.feed(number))
            plain.append({name: array.copy() for name, array in got.items() if name in shop.outputs})
            golden = shop.goldens.sample(number)
            for name in shop.outputs:
                if name in golden and name in got:
                    seen.outputs.compare(golden[name], got[name], number)
        seen.seconds["untouched"] = perf_counter() - clock
        clock = perf_counter()
        answers: Answers = []

        def tapped(taps: Sequence[tuple[str, ...]], into: Seen, name: str) -> None:
            for at, names in enumerate(taps):
                try:
                    session = _session(shop, variant, child, f"{name}-{at}", names)
                    for number in range(len(shop.samples)):
                        recorded = _tapped(shop, session, names, number, plain[number], into, first=at == 0)
                        if replay:
                            if number == 0:
                                into.first.append(recorded)
                            _settle(answers, leave=1)
                            answer = pool.submit(shop.goldens.replayed, number, recorded)
                            answers.append((number, recorded, answer, into.replayed))
                except BackendError as err:
                    into.hidden.update(dict.fromkeys(names, f"the tapped graph failed: {one_line(err.message, 300)}"))
                    if isinstance(err, BackendDied):
                        break

        tapped(shop.plan.taps, seen, "layers")
        if not child.dead:
            watch_at_boundaries(seen, Seen.nothing(shop), untouched, shop.plan.taps, tapped)
        seen.seconds["tapped"] = perf_counter() - clock
        clock = perf_counter()
        _settle(answers, leave=0)
        seen.seconds["replay"] = perf_counter() - clock


def explode(
    shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, chosen: Collection[str]
) -> None:
    """Every operator that makes a tensor of `chosen`, alone, fed with PyTorch's tensors.

    `child` has done with everything else: an operator that takes it down costs itself, and the rest goes on in another.
    """
    clock = perf_counter()
    proto = shop.plan.target.model
    if proto is None:
        seen.notes.append(
            f"a {shop.plan.target.path.suffix.lower()} file can't be taken apart or changed: operators were not tried "
            "alone, nothing is bisected or proved, and there is no reproducer"
        )
        return
    name_of = {shop.plan.target.name(each.tensor): each.tensor for each in shop.model.layers}
    wanted = {shop.plan.target.name(each) for each in chosen}
    member = _Islands(shop, variant, place, child, seen, name_of, wanted)
    try:
        for number in range(len(shop.samples)):
            golden = shop.goldens.sample(number)
            known = {shop.plan.target.name(name): declared(each) for name, each in golden.items()}
            known |= {shop.plan.target.name(name): array for name, array in shop.samples.feed(number).items()}
            recorded = {name: declared(each) for name, each in golden.items()}
            member.sample(number, Explosion(proto.proto, known), known, shop.goldens.islands(number, recorded))
    finally:
        member.close()
    seen.seconds["explode"] = perf_counter() - clock


class _Islands:
    """The sessions of the islands; kept from sample to sample while shapes stay the same."""

    def __init__(
        self, shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, name_of: Mapping[str, str],
        chosen: set[str],
    ) -> None:  # fmt: skip
        self._chosen = chosen
        self._shop, self._variant, self._place, self._seen, self._name_of = shop, variant, place, seen, name_of
        self._builds = 0
        self._stack = ExitStack()
        self._child: Child | None = child
        self._sessions: list[tuple[Islands, RemoteSession]] = []
        self._shapes: dict[str, tuple[int, ...]] = {}

    def sample(
        self, number: int, explosion: Explosion, known: Mapping[str, np.ndarray], reference: GoldenSample
    ) -> None:
        """Run what there is for one sample."""
        shapes = {name: array.shape for name, array in known.items()}
        if shapes != self._shapes:
            self._sessions, self._shapes = [], shapes
            there = explosion.archipelago()
            self._leave_out(explosion, there.left_out)
            nodes = [each for each in there.nodes if not self._chosen.isdisjoint(explosion.makes(each))]
            waiting = list(explosion.islands(nodes))
            while waiting:
                self._build(waiting.pop(0), explosion, known, reference, number, waiting)
            return
        for islands, session in list(self._sessions):
            try:
                self._compare(islands, self._run(islands, session, known), reference, number)
            except BackendError as err:
                self._sessions.remove((islands, session))
                self._seen.notes.append(f"islands failed on sample {number}: {one_line(err.message, 200)}")
                if isinstance(err, BackendDied):
                    self._sessions = []
                    self.close()
                    return

    def close(self) -> None:
        """Leave the child, and end it if it is our own."""
        self._child = None
        self._stack.close()

    def _build(
        self, islands: Islands, explosion: Explosion, known: Mapping[str, np.ndarray], reference: GoldenSample,
        number: int, waiting: list[Islands],
    ) -> None:  # fmt: skip
        try:
            session = self._session(islands, known)
            self._compare(islands, self._run(islands, session, known), reference, number)
        except BackendError as err:
            if isinstance(err, BackendDied):
                self._sessions = []
                self.close()
            nodes = islands.nodes
            if len(nodes) == 1 or self._builds >= MOST_BUILDS or self._shop.crew.dismissed:
                self._leave_out(explosion, dict.fromkeys(nodes, one_line(err.message, 300)))
                return
            halves = (nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :])
            waiting[:0] = [each for half in halves for each in explosion.islands(half)]
        else:
            self._sessions.append((islands, session))

    def _session(self, islands: Islands, known: Mapping[str, np.ndarray]) -> RemoteSession:
        self._builds += 1
        if self._child is None or self._child.dead:
            log = self._shop.logs / f"{self._place}-islands-{self._builds}.txt"
            self.close()
            self._child = self._stack.enter_context(
                self._shop.crew.member(str(self._variant), log, variant=self._variant)
            )
        folder = self._child.workdir / f"islands-{self._builds}"
        folder.mkdir()
        target = self._shop.plan.target
        assert target.model is not None
        graph = write_proto(islands.model, folder, "islands.onnx", target.model.data_files)
        return RemoteSession(
            self._child, self._variant, Target(path=graph, format="onnx", model=None), graph,
            _fed(islands, known), name=f"islands-{self._builds}", threads=self._shop.threads,
        )  # fmt: skip

    def _run(self, islands: Islands, session: RemoteSession, known: Mapping[str, np.ndarray]) -> Tensors:
        return session.run(_fed(islands, known))

    def _compare(self, islands: Islands, got: Tensors, reference: GoldenSample, number: int) -> None:
        for ours, theirs in islands.outputs.items():
            name = self._name_of.get(theirs, theirs)
            if name in reference and ours in got:
                self._seen.islands.compare(reference[name], got[ours], number)

    def _leave_out(self, explosion: Explosion, why: Mapping[int, str]) -> None:
        for at, reason in why.items():
            for name in explosion.makes(at):
                self._seen.not_runnable[self._name_of.get(name, name)] = reason


def _fed(islands: Islands, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {ours: known[name] for ours, name in islands.inputs.items()}


def _session(shop: Workshop, variant: Variant, child: Child, name: str, taps: Sequence[str]) -> RemoteSession:
    folder = child.workdir / name
    folder.mkdir()
    graph: Path = shop.graph(folder, to_promote(variant, shop.plan.target, taps))
    return RemoteSession(
        child, variant, shop.plan.target, graph, shop.samples.feed(0), name=name, taps=tuple(taps),
        threads=shop.threads,
    )  # fmt: skip


def _tapped(
    shop: Workshop, session: RemoteSession, names: Sequence[str], number: int, plain: Tensors, seen: Seen, *,
    first: bool,
) -> Tensors:  # fmt: skip
    """One sample through a tapped graph: compared with PyTorch's tensors; a copy of what was recorded."""
    got = session.run(shop.samples.feed(number))
    golden = shop.goldens.sample(number)
    for name in names:
        if name not in golden:
            seen.hidden[name] = f"the golden keeps none: {golden.left_out.get(name, 'PyTorch did not compute it')}"
        elif name not in got:
            seen.hidden[name] = "the runtime did not return it"
        elif not _same_tensor(shop, name, golden[name].shape, got[name].shape):
            seen.hidden[name] = (
                f"the file's tensor of that name has the shape {list(got[name].shape)}, PyTorch's has "
                f"{list(golden[name].shape)}: say --layout {one_line(name, 60)}=NHWC if that is what it is, or --map"
            )
        else:
            seen.cumulative.compare(golden[name], got[name], number)
            seen.recorded.add(name)
    for name in shop.outputs if first else ():
        if name in plain and name in got and name in golden:
            seen.effect.compare(standing_in(golden[name], plain[name]), got[name], number)
    return {name: got[name].copy() for name in names if name in got and name in seen.recorded}


def _same_tensor(shop: Workshop, name: str, golden: tuple[int, ...], got: tuple[int, ...]) -> bool:
    """Whether a tensor is the one that its name says; another format may call another one so, or turn it."""
    outputs = shop.plan.target.model is not None or name in shop.outputs
    return outputs or golden == got


def _settle(answers: Answers, *, leave: int) -> None:
    """Compare what was recorded with PyTorch's answers to it; at most `leave` answers stay waited for."""
    while len(answers) > leave:
        number, recorded, answer, replayed = answers.pop(0)
        with answer.result() as reference:
            for name, tensor in reference.items():
                if name in recorded:
                    replayed.compare(tensor, recorded[name], number)
