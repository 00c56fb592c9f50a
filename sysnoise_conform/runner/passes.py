"""The two passes over a variant: its outputs from the untouched graph, its layers from the tapped one.

They run side by side, each in a child of its own, so that a tapped graph that falls over costs
layers and never outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sysnoise_conform.backend import Runtime, Tensors
from sysnoise_conform.compare.readings import read
from sysnoise_conform.compare.tensors import measure, merge
from sysnoise_conform.errors import BackendError
from sysnoise_conform.graph.intake import Model, write_proto
from sysnoise_conform.graph.tap import tap
from sysnoise_conform.inputs import Samples
from sysnoise_conform.outcome import RuntimeFacts, TaskFigure, TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.plan import Plan
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.store import GoldenTensor
from sysnoise_conform.tasks import Meter
from sysnoise_conform.variant import Variant

# A tapped graph that a runtime refuses is halved and tried again, so that one tensor it can't show
# does not hide all others; each try is a whole compile, hence the bound.
MAX_TAP_BUILDS = 6

# The observer effect needs both passes' outputs at once: those of the first samples are kept.
KEPT_BYTES = 64 << 20

# Reading what a difference looks like costs more than measuring it. Below this many floor units it is
# rounding and looks like nothing; of a diverged network only the first layers are worth the look.
READ_ABOVE = 8.0
MOST_READ = 8

Watch = Callable[[str, str, int, int], None]  # variant, what it does, done, of


@dataclass(slots=True)
class Tally:
    """Diffs by tensor name, merged over samples."""

    ops: Mapping[str, str] = field(default_factory=dict)  # tensor -> the operator that makes it
    diffs: dict[str, TensorDiff] = field(default_factory=dict)
    read: int = 0

    def compare(self, golden: GoldenTensor, got: np.ndarray, sample: int) -> None:
        """Measure one sample's tensor and merge it in; read what the first abnormal ones look like."""
        diff = replace(measure(golden, got, sample=sample), op_type=self.ops.get(golden.name, ""))
        known = self.diffs.get(diff.name)
        if self.read < MOST_READ and (known is None or not known.readings) and _abnormal(diff):
            self.read += known is None
            diff = replace(diff, readings=read(golden, got))
        self.diffs[diff.name] = diff if known is None else merge(known, diff)

    def update(self, other: Tally) -> None:
        """Take over the tensors of another tally, which are not in this one."""
        self.diffs.update(other.diffs)

    def in_order(self, names: Iterable[str]) -> tuple[TensorDiff, ...]:
        """The diffs there are, in the order of `names`."""
        return tuple(self.diffs[each] for each in names if each in self.diffs)


def _abnormal(diff: TensorDiff) -> bool:
    ratio = diff.floor_ratio
    return diff.nan_mismatch > 0 or not diff.comparable or (ratio is not None and ratio > READ_ABOVE)


@dataclass(slots=True)
class Kept:
    """Copies of the outputs of the first samples, up to `KEPT_BYTES`."""

    samples: list[Tensors] = field(default_factory=list)
    room: int = KEPT_BYTES

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Keep one more sample's outputs, if they fit and none was left out before."""
        size = sum(array.nbytes for array in outputs.values())
        if size <= self.room:
            self.samples.append({name: array.copy() for name, array in outputs.items()})
            self.room -= size
        else:
            self.room = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """What all passes of a run share."""

    model: Model
    samples: Samples
    goldens: Goldens
    plan: Plan
    crew: Crew
    logs: Path
    threads: int
    meter: Callable[[], Meter | None]
    watch: Watch

    def tally(self) -> Tally:
        """An empty tally that knows which operator makes which tensor."""
        return Tally(ops={each.tensor: each.op_type for each in self.model.layers})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The golden names of the graph's outputs."""
        return tuple(port.name for port in self.model.outputs)

    def graph(self, folder: Path, taps: Sequence[str] = ()) -> Path:
        """A copy of the graph under test in `folder`, with `taps` (golden names) promoted to outputs."""
        target = self.plan.target
        if target.model is None:
            return target.copy_to(folder)
        if not taps:
            return target.model.write(folder)
        proto = tap(target.model.proto, [target.name(each) for each in taps])
        return write_proto(proto, folder, "tapped.onnx", target.model.data_files)


@dataclass(slots=True)
class Outputs:
    """What the first pass found."""

    tally: Tally
    runtime: RuntimeFacts | None = None
    missing: set[str] = field(default_factory=set)
    unsteady: set[str] = field(default_factory=set)
    kept: Kept = field(default_factory=Kept)
    tasks: tuple[TaskFigure, ...] = ()
    seconds_compile: float = 0.0
    seconds_run: float = 0.0
    peak_rss_mb: float | None = None


def measure_outputs(shop: Workshop, variant: Variant, place: str, found: Outputs) -> None:
    """Fill `found` from the untouched graph. Raises BackendError, and then `found` holds what is known."""
    python = shop.crew.interpreter(variant)
    with shop.crew.member(f"{variant} outputs", shop.logs / f"{place}.txt", python=python) as child:
        runtime = child.probe(variant.backend)
        shop.watch(str(variant), "compiling", 0, len(shop.samples))
        feed = shop.samples.feed(0)
        found.runtime = _facts(runtime, None, variant, python)
        session = RemoteSession(
            child, variant, shop.plan.target, shop.graph(child.workdir), feed, threads=shop.threads
        )
        found.runtime = _facts(runtime, session, variant, python)
        found.seconds_compile = session.seconds_compile
        meter = shop.meter()
        for number in range(len(shop.samples)):
            feed = shop.samples.feed(number)
            got = session.run(feed)
            found.kept.add(got)
            if number == 0:
                before = found.kept.samples[0] if found.kept.samples else {}
                got = session.run(feed)
                found.unsteady = {name for name in before if name in got and not _same(before[name], got[name])}
            golden = shop.goldens.sample(number)
            for name in shop.outputs:
                if name in got and name in golden:
                    found.tally.compare(golden[name], got[name], number)
                else:
                    found.missing.add(name)
            if meter is not None and not found.missing:
                meter.add({name: golden[name].data for name in shop.outputs}, got)
            shop.watch(str(variant), "running", number + 1, len(shop.samples))
        found.tasks = meter.figures() if meter is not None else ()
        found.seconds_run = session.seconds_run
        found.peak_rss_mb = child.peak_rss_mb


@dataclass(slots=True)
class Layers:
    """What the second pass found."""

    tally: Tally = field(default_factory=Tally)
    hidden: dict[str, str] = field(default_factory=dict)  # tensor -> why
    kept: Kept = field(default_factory=Kept)
    notes: list[str] = field(default_factory=list)
    builds: int = 0

    def unobservable(self, order: Iterable[str], known: Iterable[Unobservable]) -> tuple[Unobservable, ...]:
        """Every layer of `order` that was not measured, with its reason."""
        why = {each.tensor: each.why for each in known} | self.hidden
        return tuple(
            Unobservable(tensor=name, why=why.get(name, "not reached: the pass over the layers ended before"))
            for name in order
            if name not in self.tally.diffs
        )


def measure_layers(shop: Workshop, variant: Variant, place: str, found: Layers) -> None:
    """Fill `found` from tapped graphs. A runtime that fails here costs layers, with the reason, and nothing else."""
    waiting = list(shop.plan.taps)
    while waiting:
        taps = waiting.pop(0)
        found.builds += 1
        try:
            _watch_chunk(shop, variant, f"{place}-layers-{found.builds}", taps, found)
        except BackendError as err:
            why = one_line(err.message, 300)
            if len(taps) > 1 and found.builds + len(waiting) + 2 <= MAX_TAP_BUILDS and not shop.crew.dismissed:
                half = len(taps) // 2
                waiting[:0] = [taps[:half], taps[half:]]
                found.notes.append(f"a graph with {len(taps)} tensors tapped failed ({why}); tried again in halves")
            else:
                found.hidden.update(dict.fromkeys(taps, f"the tapped graph failed: {why}"))


def _watch_chunk(shop: Workshop, variant: Variant, place: str, taps: tuple[str, ...], found: Layers) -> None:
    python = shop.crew.interpreter(variant)
    tally, kept, absent = shop.tally(), Kept(), dict[str, str]()
    with shop.crew.member(f"{variant} layers", shop.logs / f"{place}.txt", python=python) as child:
        session = RemoteSession(
            child, variant, shop.plan.target, shop.graph(child.workdir, taps), shop.samples.feed(0), taps=taps,
            threads=shop.threads,
        )
        for number in range(len(shop.samples)):
            got = session.run(shop.samples.feed(number))
            kept.add({name: got[name] for name in shop.outputs if name in got})
            golden = shop.goldens.sample(number)
            for name in taps:
                if name not in golden:
                    absent[name] = "the golden keeps no tensor for it"
                elif name not in got:
                    absent[name] = "the runtime did not return it"
                else:
                    tally.compare(golden[name], got[name], number)
    found.tally.update(tally)
    found.hidden.update(absent)
    if not found.kept.samples:
        found.kept = kept


def _facts(runtime: Runtime, session: RemoteSession | None, variant: Variant, python: Path | None) -> RuntimeFacts:
    return RuntimeFacts(
        name=runtime.name,
        version=runtime.version,
        device=session.effective.device if session else "",
        effective_precision=session.effective.precision if session else "",
        options=dict(session.effective.options) if session else {},
        asked_precision=variant.precision,
        python=str(python or ""),
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
