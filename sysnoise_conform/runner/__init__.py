"""Carries a case out and writes the facts: header, one result per variant, footer.

The parent of everything: it never loads a runtime, nor torch. An interrupt ends all children and
leaves a report without a footer, which is never green.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from sysnoise_conform import interruption
from sysnoise_conform.card import Card, find_card, load_card
from sysnoise_conform.case import Case
from sysnoise_conform.errors import Interrupted, StorageError
from sysnoise_conform.graph.constants import parse_constant
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.outcome import Result
from sysnoise_conform.process.child import Child
from sysnoise_conform.report import ReportWriter
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.cell import run_cell
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.header import header_of
from sysnoise_conform.runner.original import run_module
from sysnoise_conform.runner.plan import check_variants, make_plan
from sysnoise_conform.runner.workshop import Watch, Workshop
from sysnoise_conform.store import Store
from sysnoise_conform.tasks import task_meter


def run(case: Case, out: Path, *, command: str, watch: Watch, crew: Crew | None = None) -> None:
    """Measure every variant of `case` and write `out`/report.jsonl.

    A `crew` of the caller's own may keep its children alive between runs.

    Raises UsageError, BadModel, BadInput, UnsupportedOperator for what was asked wrongly or what the
    golden refuses too, StorageError for `out` or the store; what a runtime does is an outcome.
    """
    started = datetime.now(UTC)
    clock = perf_counter()
    check_variants(case)
    card = load_card(case.card) if case.card is not None else find_card(case.model)
    model = open_model(
        case.model,
        bind=_bindings(case, card),
        shapes={**({} if card is None else card.shapes), **case.shapes},
        allow_linked_data=case.allow_linked_data,
    )
    samples = load_samples(
        model, inputs=case.inputs, card=card, samples=case.samples, seed=case.seed, shapes=case.shapes
    )
    plan = make_plan(case, model, samples.feed(0))
    with ExitStack() as stack:
        writer = stack.enter_context(ReportWriter(out))
        crew = Crew(case.limits) if crew is None else crew
        stack.enter_context(_interruptible(crew))
        store = stack.enter_context(Store.open(enabled=case.cache))
        logs = out / "logs"

        def golden_child() -> Child:
            return stack.enter_context(crew.member("golden", logs / "golden.txt", golden=True))

        goldens = Goldens(model, samples, store, golden_child, threads=case.limits.threads)
        stack.callback(goldens.stop)
        shop = Workshop(
            model=model, samples=samples, goldens=goldens, plan=plan, crew=crew, logs=logs,
            threads=case.limits.threads, meter=lambda: task_meter(card), watch=watch,
        )
        writer.header(header_of(case, model, samples, plan, card=card, command=command, started=started))
        goldens.begin()
        for result in _results(case, shop):
            writer.result(result)
        # What the golden refuses is bad input even where every runtime had fallen before it was asked.
        for number in range(len(samples)):
            goldens.sample(number)
        writer.footer({"golden": goldens.facts(), "seconds": round(perf_counter() - clock, 3)})


def _bindings(case: Case, card: Card | None) -> dict[str, np.ndarray]:
    """The card's constants, and those of the command line, which win."""
    given = {name: parse_constant(name, text) for name, text in case.bind.items()}
    return {**({} if card is None else {name: np.asarray(value) for name, value in card.bind.items()}), **given}


def _results(case: Case, shop: Workshop) -> Iterator[Result]:
    """Results as they come, the original module first: what an interrupt finds measured is in the report."""
    if case.torch_module is not None:
        yield run_module(case, shop)
    workers = max(1, provenance.usable_cores())
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="cell")
    try:
        jobs = [
            (cell, None if cell.known is not None else pool.submit(run_cell, shop, cell.variant, cell.place))
            for cell in shop.plan.cells
        ]
        for cell, job in jobs:
            if job is None and cell.known is not None:
                yield Result(variant=str(cell.variant), outcome=cell.known)
        for done in as_completed([job for _, job in jobs if job is not None]):
            yield done.result()  # a user's mistake found by one cell ends the run now, not after the slowest
    except BaseException:
        shop.crew.dismiss()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interruptible(crew: Crew) -> Iterator[None]:
    """An interrupt ends all children at once; a disk that is full or refuses is told as one."""
    try:
        with interruption.at_once(crew.dismiss):
            yield
    except KeyboardInterrupt as err:
        raise Interrupted(
            "interrupted; what was measured is in the report, which has no footer and proves nothing"
        ) from err
    except OSError as err:
        raise StorageError(
            f"{err.strerror}: {err.filename}" if err.filename else str(err),
            hint="free some space, or choose another --out, CONFORM_CACHE or TMPDIR",
        ) from err
