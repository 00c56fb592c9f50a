"""Each operator alone, fed with PyTorch's tensors: islands in one child, the rest goes on when one takes it down."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from sysnoise_conform.diagnose.flags import PartTally
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.graph.explode import Explosion, Islands, Kind, Round
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample
from sysnoise_conform.variant import Variant

# A model of islands that a runtime refuses is halved until the operator is alone that it refuses; each is a compile.
MOST_BUILDS = 60
# Of a graph that is refused as a whole: after so many without one that runs, it is not an operator that is refused.
MOST_REFUSED = 16


def explode(
    shop: Workshop, variant: Variant, place: str, child: Child, seen: Seen, chosen: Collection[str]
) -> None:
    """Every operator, or block, that makes a tensor of `chosen`, alone, fed with PyTorch's tensors.

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
            member.sample(number, Explosion(proto.proto, known, seen.blocks.taken), known, golden)
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
        self, number: int, explosion: Explosion, known: Mapping[str, np.ndarray], golden: GoldenSample
    ) -> None:
        """Run what there is for one sample."""
        # What lies inside of blocks is computed from what comes in, on both sides.
        fed = {name: declared(each) for name, each in golden.items() if name not in self._seen.blocks.hidden}
        trial = _Trial(number, known, golden, self._shop.goldens.islands(number, fed, self._seen.blocks.hidden))
        shapes = {name: array.shape for name, array in known.items()}
        if shapes != self._shapes:
            self._sessions, self._shapes = [], shapes
            there = explosion.archipelago()
            self._leave_out(explosion, there.left_out)
            nodes = [each for each in there.nodes if not self._chosen.isdisjoint(explosion.makes(each))]
            waiting = list(explosion.islands(nodes))
            while waiting:
                self._build(waiting.pop(0), explosion, trial, waiting)
            return
        for islands, session in list(self._sessions):
            try:
                self._run(islands, session, trial)
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

    def _build(self, islands: Islands, explosion: Explosion, trial: _Trial, waiting: list[Islands]) -> None:
        try:
            session = self._session(islands, trial.known)
            self._run(islands, session, trial)
        except BackendError as err:
            if isinstance(err, BackendDied):
                self._sessions = []
                self.close()
            halves = _halves(islands.kinds, err)
            in_vain = self._seen.refused is not None and not self._seen.islands.diffs and self._builds >= MOST_REFUSED
            if not halves or in_vain or self._builds >= MOST_BUILDS or self._shop.crew.dismissed:
                self._leave_out(explosion, dict.fromkeys(islands.nodes, one_line(err.message, 300)))
                return
            waiting[:0] = [each for half in halves for each in explosion.models(half)]
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
        session = RemoteSession(
            self._child, self._variant, Target(path=graph, format="onnx", model=None), graph,
            _fed(islands.rounds[0], known), name=f"islands-{self._builds}", threads=self._shop.threads,
        )  # fmt: skip
        if self._seen.refused is not None and self._seen.runtime is not None:
            did = session.effective  # no session of the whole graph has told it
            self._seen.runtime = replace(
                self._seen.runtime, device=did.device, effective_precision=did.precision, options=dict(did.options)
            )
        return session

    def _run(self, islands: Islands, session: RemoteSession, trial: _Trial) -> None:
        """All rounds of one model; what they gave counts once all of them have ended."""
        found, parts, alone = self._shop.tally(), PartTally(), dict[str, np.ndarray]()
        for each in islands.rounds:
            got = session.run(_fed(each, trial.known))
            names = {ours: self._name_of.get(theirs, theirs) for ours, theirs in each.outputs.items() if ours in got}
            answers = {name: got[ours] for ours, name in names.items()}
            for name, answer in answers.items():
                if name in trial.reference:
                    settled = self._seen.margins.settled(
                        trial.reference[name], answer, trial.given(self._name_of, each), trial.golden, answers,
                        fed=True, inside=trial.reference,
                    )  # fmt: skip
                    found.compare(
                        settled.golden, answer, trial.number, ties=settled.ties, readings=settled.readings
                    )
                    if settled.ties is None:  # of a decision, a flip is one, in whatever part
                        parts.add(settled.golden, answer, trial.reference)
                    if trial.number == 0 and name not in self._seen.recorded:
                        alone[name] = answer.copy()
        self._seen.islands.merge(found)
        self._seen.island_parts.merge(parts)
        self._seen.alone.update(alone)

    def _leave_out(self, explosion: Explosion, why: Mapping[int, str]) -> None:
        for at, reason in why.items():
            for name in explosion.makes(at):
                self._seen.not_runnable[self._name_of.get(name, name)] = reason


@dataclass(frozen=True, slots=True)
class _Trial:
    """One sample: its number, the tensors by the names of the graph under test, PyTorch's, and its answers to them."""

    number: int
    known: Mapping[str, np.ndarray]
    golden: GoldenSample
    reference: GoldenSample

    def given(self, name_of: Mapping[str, str], each: Round) -> dict[str, np.ndarray]:
        """What was fed in one run, by the golden's names."""
        return {name_of.get(theirs, theirs): self.known[theirs] for theirs in each.inputs.values()}


def _halves(kinds: Sequence[Kind], err: BackendError) -> list[list[Kind]]:
    """What to try after a model of these kinds failed; nothing where there is but one operator to it.

    Operators of one kind are one to a compiler: a refusal of one is that of all.
    """
    if len(kinds) > 1:
        return [list(kinds[: len(kinds) // 2]), list(kinds[len(kinds) // 2 :])]
    (kind,) = kinds
    if len(kind) == 1 or getattr(err, "stage", "compile") != "run":
        return []
    return [[kind[: len(kind) // 2]], [kind[len(kind) // 2 :]]]


def _fed(each: Round, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {ours: known[name] for ours, name in each.inputs.items()}
