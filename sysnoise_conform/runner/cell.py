"""One variant, measured, as one outcome."""

from __future__ import annotations

from time import perf_counter

from sysnoise_conform import outcome as facts
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, Unsupported
from sysnoise_conform.outcome import Measured, Outcome, Result, RuntimeFacts, Seconds, Unobservable
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.passes import Layers, Outputs, measure
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant


def run_cell(shop: Workshop, variant: Variant, place: str) -> Result:
    """The result of one variant, whose logs are called `place`.

    A runtime's refusal or death is an outcome; a mistake of the user's raises.
    """
    started = perf_counter()
    outputs, layers = Outputs(tally=shop.tally(), meter=shop.meter()), Layers()
    outcome: Outcome
    try:
        measure(shop, variant, place, outputs, layers)
    except BackendError as err:
        outcome = refusal(err, outputs.runtime)
    else:
        outcome = _measured(shop, str(variant), outputs, layers, perf_counter() - started)
    shop.watch(str(variant), "done", len(shop.samples), len(shop.samples))
    return Result(variant=str(variant), outcome=outcome, log=f"logs/{place}.txt")


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


def _measured(shop: Workshop, variant: str, outputs: Outputs, layers: Layers, seconds: float) -> Measured:
    assert outputs.runtime is not None
    target = shop.plan.target.model
    order = [each.tensor for each in shop.model.layers if each.tensor not in shop.plan.aside]
    return Measured(
        runtime=outputs.runtime,
        outputs=outputs.tally.in_order(shop.outputs),
        layers=layers.tally.in_order(order),
        unobservable=layers.unobservable(order, shop.plan.unobservable),
        missing_outputs=tuple(
            Unobservable(tensor=name, why=outputs.missing[name]) for name in shop.outputs if name in outputs.missing
        ),
        observer_effect=layers.effect,
        design=() if shop.design is None else shop.design.diffs(),
        total=outputs.total.in_order(shop.outputs),
        tasks=outputs.tasks,
        nondeterministic=tuple(name for name in shop.outputs if name in outputs.unsteady),
        seconds=Seconds(compile=outputs.seconds_compile, run=outputs.seconds_run, total=seconds),
        peak_rss_mb=outputs.peak_rss_mb,
        notes=tuple(layers.notes),
        probe=() if target is None else shop.remark(target, variant, outputs.runtime),
    )
