"""The one command line that brings a variant about again, with everything said that was left to a default."""

from __future__ import annotations

import shlex
from dataclasses import replace

from sysnoise_conform.case import Case
from sysnoise_conform.precision.recipe import INT8, Recipe
from sysnoise_conform.variant import Variant


def reproducing(case: Case, variant: Variant, recipe: Recipe, *, judged: int) -> str:
    """`conform run --model det.onnx --backends ort:int8+preset=ort+observer=minmax --samples 4`, ready to paste.

    `judged` is the number of samples that were judged: of a split the others calibrate.
    """
    return shlex.join(["conform", "run", *_asked(case, variant, recipe, judged, option="--backends")])


def diagnosing(case: Case, variant: Variant, recipe: Recipe, *, judged: int) -> str:
    """The same for a diagnosis: `conform diagnose --model det.onnx --backend ort:int8+preset=ort+observer=minmax`."""
    return shlex.join(["conform", "diagnose", *_asked(case, variant, recipe, judged, option="--backend")])


def _asked(case: Case, variant: Variant, recipe: Recipe, judged: int, *, option: str) -> list[str]:
    parts = ["--model", str(case.model), option, str(_explicit(variant, recipe))]
    for named, path in (("--inputs", case.inputs), ("--card", case.card)):
        parts += [] if path is None else [named, str(path)]
    if recipe.precision != INT8 or case.calibration is not None or case.samples is not None or case.inputs is None:
        parts += ["--samples", str(judged)]  # else what is judged follows from how many there are
    if case.inputs is None:
        parts += ["--seed", str(case.seed)]
    for name, shape in case.shapes.items():
        parts += ["--shape", f"{name}={','.join(map(str, shape)) or 'scalar'}"]
    for name, value in case.bind.items():
        parts += ["--input", f"{name}={value}"]
    parts += recipe.options(None if case.calibration is None or recipe.precision != INT8 else str(case.calibration))
    parts += ["--threads", str(case.limits.threads)] if case.limits.threads else []
    parts += ["--allow-linked-data"] if case.allow_linked_data else []
    return parts


def _explicit(variant: Variant, recipe: Recipe) -> Variant:
    said = dict(variant.options)
    if recipe.precision == INT8:
        said |= {"preset": recipe.preset, "observer": recipe.observer}
    return replace(variant, options=tuple(said.items()))
