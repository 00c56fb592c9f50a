"""The corpus and the relations on one target: everything that can be asked of a runtime without a model of the user's.

Two children work side by side, since a target with a converter spends its time in programs of one thread.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sysnoise_conform import interruption, registry
from sysnoise_conform.backend import Runtime
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable
from sysnoise_conform.errors import Unsupported as Refused
from sysnoise_conform.printable import one_line
from sysnoise_conform.probe import relations
from sysnoise_conform.probe.bench import Bench
from sysnoise_conform.probe.case import ProbeCase, Refusal
from sysnoise_conform.probe.contrast import contrast
from sysnoise_conform.probe.relations import Net, Relation
from sysnoise_conform.probe.result import Agrees, Crashed, Result, Unsupported
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.variant import Variant

Watch = Callable[[str, str, int, int], None]

# For one step of one tiny model; a converter on a busy machine needs some seconds.
STEP_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """One case and what came of it."""

    case: ProbeCase
    result: Result


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """Everything about one target."""

    runtime: Runtime
    rows: tuple[Row, ...]
    relations: tuple[Relation, ...]


def measure(
    variant: Variant, cases: Sequence[ProbeCase], *, with_relations: bool, watch: Watch, threads: int = 0
) -> Measured:
    """Run the cases on `variant`, and the relations that need no truth.

    Raises UsageError for a variant that its backend can't be asked for, BackendUnavailable where it is not here or
    nothing could be compiled for want of something, BackendDied where its probe does not survive.
    """
    registry.check(variant)
    options = registry.load(variant.backend).capabilities.options
    nets = relations.nets() if with_relations else ()
    total = len(cases) + len(nets) * relations.count(options, variant)
    done, lock = 0, threading.Lock()

    def tell(what: str, more: int) -> None:
        nonlocal done
        with lock:
            done += more
            watch(str(variant), what, done, total)

    with _benches(variant, Limits(timeout_s=STEP_SECONDS, threads=threads)) as take:
        with take() as bench:
            runtime = bench.runtime()

        def one(case: ProbeCase) -> tuple[Row, BackendUnavailable | None]:
            with take() as bench:
                result, lacking = _case(bench, case)
            tell(case.op_type, 1)
            return Row(case=case, result=result), lacking

        def relate(net: Net) -> tuple[Relation, ...]:
            with take() as bench:
                found = relations.relate(bench, net, options, variant, failed)
            tell(net.name, len(found))
            return found

        with ThreadPoolExecutor(max_workers=_workers(), thread_name_prefix="probe") as pool:
            try:
                found = list(pool.map(one, cases))
                related = [each for group in pool.map(relate, nets) for each in group]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    lacking = [each for _, each in found if each is not None]
    if found and len(lacking) == len(found):
        raise lacking[0]
    return Measured(runtime=runtime, rows=tuple(row for row, _ in found), relations=tuple(related))


def _workers() -> int:
    return min(2, provenance.usable_cores())


@contextmanager
def _benches(variant: Variant, limits: Limits) -> Iterator[Callable[[], AbstractContextManager[Bench]]]:
    """Benches to be taken one at a time; they end with the block, and at once when we are interrupted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conform-probe-")))
        crew = stack.enter_context(Crew(limits))
        stack.enter_context(interruption.at_once(crew.dismiss))
        free: SimpleQueue[Bench] = SimpleQueue()
        for number in range(_workers()):
            (folder / str(number)).mkdir()
            free.put(stack.enter_context(Bench(crew, variant, folder / str(number))))

        @contextmanager
        def take() -> Iterator[Bench]:
            bench = free.get()
            try:
                yield bench
            finally:
                free.put(bench)

        yield take


def _case(bench: Bench, case: ProbeCase) -> tuple[Result, BackendUnavailable | None]:
    """What came of one case; beside it the error that says that something is not installed."""
    try:
        bench.compile(case.model(), case.feeds)
        first = bench.run(case.feeds)
        second = bench.run(case.feeds) if case.steady else None
    except BackendUnavailable as err:  # a converter may lack a package for some operators only
        return Unsupported(stage="compile", why=one_line(err, 300)), err
    except BackendError as err:
        if isinstance(err, Refused) and isinstance(case.truth, Refusal):
            return Agrees(), None
        return failed(err), None
    return contrast(case, first, second), None


def failed(err: BackendError) -> Unsupported | Crashed:
    """The result that a backend's error stands for."""
    match err:
        case BackendDied():
            return Crashed(stage=err.stage, cause=err.cause, why=one_line(err.message, 300))
        case Refused():
            return Unsupported(stage=err.stage, why=one_line(err.message, 300))
        case _:
            return Unsupported(stage="compile", why=one_line(err, 300))
