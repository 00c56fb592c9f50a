"""The two passes over a variant: its outputs from the untouched graph, its layers from the tapped one.

They run side by side, each in a child of its own, so that a tapped graph that falls over costs
layers and never outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sysnoise_conform.backend import Runtime
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.outcome import RuntimeFacts, TaskFigure, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.tally import Kept, Tally
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample
from sysnoise_conform.variant import Variant

# A tapped graph that a runtime refuses is halved and tried again, so that one tensor it can't show
# does not hide all others; each try is a whole compile, hence the bound.
MAX_TAP_BUILDS = 6


@dataclass(slots=True)
class Outputs:
    """What the first pass found."""

    tally: Tally
    runtime: RuntimeFacts | None = None
    missing: dict[str, str] = field(default_factory=dict)  # output -> why it was not compared
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
                before = {name: _fingerprint(array) for name, array in got.items()}
                got = session.run(feed, again=True)
                found.unsteady = {name for name, array in got.items() if before.get(name) != _fingerprint(array)}
            golden = shop.goldens.sample(number)
            for name in shop.outputs:
                if name not in golden:
                    found.missing[name] = _not_kept(golden, name)
                elif name not in got:
                    found.missing[name] = _not_returned(shop, name)
                else:
                    found.tally.compare(golden[name], got[name], number)
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
    wanted: bool = True  # False once the outputs are lost: layers without them are of no use

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
    while waiting and found.wanted:
        taps = waiting.pop(0)
        found.builds += 1
        try:
            _watch_chunk(shop, variant, f"{place}-layers-{found.builds}", taps, found)
        except BackendError as err:
            why = one_line(err.message, 300)
            again = found.wanted and not shop.crew.dismissed and not _hung(err)
            if again and len(taps) > 1 and found.builds + len(waiting) + 2 <= MAX_TAP_BUILDS:
                half = len(taps) // 2
                waiting[:0] = [taps[:half], taps[half:]]
                found.notes.append(f"a graph with {len(taps)} tensors tapped failed ({why}); tried again in halves")
            else:
                found.hidden.update(dict.fromkeys(taps, f"the tapped graph failed: {why}"))


def _hung(err: BackendError) -> bool:
    """A hang has cost the whole limit: half of its graph would most likely cost it again."""
    return isinstance(err, BackendDied) and err.cause == "timeout"


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
                    absent[name] = _not_kept(golden, name)
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


def _not_returned(shop: Workshop, name: str) -> str:
    shipped = shop.plan.target.model
    theirs = [] if shipped is None else [port.name for port in shipped.outputs]
    if shipped is None or shop.plan.target.name(name) in theirs:
        return "the runtime did not return it"
    known = ", ".join(one_line(each, 60) for each in theirs)
    return f"the deployed file has no output of this name, only {known}: say --map {one_line(name, 60)}=THEIRS"


def _not_kept(golden: GoldenSample, name: str) -> str:
    return f"the golden keeps none: {golden.left_out.get(name, 'PyTorch did not compute it')}"


def _fingerprint(array: np.ndarray) -> tuple[object, ...]:
    """Equal for equal bits; a digest, since outputs may be too large to keep twice."""
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return array.shape, array.dtype, hashlib.blake2b(content).digest()
