"""The course of a run: read and check, start the cells, write what they find as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from sysnoise_conform.case import Case
from sysnoise_conform.outcome import Result
from sysnoise_conform.precision.recipe import recipe_of
from sysnoise_conform.report import ReportWriter
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.cell import run_cell
from sysnoise_conform.runner.converted import conversions, described, workshop
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.header import header_of
from sysnoise_conform.runner.opening import open_case, told
from sysnoise_conform.runner.original import run_module
from sysnoise_conform.runner.plan import Cell
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.runner.workshop import Remark, Watch, Workshop
from sysnoise_conform.store import Store
from sysnoise_conform.tasks import task_meter
from sysnoise_conform.variant import Variant

# How long the first child may take to get its work before the rest goes on without waiting for that.
FIRST_WORK_S = 1.0


def carry_out(
    case: Case, out: Path, *, command: str, watch: Watch, crew: Crew, idle: Callable[[], None] | None, remark: Remark
) -> None:
    """What `runner.run` says."""
    started = datetime.now(UTC)
    clock = perf_counter()
    opened = open_case(case)
    card, model, samples, plan = opened.card, opened.model, opened.samples, opened.plan
    with ExitStack() as stack:
        writer = stack.enter_context(ReportWriter(out))
        stack.enter_context(told())
        store = stack.enter_context(Store.open(enabled=case.cache))
        logs = out / "logs"
        pytorch = stack.enter_context(PyTorch(crew, logs))
        made = stack.enter_context(conversions(case, opened, pytorch)).made
        goldens = stack.enter_context(
            Goldens(model, samples, store, crew, logs, threads=case.limits.threads, pytorch=pytorch)
        )
        shop = Workshop(
            model=model, samples=samples, goldens=goldens, plan=plan, crew=crew, logs=logs,
            threads=case.limits.threads, meter=lambda: task_meter(card), watch=watch,
            asked=threading.Event(), compiled=threading.Event(), remark=remark,
        )
        shops = {recipe: workshop(shop, each, store, pytorch, stack) for recipe, each in made.items()}

        def shop_of(variant: Variant) -> Workshop:
            recipe = recipe_of(variant, case.keep_fp32)
            return shop if recipe is None else shops.get(recipe, shop)

        with _cells(shop, shop_of) as results:
            shop.asked.wait(timeout=FIRST_WORK_S)  # until then every other thread would only be in the way
            for each in (shop, *shops.values()):
                each.goldens.begin()
            header = header_of(case, model, samples, plan, card=card, command=command, started=started)
            writer.header({**header, "conversions": described(made, case, opened)})
            if idle is not None:
                shop.compiled.wait(timeout=FIRST_WORK_S)
                idle()
            if case.torch_module is not None:
                writer.result(run_module(case, shop))
            for result in results:
                writer.result(result)
        for each in (shop, *shops.values()):
            each.goldens.finish()
        writer.footer({"golden": goldens.facts(), "seconds": round(perf_counter() - clock, 3)})


@contextmanager
def _cells(shop: Workshop, shop_of: Callable[[Variant], Workshop]) -> Iterator[Iterator[Result]]:
    """Start all cells; their results as they come, so that what an interrupt finds measured is in the report."""
    workers = max(1, provenance.usable_cores())
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="cell")
    try:
        jobs = [pool.submit(_cell, shop_of(cell.variant), cell) for cell in shop.plan.cells]
        # A user's mistake that one cell finds ends the run now, not after the slowest.
        yield (done.result() for done in as_completed(jobs))
    except BaseException:
        shop.crew.dismiss()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _cell(shop: Workshop, cell: Cell) -> Result:
    try:
        if cell.known is not None:
            return Result(variant=str(cell.variant), outcome=cell.known)
        return run_cell(shop, cell.variant, cell.place)
    finally:
        shop.asked.set()
        shop.compiled.set()
