"""One variant, measured: both passes side by side, put together as one outcome."""

from __future__ import annotations

import threading
from dataclasses import replace
from time import perf_counter

import numpy as np

from sysnoise_conform import outcome as facts
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, ConformError, Unsupported
from sysnoise_conform.outcome import Measured, Outcome, Result, RuntimeFacts, Seconds, TensorDiff, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.passes import Layers, Outputs, measure_layers, measure_outputs
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenTensor
from sysnoise_conform.variant import Variant


def run_cell(shop: Workshop, variant: Variant, place: str) -> Result:
    """The result of one variant, whose logs are called `place`.

    A runtime's refusal or death is an outcome; a mistake of the user's raises.
    """
    started = perf_counter()
    outputs, layers = Outputs(tally=shop.tally()), Layers()
    beside = _Beside(shop, variant, place, layers)
    beside.start()
    failure: BackendError | None = None
    try:
        measure_outputs(shop, variant, place, outputs)
    except BackendError as err:
        failure = err
    finally:
        # Without outputs no layer is of use: whoever still watches them is ended by the crew.
        beside.finish(wanted=failure is None)
    outcome: Outcome
    if failure is not None:
        outcome = refusal(failure, outputs.runtime)
    else:
        outcome = _measured(shop, outputs, layers, perf_counter() - started)
    shop.watch(str(variant), "done", len(shop.samples), len(shop.samples))
    return Result(variant=str(variant), outcome=outcome, log=f"logs/{place}.txt")


class _Beside(threading.Thread):
    """The pass over the layers, on a thread of its own."""

    def __init__(self, shop: Workshop, variant: Variant, place: str, found: Layers) -> None:
        super().__init__(name=f"{variant} layers", daemon=True)
        self._shop, self._variant, self._place, self._found = shop, variant, place, found
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            measure_layers(self._shop, self._variant, self._place, self._found)
        except BaseException as err:  # the caller's thread is the one that must hear of it
            self._raised = err

    def finish(self, *, wanted: bool) -> None:
        if not wanted:
            self._found.wanted = False
            self._shop.crew.end(f"{self._variant} layers")
        self.join()
        if wanted and isinstance(self._raised, ConformError):
            raise self._raised
        if wanted and self._raised is not None:
            raise RuntimeError("the pass over the layers failed") from self._raised


def refusal(err: BackendError, runtime: RuntimeFacts | None) -> Outcome:
    """The outcome that a backend's error stands for."""
    match err:
        case BackendUnavailable():
            return facts.Unavailable(why=one_line(err.message, 600), cure=err.hint)
        case Unsupported():
            return facts.Unsupported(
                stage=err.stage, why=one_line(str(err), 600), node=err.node, op=err.op, runtime=runtime
            )
        case BackendDied():
            return facts.Crashed(
                stage=err.stage, cause=err.cause, why=one_line(str(err), 600), signal=err.signal, runtime=runtime
            )
        case _:
            return facts.Unsupported(stage="run", why=one_line(str(err), 600), runtime=runtime)


def _measured(shop: Workshop, outputs: Outputs, layers: Layers, seconds: float) -> Measured:
    assert outputs.runtime is not None
    order = [each.tensor for each in shop.model.layers]
    return Measured(
        runtime=outputs.runtime,
        outputs=outputs.tally.in_order(shop.outputs),
        layers=layers.tally.in_order(order),
        unobservable=layers.unobservable(order, shop.plan.unobservable),
        missing_outputs=tuple(
            Unobservable(tensor=name, why=outputs.missing[name]) for name in shop.outputs if name in outputs.missing
        ),
        observer_effect=_observer_effect(shop, outputs, layers),
        tasks=outputs.tasks,
        nondeterministic=tuple(name for name in shop.outputs if name in outputs.unsteady),
        seconds=Seconds(compile=outputs.seconds_compile, run=outputs.seconds_run, total=seconds),
        peak_rss_mb=outputs.peak_rss_mb,
        notes=(*layers.notes, *_unkept(shop, outputs)),
    )


def _unkept(shop: Workshop, outputs: Outputs) -> tuple[str, ...]:
    if shop.plan.taps and not outputs.kept.samples:
        return ("the outputs are too large to keep twice: the observer effect was not measured",)
    return ()


def _observer_effect(shop: Workshop, outputs: Outputs, layers: Layers) -> tuple[TensorDiff, ...]:
    """Tapped outputs against untouched ones, over the first samples, in units of the golden's floor."""
    tally = shop.tally()
    both = min(len(outputs.kept.samples), len(layers.kept.samples))  # the pass over the layers may have ended early
    for number in range(both):
        plain, tapped, golden = outputs.kept.samples[number], layers.kept.samples[number], shop.goldens.sample(number)
        for name in shop.outputs:
            if name in plain and name in tapped and name in golden:
                tally.compare(_standing_in(golden[name], plain[name]), tapped[name], number)
    return tally.in_order(shop.outputs)


def _standing_in(golden: GoldenTensor, plain: np.ndarray) -> GoldenTensor:
    """The untouched run's tensor in the golden's place, judged by the golden's floor."""
    data = plain.astype(np.float64) if golden.data.dtype.kind == "f" else plain
    return replace(golden, shape=plain.shape, data=data)
