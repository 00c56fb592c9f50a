"""The course of a matrix: read and check, every noise alone, then the worst of them together, then the figures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from sysnoise_conform import __version__, registry
from sysnoise_conform.card import Card, Weights, find_card, load_card
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.matrix.asking import Asker
from sysnoise_conform.matrix.borrowed import failure, opened
from sysnoise_conform.matrix.calibrated import Calibrator, Held
from sysnoise_conform.matrix.cells import Asked, Cell, asked, counts, in_order, total
from sysnoise_conform.matrix.engine import Passes, Progress, Shared
from sysnoise_conform.matrix.facts import AxisFacts, CellFacts, Flip, Levels, Matrix, Order, Share, Status, Step
from sysnoise_conform.matrix.graphs import Graphs
from sysnoise_conform.matrix.journal import Journal
from sysnoise_conform.matrix.judged import (
    MOST_FLIPS,
    Judge,
    adjusted,
    by_axis,
    label,
    shapley,
    subsets,
    worst_levels,
)
from sysnoise_conform.matrix.seats import Seats
from sysnoise_conform.matrix.singles import Singles, singles, touches_graphs
from sysnoise_conform.matrix.subject import TOLD, MatrixCase, Subject, of_pictures, of_texts_or_sounds
from sysnoise_conform.noise import AXES, precision
from sysnoise_conform.noise.geometry import POLICY
from sysnoise_conform.pictures import elsewhere
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.libraries import Libraries
from sysnoise_conform.runner.opening import told
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.variant import Variant

MOST_ORDER_FREE = 6  # axes of which every subset is run


def run_matrix(case: MatrixCase, out: Path, *, crew: Crew, progress: Progress) -> Matrix:
    """Measure everything; `out` holds the journal and logs. Raises what `conform run` raises for what is wrong."""
    began = perf_counter()
    for variant in (case.baseline, *case.variants):
        registry.check(variant)
    card = load_card(case.card) if case.card is not None else find_card(case.model)
    if card is None:
        raise UsageError(
            "noises need a model card that says what the model reads, and what its outputs mean",
            hint=f"write {one_line(case.model.stem)}.toml beside the model, or give --card",
        )
    task = case.task or card.task or ""
    model = open_model(case.model, shapes=dict(card.shapes), allow_linked_data=case.allow_linked_data)
    base = Cell(levels=(), variant=case.baseline)
    with ExitStack() as stack:
        stack.enter_context(told("what was measured is in the journal: --resume goes on behind it"))
        if task in TOLD:
            subject = of_texts_or_sounds(case, card, model, task)
        else:
            subject = of_pictures(case, card, model, task, out, stack)
        wanted = asked(case.noise, task=subject.fits)
        items = range(len(subject.names))
        held = subject.held() if _integers(case, wanted) else Held()
        identity = _identity(case, model, subject, card, task, held)
        journal = stack.enter_context(Journal(out, identity, resume=case.resume))
        seats = stack.enter_context(Seats(crew, out / "logs", case.limits.threads))
        libraries = stack.enter_context(Libraries(crew, out / "logs", seats.lanes))
        stack.enter_context(elsewhere.serving(libraries))
        asker = stack.enter_context(Asker(model, crew, out / "logs", case.limits.threads))
        pytorch = stack.enter_context(PyTorch(crew, out / "logs"))
        calibrator = Calibrator(held=held, pytorch=pytorch, threads=case.limits.threads)
        graphs = Graphs(model, subject.ports, asker, calibrator)
        engine = subject.engine(Shared(graphs=graphs, seats=seats, crew=crew, on_bad=case.on_bad))
        judge = Judge(journal, subject.figured, base, case.margin, case.seed)
        feed = subject.first(engine) if touches_graphs(wanted) else None
        made = singles(case.variants, wanted, subject.spec, base, graphs, feed)
        known = made.known
        known.update(opened([each for each in made.cells if each not in known], libraries, journal))
        to_run = [base, Cell(levels=(), variant=case.baseline, again=True)]
        to_run += [each for each in made.cells if each not in known and each != base]
        resumed = engine.run(to_run, journal, base, progress)
        if journal.results(base.key, items) == [None] * len(items):
            _nothing(engine, base, journal, subject.noun)
        facts = [_facts(each, judge, engine, made, items, subject.noun) for each in [to_run[1], *made.cells]]
        cells = adjusted(facts)
        flips: list[Flip] = []
        for cell in made.cells:
            if cell not in known:
                flips += judge.flips(cell, items, subject.names, MOST_FLIPS)
        passes: list[Sequence[Cell]] = [to_run]
        steps, shares = _together(case, engine, journal, judge, made.cells, known, passes, progress)
        steps = (*steps, *_in_given_order(case, engine, journal, judge, made.cells, known, passes, progress))
        return Matrix(
            model=str(case.model), task=task, metric=subject.figured.metric, layout=subject.layout, noun=subject.noun,
            pictures=len(items), baseline_backend=str(case.baseline), baseline=judge.baseline(items),
            margin=case.margin, seed=case.seed, cells=cells, axes=by_axis(cells), steps=steps, shares=shares,
            plan=total([counts(each, subject.spec, len(items), runs=subject.runs) for each in passes]),
            problems=(*subject.problems, *journal.troubles()), flips=tuple(flips), runtimes=journal.runtimes(),
            environment=provenance.environment(case.limits.threads), seconds=perf_counter() - began, resumed=resumed,
            gallery=subject.gallery,
        )  # fmt: skip


def _integers(case: MatrixCase, wanted: Sequence[Asked]) -> bool:
    """Whether a graph has to be calibrated."""
    named = any(each.axis == precision.AXIS.name and set(each.levels) & set(precision.PRESETS) for each in wanted)
    return named or any(each.precision == "int8" for each in (case.baseline, *case.variants))


def _identity(case: MatrixCase, model: Model, subject: Subject, card: Card, task: str, held: Held) -> str:
    """Of all that determines a result, but for the cells, which have names of their own."""
    digest = hashlib.sha256()
    about = replace(card, name="", path=None, weights=Weights())
    for each in (__version__, model.sha256, repr(about), task, str(case.baseline), repr(provenance.versions())):
        digest.update(f"{each}\0".encode())
    for line in (*subject.identity, *(f"calibrated on {each}" for each in held.identity)):
        digest.update(f"{line}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _facts(cell: Cell, judge: Judge, engine: Passes, made: Singles, pictures: Sequence[int], noun: str) -> CellFacts:
    axis, level = label(cell)
    backend = str(cell.variant)
    if cell in made.known:
        status, why = made.known[cell]
        return CellFacts(axis=axis, level=level, backend=backend, status=status, reason=why)
    failed = failure(engine, cell)
    if failed is not None:
        return CellFacts(axis=axis, level=level, backend=backend, status=failed.status, reason=failed.why)
    found = judge.figures(cell, pictures)
    if found is None:
        why = "it has no answer for any picture"
        return CellFacts(axis=axis, level=level, backend=backend, status="unsupported", reason=why)
    figures, left_out = found
    why = "" if cell.again or not cell.levels else _without_effect(cell, judge, pictures, noun)
    if why:
        return CellFacts(axis=axis, level=level, backend=backend, status="noop", reason=why)
    return CellFacts(
        axis=axis, level=level, backend=backend, status="measured", figures=figures, left_out=left_out,
        reason="; ".join(filter(None, (engine.computed_in(cell), made.notes.get(cell, "")))),
    )  # fmt: skip


def _without_effect(cell: Cell, judge: Judge, pictures: Sequence[int], noun: str) -> str:
    """Why a cell is the backend's own way again; "" where it is not."""
    stage = AXES[cell.levels[0][0]].stage
    if stage == "graph" or not judge.journal.all_same(cell.key):
        return ""
    if stage not in ("output", "audio"):
        return "it changes no value of any of these pictures"
    own = Cell(levels=(), variant=cell.variant)
    return f"it changes no answer for these {noun}s" if judge.unchanged(cell, own, pictures) else ""


def _together(
    case: MatrixCase, engine: Passes, journal: Journal, judge: Judge, singles: Sequence[Cell],
    known: dict[Cell, tuple[Status, str]], passes: list[Sequence[Cell]], progress: Progress,
) -> tuple[tuple[Step, ...], tuple[Share, ...]]:  # fmt: skip
    """The worst level of each axis, chosen on every second picture, put together and judged on the others."""
    pictures = range(len(engine.names))
    chosen_on, judged_on = pictures[0::2], pictures[1::2]
    if not case.combine or len(judged_on) < 1:
        return (), ()
    steps: list[Step] = []
    shares: list[Share] = []

    def run(cells: Sequence[Cell]) -> None:
        new = [each for each in dict.fromkeys(cells) if not any(each in former for former in passes)]
        passes.append(new)
        engine.run(new, journal, None, progress)

    for variant in case.variants:
        # What becomes of a picture's ratio moves all that is in it: no drop of another noise is told on top of that.
        alone = [
            each for each in singles
            if each.variant == variant and len(each.levels) == 1 and each not in known and failure(engine, each) is None
            and each.levels[0][0] != POLICY.name
        ]  # fmt: skip
        worst = worst_levels([(each, judge.delta(each, chosen_on)) for each in alone])
        levels = in_order({axis: level for axis, (level, _) in worst.items()})
        if not levels:
            continue
        cells = [Cell(levels=levels[: count + 1], variant=variant) for count in range(len(levels))]
        without = [Cell(levels=tuple(e for e in levels if e != each), variant=variant) for each in levels]
        strongest = sorted(levels, key=lambda each: -worst[each[0]][1])[:MOST_ORDER_FREE]
        few = tuple(each for each in levels if each in strongest)
        every = [Cell(levels=each, variant=variant) for each in subsets(few)] if "shapley" in case.combine else []
        run([*cells, *(without if "swap" in case.combine else []), *every])
        if "pipeline" in case.combine:
            steps += [_step(judge, cell, judged_on, "pipeline", cell.levels[-1]) for cell in cells]
        if "greedy" in case.combine:
            steps += _greedy(judge, variant, levels, run, chosen_on, judged_on)
        whole = judge.delta(cells[-1], judged_on)
        recovered = {each: whole - judge.delta(cell, judged_on) for each, cell in zip(levels, without, strict=True)}
        fair = shapley(few, {each.levels: judge.delta(each, judged_on) for each in every}) if every else {}
        shares += [
            Share(backend=str(variant), axis=each[0], level=each[1],
                  recovered=recovered[each] if "swap" in case.combine else None, shapley=fair.get(each[0]))
            for each in levels
        ]  # fmt: skip
    return tuple(steps), tuple(shares)


def _in_given_order(
    case: MatrixCase, engine: Passes, journal: Journal, judge: Judge, singles: Sequence[Cell],
    known: dict[Cell, tuple[Status, str]], passes: list[Sequence[Cell]], progress: Progress,
) -> Iterator[Step]:  # fmt: skip
    """Noises put on in the order of `case.order`, whatever they cost; what can't be had or is without effect is not."""
    pictures = range(len(engine.names))
    for variant in case.variants:
        alone = [
            each for each in singles
            if each.variant == variant and len(each.levels) == 1 and each not in known and failure(engine, each) is None
        ]  # fmt: skip
        taken: dict[str, str] = {}
        cells: list[tuple[Cell, tuple[str, str]]] = []
        for word in case.order:
            axis, _, level = word.partition("=")
            tries = [each for each in alone if each.levels[0][0] == axis and level in ("", each.levels[0][1])]
            if tries:
                worst = max(tries, key=lambda each: judge.delta(each, pictures[0::2]))
                taken[axis] = worst.levels[0][1]
                cells.append((Cell(levels=in_order(taken), variant=variant), worst.levels[0]))
        passes.append([cell for cell, _ in cells])
        engine.run(passes[-1], journal, None, progress)
        yield from (_step(judge, cell, pictures[1::2], "given", added) for cell, added in cells)


def _greedy(
    judge: Judge, variant: Variant, levels: Levels, run: object, chosen_on: Sequence[int], judged_on: Sequence[int]
) -> list[Step]:
    """At each step the noise that adds most, chosen on one half, told on the other."""
    assert callable(run)
    taken: dict[str, str] = {}
    steps = []
    left = dict(levels)
    while left:
        tries = {axis: Cell(levels=in_order({**taken, axis: level}), variant=variant) for axis, level in left.items()}
        run(list(tries.values()))
        drops = {axis: judge.delta(cell, chosen_on) for axis, cell in tries.items()}
        best = max(drops, key=lambda axis: drops[axis])
        taken[best] = left.pop(best)
        steps.append(_step(judge, tries[best], judged_on, "greedy", (best, taken[best])))
    return steps


def _step(judge: Judge, cell: Cell, half: Sequence[int], order: Order, added: tuple[str, str]) -> Step:
    found = judge.figures(cell, half)
    figures = None if found is None else found[0]
    return Step(
        backend=str(cell.variant), order=order, added=added[0], level=added[1],
        value=float("nan") if figures is None else figures.value,
        delta=float("nan") if figures is None else figures.delta,
        interval=(float("nan"), float("nan")) if figures is None else figures.interval,
    )  # fmt: skip


def _nothing(engine: Passes, base: Cell, journal: Journal, noun: str) -> None:
    """Nothing can be compared without the baseline. Raises UsageError, BadInput where no item can be read."""
    failed = engine.failure(base)
    if failed is None and (troubles := journal.troubles()):
        first = troubles[0]
        raise BadInput(
            f"no {noun} of {len(troubles):,} is left that can be judged; the first, {first.name!r}: {first.why}"
        )
    why = f"it has no answer for any {noun}" if failed is None else failed.why
    raise UsageError(f"the baseline {base.variant} failed: {why}", hint="choose another with --baseline")


__all__ = ["AxisFacts", "MatrixCase", "run_matrix"]
