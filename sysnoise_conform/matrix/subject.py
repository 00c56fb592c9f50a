"""What a matrix is about: a model, the items that it is judged on, and how they are fed: pictures, texts or sounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.case import Limits
from sysnoise_conform.datasets import OnBad, Problem, read_data
from sysnoise_conform.errors import UsageError
from sysnoise_conform.files import content
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.inputs.images import fixed_size, image_port
from sysnoise_conform.matrix import batches, calibrated
from sysnoise_conform.matrix.borrowed import Borrowing
from sysnoise_conform.matrix.calibrated import Held, apart
from sysnoise_conform.matrix.cells import Cell
from sysnoise_conform.matrix.engine import Passes, Shared
from sysnoise_conform.matrix.evaluations import evaluation_of
from sysnoise_conform.matrix.facts import Feed
from sysnoise_conform.matrix.feeding import Feeding
from sysnoise_conform.matrix.gallery import Gallery, gallery_of
from sysnoise_conform.matrix.hook import Hook, Hooked
from sysnoise_conform.matrix.singles import first_tensor
from sysnoise_conform.matrix.told import Given, calibrating, spread, telling
from sysnoise_conform.printable import one_line
from sysnoise_conform.tasks.evaluation import Figured
from sysnoise_conform.variant import Variant

PICTURES = ("classify", "detect", "segment", "agree")
TOLD = ("choose", "speak")


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixCase:
    """One `conform noise`."""

    model: Path
    data: Path
    variants: tuple[Variant, ...]
    baseline: Variant
    noise: str = "default"
    card: Path | None = None
    labels: Path | None = None
    calibration: Path | None = None  # data that int8 has its ranges from; else what samples leaves over
    task: str | None = None  # the card's
    samples: int | None = None
    combine: frozenset[str] = field(default_factory=lambda: frozenset({"pipeline", "swap"}))
    margin: float = 0.01
    seed: int = 0
    on_bad: OnBad = "fail"
    batch: int = 1  # tensors in one run of a graph
    gallery: int = 0  # pictures whose answer changed that the page shows
    limits: Limits = field(default_factory=Limits)
    resume: bool = False
    order: tuple[str, ...] = ()  # axes, or axis=level: put on one after another in this order, each at its worst
    allow_linked_data: bool = False
    allow_hooks: bool = False  # of a card that was found beside the model, not given


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Items and their task. `fits` is the task that noises must fit, `spec` None where items are no pictures.

    `identity` is of all that determines a result besides the model, its card and versions; `runs` are those of one
    cell over all items; `first` is a feed of the engine's, `held` what integer graphs are calibrated on.
    """

    figured: Figured
    fits: str
    names: tuple[str, ...]
    layout: str
    noun: str
    ports: tuple[Port, ...]
    problems: tuple[Problem, ...]
    identity: tuple[str, ...]
    runs: int
    engine: Callable[[Shared], Passes]
    first: Callable[[Passes], Feed | None]
    held: Callable[[], Held]
    spec: ImageInput | None = None
    gallery: Gallery | None = None


def of_pictures(case: MatrixCase, card: Card, model: Model, task: str, out: Path, stack: ExitStack) -> Subject:
    """Pictures, prepared as the card says; a hook of the card's is started on `stack`. Raises UsageError, BadInput."""
    if card.image is None:
        raise UsageError(
            "noises need a model card that says how pictures become tensors, and this one has no [image] table",
            hint=f"add it to {one_line(case.model.stem)}.toml, or give --card; texts and sounds: --task choose, speak",
        )
    if card.hook and case.card is None and not case.allow_hooks:
        raise UsageError(
            f"the card beside the model would run the hook {one_line(card.decoder, 120)!r}, which is code",
            hint="if you trust it, give the card with --card, or --allow-hooks",
        )
    if task not in PICTURES:
        raise UsageError(
            f"noises are measured for {', '.join(PICTURES)}, {' and '.join(TOLD)}, and the card's task is"
            f" {task or 'none'}",
            hint="give --task agree for pictures without labels",
        )
    whole = read_data(case.data, task, labels=case.labels, on_bad=case.on_bad, allow_linked=case.allow_linked_data)
    chosen = tuple(whole.pictures[at] for at in spread(len(whole.pictures), case.samples, "pictures"))
    data = replace(whole, pictures=chosen)
    spec, port = card.image, image_port(model, card.image)
    batches.check(case.batch, port)
    fixed = fixed_size(port, spec)
    hook = None
    if card.hook:
        folder = (card.path or case.model).resolve().parent
        hook = stack.enter_context(
            Hook(replace(card, task=card.task if task == "agree" else task), folder, out / "logs" / "hook.txt",
                 timeout_s=case.limits.timeout_s)
        )  # fmt: skip
    evaluation = evaluation_of(task, card if hook is None else hook.read_by(), data)
    evaluation = evaluation if hook is None else Hooked(evaluation, hook)
    names = tuple(each.name for each in data.pictures)

    def engine(shared: Shared) -> Borrowing:
        return Borrowing(
            names=names, graphs=shared.graphs, seats=shared.seats, crew=shared.crew, on_bad=shared.on_bad, port=port,
            fixed=fixed, spec=spec, data=data, evaluation=evaluation, batch=case.batch,
        )  # fmt: skip

    def first(_: Passes) -> Feed | None:
        tensor = first_tensor(Cell(levels=(), variant=case.baseline), spec, data, fixed, port)
        return None if tensor is None else {port.name: tensor}

    def held() -> Held:
        paths = apart(case.calibration, whole, data, allow_linked=case.allow_linked_data)
        return calibrated.of_pictures(paths, port, spec, fixed)

    return Subject(
        figured=evaluation, fits=(card.task or task) if task == "agree" else task, names=names, layout=data.layout,
        noun="picture", ports=(port,), problems=data.problems,
        identity=(
            "" if hook is None else hook.sha256,
            *(
                f"{each.name}\0{content(each.path)}\0{each.label}\0{each.id}\0{content(each.mask)}"
                for each in data.pictures
            ),
            repr(data.annotations),
            *([f"batch {case.batch}"] if case.batch > 1 else []),
        ),
        runs=len(names), engine=engine, first=first, spec=spec, held=held,
        gallery=gallery_of(data, spec, fixed, most=case.gallery),
    )  # fmt: skip


def of_texts_or_sounds(case: MatrixCase, card: Card, model: Model, task: str) -> Subject:
    """Questions or sounds, which the task itself makes feeds of. Raises UsageError, BadInput."""
    if case.labels is not None:
        raise UsageError("questions and recordings hold their own answers", hint="leave out --labels")
    if case.batch > 1:
        raise UsageError("only pictures are run in batches", hint="leave out --batch")
    if case.gallery:
        raise UsageError("only pictures can be shown in a gallery", hint="leave out --gallery")
    given = Given(
        place=case.data, samples=case.samples, on_bad=case.on_bad, allow_linked=case.allow_linked_data
    )  # fmt: skip
    found = telling(task, card, model, given)
    told = found.told
    cut = f", {told.cut} texts cut to what the model reads" if told.cut else ""

    def engine(shared: Shared) -> Feeding:
        return Feeding(
            names=told.names, graphs=shared.graphs, seats=shared.seats, crew=shared.crew, on_bad=shared.on_bad,
            told=told,
        )  # fmt: skip

    def held() -> Held:
        others = calibrating(task, card, model, replace(given, held=case.calibration))
        return Held() if others is None else calibrated.of_told(others.told, others.identity)

    return Subject(
        figured=told, fits=task, names=told.names, layout=found.layout + cut, noun=told.noun, ports=tuple(model.inputs),
        problems=told.problems, identity=found.identity, runs=told.runs, engine=engine,
        first=lambda engine: cast(Feeding, engine).first(), held=held,
    )  # fmt: skip
