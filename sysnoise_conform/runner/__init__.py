"""Carries a case out and writes the facts: header, one result per variant, footer.

The parent of everything: it never loads a runtime, nor torch. An interrupt ends all children and
leaves a report without a footer, which is never green.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sysnoise_conform.card import Card, find_card, load_card
from sysnoise_conform.case import Case
from sysnoise_conform.errors import BackendError, Interrupted, StorageError
from sysnoise_conform.graph.constants import parse_constant
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.outcome import Measured, Result, RuntimeFacts, Seconds
from sysnoise_conform.process.child import Child
from sysnoise_conform.report import ReportWriter, elem_type_name
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.cell import refusal, run_cell
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.passes import Watch, Workshop
from sysnoise_conform.runner.plan import Plan, check_variants, make_plan
from sysnoise_conform.store import Store
from sysnoise_conform.tasks import task_meter

MODULE = "module"  # the variant name under which the original nn.Module stands in a report


def run(case: Case, out: Path, *, command: str, watch: Watch) -> None:
    """Measure every variant of `case` and write `out`/report.jsonl.

    Raises UsageError, BadModel, BadInput, UnsupportedOperator for what was asked wrongly or what the
    golden refuses too, StorageError for `out` or the store; what a runtime does is an outcome.
    """
    started = datetime.now(UTC)
    clock = perf_counter()
    check_variants(case)
    card = load_card(case.card) if case.card is not None else find_card(case.model)
    model = open_model(case.model, bind=_bindings(case, card), allow_linked_data=case.allow_linked_data)
    samples = load_samples(
        model, inputs=case.inputs, card=card, samples=case.samples, seed=case.seed, shapes=case.shapes
    )
    plan = make_plan(case, model, samples.feed(0))
    with ExitStack() as stack:
        writer = stack.enter_context(ReportWriter(out))
        crew = Crew(case.limits)
        stack.enter_context(_interruptible(crew))
        store = stack.enter_context(Store.open(enabled=case.cache))
        logs = out / "logs"

        def golden_child() -> Child:
            return stack.enter_context(crew.member("golden", logs / "golden.txt", memory=False))

        goldens = Goldens(model, samples, store, golden_child, threads=case.limits.threads)
        stack.callback(goldens.stop)
        shop = Workshop(
            model=model, samples=samples, goldens=goldens, plan=plan, crew=crew, logs=logs,
            threads=case.limits.threads, meter=lambda: task_meter(card), watch=watch,
        )
        writer.header(_header(case, model, samples, plan, card, command, started))
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
    """Results in the order in which the variants were given, the original module first."""
    if case.torch_module is not None:
        yield _module(case, shop)
    workers = max(1, provenance.usable_cores())
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="cell")
    try:
        jobs = [
            (cell, None if cell.known is not None else pool.submit(run_cell, shop, cell.variant, cell.place))
            for cell in shop.plan.cells
        ]
        for done in as_completed([job for _, job in jobs if job is not None]):
            done.result()  # a user's mistake found by one cell ends the run now, not after the slowest
        for cell, job in jobs:
            if job is not None:
                yield job.result()
            elif cell.known is not None:
                yield Result(variant=str(cell.variant), outcome=cell.known)
    except BaseException:
        shop.crew.dismiss()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _module(case: Case, shop: Workshop) -> Result:
    """The original nn.Module in float32 beside the golden of its export: export mistakes show here first."""
    clock = perf_counter()
    tally, missing, log = shop.tally(), set[str](), "logs/module.txt"
    facts = RuntimeFacts(
        name="torch", version=provenance.versions().get("torch", ""), device="cpu", effective_precision="fp32",
        options={"module": case.torch_module or ""},
    )
    try:
        with shop.crew.member(MODULE, shop.logs / "module.txt", memory=False) as child:
            for number in range(len(shop.samples)):
                reply = child.call(
                    "module",
                    {
                        "factory": case.torch_module,
                        "weights": str(case.weights.resolve()) if case.weights else None,
                        "path": str(Path.cwd()),
                        "outputs": list(shop.outputs),
                        "threads": case.limits.threads,
                    },
                    shop.samples.feed(number),
                    stage="module",
                )
                golden = shop.goldens.sample(number)
                for name in shop.outputs:
                    if name in reply.tensors and name in golden:
                        tally.compare(golden[name], reply.tensors[name], number)
                    else:
                        missing.add(name)
    except BackendError as err:
        return Result(variant=MODULE, outcome=refusal(err, facts), log=log)
    return Result(
        variant=MODULE,
        outcome=Measured(
            runtime=facts,
            outputs=tally.in_order(shop.outputs),
            missing_outputs=tuple(sorted(missing)),
            seconds=Seconds(total=perf_counter() - clock),
        ),
        log=log,
    )


def _header(
    case: Case, model: Model, samples: Samples, plan: Plan, card: Card | None, command: str, started: datetime
) -> dict[str, Any]:
    return {
        "command": command,
        "started": started.isoformat(timespec="seconds"),
        "model": {
            "path": str(case.model),
            "sha256": model.sha256,
            "opset": model.opset,
            "nodes": model.node_count,
            "graph": "bound" if model.bound else "as given",
            "bound": list(model.bound),
            "inner_tensors": model.inner_tensors,
        },
        "deployed": None if case.deployed is None else _deployed(case, plan),
        "layers": [
            {
                "index": each.index, "node": each.node, "op_type": each.op_type, "domain": each.domain,
                "tensor": each.tensor, "dtype": elem_type_name(each.elem_type),
            }
            for each in model.layers
        ],
        "outputs": [port.name for port in model.outputs],
        "inputs": {
            "kind": samples.kind,
            "samples": len(samples),
            "sha256": samples.sha256,
            "seed": case.seed,
            "names": list(samples.names),
            "notes": list(samples.notes),
        },
        "card": None if card is None else card.name,
        "environment": provenance.environment(case.limits.threads),
        "variants": ([MODULE] if case.torch_module else []) + [str(each) for each in case.variants],
    }


def _deployed(case: Case, plan: Plan) -> dict[str, Any]:
    assert case.deployed is not None
    return {
        "path": str(case.deployed.path),
        "format": plan.target.format,
        "sha256": plan.target.sha256(),
        "names": dict(case.deployed.names),
        "layouts": dict(case.deployed.layouts),
    }


@contextmanager
def _interruptible(crew: Crew) -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, and either ends all children at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        crew.dismiss()
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
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
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
