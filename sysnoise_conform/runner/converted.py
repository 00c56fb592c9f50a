"""Graphs in another precision: each is made once, and every cell of its recipe measures on it.

A converted graph has a golden of its own, beside the original's: what the two differ by is the conversion's, what a
runtime differs by from the first is the runtime's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import numpy_helper

from sysnoise_conform.case import Case
from sysnoise_conform.errors import StorageError
from sysnoise_conform.graph import products
from sysnoise_conform.graph.intake import Layer, Model
from sysnoise_conform.precision.calibration import of_judged
from sysnoise_conform.precision.convert import Converted, convert
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.recipe import INT8, Recipe, recipe_of
from sysnoise_conform.private import PrivateFolder
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.command import reproducing
from sysnoise_conform.runner.design import Design
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.header import graph_of
from sysnoise_conform.runner.opening import Opened
from sysnoise_conform.runner.plan import between_integers, converted_plan
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import Store
from sysnoise_conform.variant import Variant


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conversion:
    """One recipe's graph. `stands_for` maps its tensors to those of the original, in the original's graph order."""

    converted: Converted
    model: Model
    stands_for: Mapping[str, str]

    @property
    def recipe(self) -> Recipe:
        """What it was made by."""
        return self.converted.recipe


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conversions:
    """Every converted graph of a run, and what it takes to make another."""

    opened: Opened
    folder: PrivateFolder | None  # None where no variant asked for a conversion
    ranges: Ranges | None  # of the calibration, for int8
    extremes: Ranges | None  # of the judged samples, for floats: what would overflow
    made: Mapping[Recipe, Conversion]

    def make(self, recipe: Recipe) -> Conversion:
        """The graph of another recipe. Raises UsageError, BadInput, BadModel, StorageError: see `precision.convert`."""
        assert self.folder is not None
        ranges = self.ranges if recipe.precision == INT8 else self.extremes
        return _make(self.opened.model, recipe, ranges, self.folder, len(list(self.folder.path.iterdir())))


def recipes(case: Case) -> dict[Recipe, list[Variant]]:
    """The recipes that the variants of a case ask for, each with its variants."""
    found: dict[Recipe, list[Variant]] = {}
    for each in case.variants:
        recipe = recipe_of(each, case.keep_fp32)
        if recipe is not None:
            found.setdefault(recipe, []).append(each)
    return found


@contextmanager
def conversions(case: Case, opened: Opened, pytorch: PyTorch) -> Iterator[Conversions]:
    """Every graph that the case's variants ask for; PyTorch is asked for ranges first.

    int8 has those of the calibration, floats those of the judged samples: a recipe gives the same graph whoever else
    is in the run.

    Raises what `Conversions.make` raises, and BadInput for samples that can't calibrate.
    """
    asked = [] if opened.plan.target.model is not opened.model else list(recipes(case))
    if not asked:
        yield Conversions(opened=opened, folder=None, ranges=None, extremes=None, made={})
        return
    ranges = extremes = None
    if opened.calibration is not None and any(each.precision == INT8 for each in asked):
        ranges = calibrating.measure(opened.calibration, opened.model, asked, pytorch, threads=case.limits.threads)
    floats = [each for each in asked if each.precision != INT8]
    if floats:
        judged = of_judged(opened.samples)
        extremes = calibrating.measure(judged, opened.model, floats, pytorch, threads=case.limits.threads)
    try:
        folder = PrivateFolder.make()
    except OSError as err:
        raise StorageError(f"can't make a private folder: {err.strerror}", hint="choose another TMPDIR") from err
    try:
        made = {
            each: _make(opened.model, each, ranges if each.precision == INT8 else extremes, folder, at)
            for at, each in enumerate(asked)
        }
        yield Conversions(opened=opened, folder=folder, ranges=ranges, extremes=extremes, made=made)
    finally:
        folder.remove()


def _make(model: Model, recipe: Recipe, ranges: Ranges | None, folder: PrivateFolder, number: int) -> Conversion:
    converted = convert(model, recipe, ranges)
    place = folder.path / str(number)
    place.mkdir()
    opened = converted.opened(place, "converted.onnx")
    theirs = {each.tensor for each in opened.layers} | {each.name for each in opened.outputs}
    ours = [*(each.tensor for each in model.layers), *(each.name for each in model.outputs)]
    return Conversion(
        converted=converted,
        model=replace(opened, layers=_by_the_original(opened, model, converted.codes)),
        stands_for={each: each for each in dict.fromkeys(ours) if each in theirs},
    )


def _by_the_original(opened: Model, model: Model, codes: Mapping[str, str]) -> tuple[Layer, ...]:
    """The layers of a converted graph, where integers go by the name of the operator that they are the result of."""
    makers = {each.tensor: each for each in model.layers}
    results = {integers: makers[tensor] for tensor, integers in codes.items() if tensor in makers}
    return tuple(
        replace(each, node=results[each.tensor].node, op_type=results[each.tensor].op_type)
        if each.tensor in results
        else each
        for each in opened.layers
    )


def workshop(
    shop: Workshop, made: Conversion, store: Store, pytorch: PyTorch, stack: ExitStack, *, in_pieces: bool = False
) -> Workshop:
    """The workshop of one converted graph; its goldens end with `stack`.

    `in_pieces`: what stands between integers is watched as well, though it is no longer computed in integers then.
    """
    goldens = stack.enter_context(
        Goldens(made.model, shop.samples, store, shop.crew, shop.logs, threads=shop.threads, pytorch=pytorch)
    )
    ops = {each.tensor: each.op_type for each in shop.model.layers}
    codes = {} if in_pieces else made.converted.codes
    return replace(
        shop,
        model=made.model,
        goldens=goldens,
        plan=converted_plan(shop.plan, made.model, codes, shop.samples.feed(0)),
        design=Design(shop.goldens, made.stands_for if shop.plan.taps else _outputs(made), ops),
    )


def _outputs(made: Conversion) -> dict[str, str]:
    """Of a run on outputs alone."""
    return {name: made.stands_for[name] for name in (each.name for each in made.model.outputs)}


def _steps(model: Model) -> dict[str, float]:
    """Outputs that come out of integers, with the distance of two neighbouring ones (the largest of all channels)."""
    ends = {each.name for each in model.outputs}
    stored = {each.name: each for each in model.proto.graph.initializer}
    return {
        node.output[0]: float(np.max(numpy_helper.to_array(stored[node.input[1]]), initial=0.0))
        for node in model.proto.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] in ends and node.input[1] in stored
    }


def in_integers(made: Conversion, feed: Mapping[str, np.ndarray]) -> float | None:
    """The share of operations that an int8 graph has in integers; None of floats, and where it is not known."""
    if made.recipe.precision != INT8:
        return None
    return products.in_integers(made.model.proto, {name: array.shape for name, array in feed.items()})


def described(
    made: Mapping[Recipe, Conversion], case: Case, opened: Opened, again: Callable[..., str] = reproducing
) -> list[dict[str, Any]]:
    """The conversions as the report's header has them: by what they were made, and their graphs.

    `again` gives the command line that brings a variant about, as `reproducing` does.
    """
    asked = recipes(case)
    return [
        {
            "variants": [str(variant) for variant in asked[recipe]],
            "commands": [again(case, variant, recipe, judged=len(opened.samples)) for variant in asked[recipe]],
            "recipe": str(recipe),
            "sha256": each.model.sha256,
            "opset": each.model.opset,
            "nodes": each.model.node_count,
            **graph_of(each.model, between_integers(each.model) if each.converted.codes else ()),
            "steps": _steps(each.model),
            "in_integers": in_integers(each, opened.samples.feed(0)),
            "codes": dict(each.converted.codes),
            "record": dict(each.converted.record),
            "calibration": opened.calibration.record() if opened.calibration and recipe.precision == "int8" else None,
        }
        for recipe, each in made.items()
    ]
