"""What a runtime computed a converted graph in, where that is less than the cell's name says: told beside its figures.

The graph rounds what it says it rounds wherever it is computed, so that the figures are of that rounding; a runtime
that keeps floats behind it adds nothing of its own arithmetic, and is not what a target with integer units does.
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from sysnoise_conform.backend import Runtime
from sysnoise_conform.graph import products
from sysnoise_conform.judge.computed import kept, not_integers, partly
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.matrix.facts import Feed, Levels
from sysnoise_conform.noise import precision
from sysnoise_conform.precision.presets import preset_of
from sysnoise_conform.precision.recipe import INT8
from sysnoise_conform.runner.passes import facts_of
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.variant import Variant


def otherwise(session: RemoteSession, variant: Variant, runtime: Runtime, levels: Levels, feed: Feed) -> str:
    """That the runtime computed the graph in more than was asked, in the words of `conform run`; else empty.

    Raises BackendError where the session can't be asked.
    """
    level = dict(levels).get(precision.AXIS.name)
    if level is None:
        return ""
    preset = precision.PRESETS.get(level)
    if preset is None:
        return kept(facts_of(runtime, session, replace(variant, precision=level), None))
    asked = _in_int8(variant, preset)
    graph = onnx.load(str(session.graph), load_external_data=False)
    declared = products.in_integers(graph, {name: array.shape for name, array in feed.items()})
    facts = facts_of(runtime, session, asked, None)
    floats = not_integers(facts, str(asked), declared, Policy().min_int8_operations)
    return f"rounded to 8 bits and computed in floats: {floats}" if floats else partly(facts, declared)


def _in_int8(variant: Variant, preset: str) -> Variant:
    """The variant by which `conform run` would ask for the same graph: the cure is told in its words."""
    if variant.precision == INT8:
        return variant
    named = () if preset == preset_of(variant.backend) else (("preset", preset),)
    return replace(variant, precision=INT8, options=(*variant.options, *named))
