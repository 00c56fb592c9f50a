"""A variant's two sessions, sample by sample: the untouched graph for its outputs, a tapped one for its layers.

Both live in one child, which imports its runtime once; the untouched graph has compiled and run before the tapped one
is there. A tapped graph that falls over costs layers and never outputs: the untouched one goes on in another child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sysnoise_conform.backend import Runtime, Tensors
from sysnoise_conform.errors import BackendDied, BackendError
from sysnoise_conform.outcome import RuntimeFacts, TaskFigure, TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession, to_promote
from sysnoise_conform.runner.tally import MOST_READ, Tally
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenSample, GoldenTensor
from sysnoise_conform.tasks import Meter
from sysnoise_conform.variant import Variant

# A tapped graph that a runtime refuses is halved and tried again, so that one tensor it can't show
# does not hide all others; each try is a whole compile, hence the bound.
MAX_TAP_BUILDS = 6


@dataclass(slots=True)
class Outputs:
    """What the untouched graph gave."""

    tally: Tally
    total: Tally = field(default_factory=lambda: Tally(read=MOST_READ))  # against the original; nothing is read of it
    meter: Meter | None = None
    runtime: RuntimeFacts | None = None
    missing: dict[str, str] = field(default_factory=dict)  # output -> why it was not compared
    unsteady: set[str] = field(default_factory=set)
    tasks: tuple[TaskFigure, ...] = ()
    seconds_compile: float = 0.0
    seconds_run: float = 0.0
    peak_rss_mb: float | None = None

    def compare(self, shop: Workshop, golden: GoldenSample, got: Tensors, number: int) -> None:
        """One sample's outputs against the golden's."""
        compare_outputs(shop, golden, got, number, self.tally, self.missing)
        original = golden if shop.design is None else shop.design.add(number, golden)
        if original is not golden:
            for name in shop.outputs:
                if name in original and name in got:
                    self.total.compare(original[name], got[name], number)
        if self.meter is not None and not self.missing:  # what a user notices is the whole of it
            self.meter.add({name: original[name].data for name in shop.outputs}, got)


@dataclass(slots=True)
class Layers:
    """What the tapped graphs gave."""

    tally: Tally = field(default_factory=Tally)
    effect: tuple[TensorDiff, ...] = ()  # tapped outputs against untouched ones, in units of the golden's floor
    hidden: dict[str, str] = field(default_factory=dict)  # tensor -> why
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


class Taps:
    """One tapped graph, and what was found of its tensors: all of it counts, or nothing."""

    def __init__(self, shop: Workshop, variant: Variant, names: tuple[str, ...]) -> None:
        self.names = names
        self.failure: BackendError | None = None
        self._shop, self._variant = shop, variant
        self._graph: Path | None = None
        self._session: RemoteSession | None = None
        self._tally, self._effect = shop.tally(), shop.tally()
        self._absent: dict[str, str] = {}

    def prepare(self, child: Child) -> None:
        """Write the tapped graph for `child`."""
        promoted = to_promote(self._variant, self._shop.plan.target, self.names)
        self._graph = self._shop.graph(_folder(child, "layers"), promoted)

    def run(self, child: Child, feed: Mapping[str, np.ndarray]) -> Tensors:
        """One sample's tensors, views until the child's next call; nothing where the runtime failed, see `failure`."""
        try:
            if self._session is None:
                if self._graph is None:
                    self.prepare(child)
                assert self._graph is not None
                self._session = RemoteSession(
                    child, self._variant, self._shop.plan.target, self._graph, feed,
                    name="layers", taps=self.names, threads=self._shop.threads,
                )  # fmt: skip
            return self._session.run(feed)
        except BackendError as err:
            self.failure = err
            return {}

    def compare(self, golden: GoldenSample, got: Tensors, plain: Tensors, number: int) -> None:
        """One sample's tensors against the golden's, and the outputs against those of the untouched graph."""
        for name in self.names:
            if name not in golden:
                self._absent[name] = not_kept(golden, name)
            elif name not in got:
                self._absent[name] = "the runtime did not return it"
            elif why := other_tensor(self._shop, name, golden[name].shape, got[name].shape):
                self._absent[name] = why
            else:
                self._tally.compare(golden[name], got[name], number)
        for name in self._shop.outputs:
            if name in plain and name in got and name in golden:
                self._effect.compare(standing_in(golden[name], plain[name]), got[name], number)

    def into(self, layers: Layers) -> None:
        """Add what was found."""
        layers.tally.update(self._tally)
        layers.hidden.update(self._absent)
        layers.effect = layers.effect or self._effect.in_order(self._shop.outputs)


def measure(shop: Workshop, variant: Variant, place: str, outputs: Outputs, layers: Layers) -> None:
    """Fill `outputs` and `layers`; logs are called `place`.

    Raises BackendError where the untouched graph fails, and then `outputs` holds what is known. A runtime that fails
    on a tapped graph costs layers, with the reason, and nothing else.
    """
    waiting = list(shop.plan.taps)
    taps = Taps(shop, variant, waiting.pop(0)) if waiting else None
    number, log = 0, place
    while number < len(shop.samples):
        number = _sit(shop, variant, log, number, outputs, taps if number == 0 else None)
        log = f"{place}-again"
    outputs.tasks = outputs.meter.figures() if outputs.meter is not None else ()
    while taps is not None:
        layers.builds += 1
        if taps.failure is None:
            taps.into(layers)
        else:
            waiting[:0] = _halves(taps, layers, len(waiting), over=shop.crew.dismissed)
        taps = Taps(shop, variant, waiting.pop(0)) if waiting else None
        if taps is not None:
            _sit(shop, variant, f"{place}-layers-{layers.builds}", 0, None, taps, plain=not layers.effect)


def _halves(taps: Taps, layers: Layers, waiting: int, *, over: bool) -> list[tuple[str, ...]]:
    """What to try after a tapped graph failed: each half of it, or nothing more."""
    assert taps.failure is not None
    why, names = one_line(taps.failure.message, 300), taps.names
    # A hang has cost the whole limit: half of its graph would most likely cost it again.
    hung = isinstance(taps.failure, BackendDied) and taps.failure.cause == "timeout"
    if len(names) < 2 or over or hung or layers.builds + waiting + 2 > MAX_TAP_BUILDS:
        layers.hidden.update(dict.fromkeys(names, f"the tapped graph failed: {why}"))
        return []
    layers.notes.append(f"a graph with {len(names)} tensors tapped failed ({why}); tried again in halves")
    return [names[: len(names) // 2], names[len(names) // 2 :]]


def _sit(
    shop: Workshop, variant: Variant, log: str, first: int, outputs: Outputs | None, taps: Taps | None,
    *, plain: bool = True,
) -> int:  # fmt: skip
    """Measure the samples from `first` on in one child; the number of the first that is left.

    None is left unless the tapped graph took the child down. Everything is computed before the golden is waited for.
    """
    last = len(shop.samples) - 1
    with shop.crew.member(str(variant), shop.logs / f"{log}.txt", variant=variant) as child:
        untouched = _untouched(shop, variant, child, outputs, taps) if plain else None
        for number in range(first, last + 1):
            feed = shop.samples.feed(number)
            got = {} if untouched is None else _run_untouched(untouched, child, feed, outputs, first=number == 0)
            seen: Tensors = {}
            if taps is not None and taps.failure is None:
                got = {name: array.copy() for name, array in got.items()}  # the child's next answer takes their place
                seen = taps.run(child, feed)
            if number == last:
                child.hang_up()
            golden = shop.goldens.sample(number)
            if outputs is not None:
                outputs.compare(shop, golden, got, number)
                shop.watch(str(variant), "running", number + 1, len(shop.samples))
            if taps is not None and taps.failure is None:
                taps.compare(golden, seen, got, number)
            elif outputs is None or child.dead:
                return number + 1
        return last + 1


def _untouched(
    shop: Workshop, variant: Variant, child: Child, outputs: Outputs | None, taps: Taps | None
) -> RemoteSession:
    """The session of the untouched graph; while it compiles, the graph for `taps` is written."""
    python = shop.crew.interpreter(variant)
    runtime = child.probe(variant.backend)
    if outputs is not None:
        shop.watch(str(variant), "compiling", 0, len(shop.samples))
        outputs.runtime = outputs.runtime or facts_of(runtime, None, variant, python)

    def meanwhile() -> None:
        shop.asked.set()
        if taps is not None:
            taps.prepare(child)

    session = RemoteSession(
        child, variant, shop.plan.target, shop.graph(_folder(child, "outputs")), shop.samples.feed(0),
        name="outputs", threads=shop.threads, meanwhile=meanwhile,
    )  # fmt: skip
    shop.compiled.set()
    if outputs is not None:
        outputs.runtime = facts_of(runtime, session, variant, python)
        outputs.seconds_compile = outputs.seconds_compile or session.seconds_compile
    return session


def _run_untouched(
    session: RemoteSession, child: Child, feed: Mapping[str, np.ndarray], outputs: Outputs | None, *, first: bool
) -> Tensors:
    before = session.seconds_run
    got = session.run(feed)
    if outputs is None:
        return got
    outputs.seconds_run += session.seconds_run - before
    if first:
        prints = {name: _fingerprint(array) for name, array in got.items()}
        got = session.run(feed, again=True)
        outputs.unsteady = {name for name, array in got.items() if prints.get(name) != _fingerprint(array)}
        outputs.peak_rss_mb = child.peak_rss_mb  # before a tapped graph lives beside it
    return got


def _folder(child: Child, name: str) -> Path:
    folder = child.workdir / name
    folder.mkdir()
    return folder


def facts_of(runtime: Runtime, session: RemoteSession | None, variant: Variant, python: Path | None) -> RuntimeFacts:
    """The runtime, and what a session of it really does, as the report has it."""
    return RuntimeFacts(
        name=runtime.name,
        version=runtime.version,
        device=session.effective.device if session else "",
        effective_precision=session.effective.precision if session else "",
        options=dict(session.effective.options) if session else {},
        asked_precision=variant.precision,
        python=str(python or ""),
        shares=dict(session.effective.shares) if session else {},
    )


def other_tensor(shop: Workshop, name: str, golden: tuple[int, ...], got: tuple[int, ...]) -> str:
    """Why an inner tensor is not the one that its name says, or can't be known to be; "" where it is.

    The names in a file of another format are its converter's: it may call another tensor so, or hold it with channels
    last. An output's shape is a finding; what nobody asked of the file is none.
    """
    target = shop.plan.target
    if target.model is not None or name in shop.outputs or name in target.layouts:
        return ""
    cure = f"say --layout {one_line(name, 60)}=NHWC if that is what it is, or --map"
    if golden != got:
        return (
            f"the file's tensor of that name has the shape {list(got)}, PyTorch's has {list(golden)}: {cure}"
        )
    if target.format == "tflite" and len(got) == 4 and got[1] == got[2] == got[3] > 1:
        return f"with the shape {list(got)} nobody can tell where its channels are: {cure}, or =NCHW"
    return ""


def standing_in(golden: GoldenTensor, plain: np.ndarray) -> GoldenTensor:
    """Another run's tensor in the golden's place, judged by the golden's floor."""
    data = plain.astype(np.float64) if golden.data.dtype.kind == "f" else plain
    return replace(golden, shape=plain.shape, data=data)


def compare_outputs(
    shop: Workshop, golden: GoldenSample, got: Tensors, number: int, tally: Tally, missing: dict[str, str]
) -> None:
    """The untouched graph's outputs of one sample into `tally`; why one can't be compared into `missing`."""
    for name in shop.outputs:
        if name not in golden:
            missing[name] = not_kept(golden, name)
        elif name not in got:
            missing[name] = _not_returned(shop, name)
        else:
            tally.compare(golden[name], got[name], number)


def _not_returned(shop: Workshop, name: str) -> str:
    shipped = shop.plan.target.model
    theirs = [] if shipped is None else [port.name for port in shipped.outputs]
    if shipped is None or shop.plan.target.name(name) in theirs:
        return "the runtime did not return it"
    known = ", ".join(one_line(each, 60) for each in theirs)
    return f"the deployed file has no output of this name, only {known}: say --map {one_line(name, 60)}=THEIRS"


def not_kept(golden: GoldenSample, name: str) -> str:
    """Why a tensor that the golden has not was not compared."""
    return f"the golden keeps none: {golden.left_out.get(name, 'PyTorch did not compute it')}"


def _fingerprint(array: np.ndarray) -> tuple[object, ...]:
    """Equal for equal bits; a digest, since outputs may be too large to keep twice."""
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return array.shape, array.dtype, hashlib.blake2b(content).digest()
