"""Single operators, taken out of the model with what a backend recorded around them: to be computed otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.graph.explode import Explosion
from sysnoise_conform.runner.workshop import Workshop

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One operator in a model of its own, what the backend fed it with, and what it gave for `output`."""

    name: str  # of the tensor in the whole model
    model: onnx.ModelProto
    feed: Tensors
    output: str  # that tensor's name in `model`
    got: Array

    @property
    def node(self) -> onnx.NodeProto:
        """The operator."""
        node: onnx.NodeProto = self.model.graph.node[0]
        return node


def taken_out(shop: Workshop, seen: Seen, names: Collection[str]) -> Iterator[Taken]:
    """Those of the tensors `names` that were recorded for the first sample, and whose operator can stand alone."""
    wanted = set(names)
    for recording in seen.first:
        here = [name for name in recording.own if name in wanted]
        if not here:
            continue
        golden = {name: declared(each) for name, each in shop.goldens.sample(0).items()}
        known = {**golden, **shop.samples.feed(0), **recording.tensors}
        explosion = Explosion(shop.model.proto, known)
        alone = set(explosion.archipelago().nodes)
        places = {name: explosion.maker(name) for name in here}
        for name, place in sorted(places.items(), key=lambda each: -1 if each[1] is None else each[1]):
            if place is None or place not in alone or explosion.block(place) != (place,):
                continue
            (islands,) = explosion.islands([place])
            shown = next((ours for ours, theirs in islands.outputs.items() if theirs == name), None)
            if shown is None or len(islands.model.graph.node) != 1:
                continue
            feed = {ours: known[theirs] for ours, theirs in islands.inputs.items()}
            yield Taken(name=name, model=islands.model, feed=feed, output=shown, got=recording.tensors[name])
