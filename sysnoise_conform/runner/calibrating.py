"""Which samples of a run calibrate, and the one pass of PyTorch's child over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sysnoise_conform.card import Card
from sysnoise_conform.case import Case
from sysnoise_conform.errors import BackendDied, BackendUnavailable, GoldenDied, GoldenUnavailable
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.inputs.samples import SYNTHETIC, Feed
from sysnoise_conform.precision.calibration import (
    DEFAULT_SAMPLES,
    Calibration,
    calibrate,
    judged_too,
    ranges_of,
    split,
    subset,
)
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.recipe import Recipe
from sysnoise_conform.runner.pytorch import PyTorch


def choose(case: Case, model: Model, card: Card | None, samples: Samples, given: Path | None) -> tuple[
    Samples, Calibration
]:  # fmt: skip
    """What a run judges, and what it calibrates on.

    `given` (`--calibration`) names the latter, and `samples` are judged as they are. Without it: synthetic samples of
    further numbers; of files, those beyond `--samples`; where all would be judged, some are held out from them.
    Raises BadInput.
    """
    if given is not None:
        other = load_samples(model, inputs=given, card=card, samples=None, seed=case.seed, shapes=case.shapes)
        return samples, Calibration(samples=other, origin="given", judged_too=judged_too(other, samples))
    if samples.kind == SYNTHETIC:
        count = len(samples)
        more = load_samples(
            model, inputs=None, card=card, samples=count + DEFAULT_SAMPLES, seed=case.seed, shapes=case.shapes
        )
        drawn = subset(more, tuple(range(count, count + DEFAULT_SAMPLES)))
        return samples, Calibration(samples=drawn, origin="synthetic")
    if case.samples is not None:
        everything = load_samples(
            model, inputs=case.inputs, card=card, samples=None, seed=case.seed, shapes=case.shapes
        )
        if len(everything) > case.samples:
            return samples, Calibration(samples=split(everything, case.samples)[1], origin="split")
    judged, held = split(samples)
    return judged, Calibration(samples=held, origin="split")


def measure(
    calibration: Calibration, model: Model, recipes: Iterable[Recipe], pytorch: PyTorch, *, threads: int
) -> Ranges:
    """One pass over the calibration samples for all recipes. Raises BadInput, GoldenDied, GoldenUnavailable."""
    histograms = any(each.histograms for each in recipes)
    try:
        request = {"model": str(pytorch.place(model)), "threads": threads, "histograms": histograms}

        def ask(feed: Feed) -> Ranges:
            reply = pytorch.call("observe", request, feed)
            return ranges_of(list(reply.payload["names"]), reply.tensors)

        return calibrate(calibration, model, ask)
    except BackendUnavailable as err:  # a backend's words, but no backend's fault
        raise GoldenUnavailable(err.message, hint=err.hint) from err
    except BackendDied as err:
        raise GoldenDied(f"calibration: {err.message}", hint=err.hint) from err


def judged_alone(samples: Samples, calibration: Calibration) -> Samples:
    """The judged samples with a note of what was held out from them."""
    if calibration.origin != "split":
        return samples
    note = f"--calibration: {len(calibration.samples)} of the inputs calibrate and are not judged"
    return replace(samples, chosen=(*samples.chosen, note))
