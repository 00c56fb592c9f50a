"""What a conversion costs, layer by layer, and what leaving a layer in float32 wins back: measured, by PyTorch alone.

Three readings of a layer, none of which a runtime has a part in:

- *introduced*: the converted operator on the original's own tensors, against the original's result. With every tensor
  replaced by the original's, no layer hears of the one before it.
- *clipping and rounding*: of a quantised tensor, which part of its error lies beyond the range that calibration chose.
- *won back*: the outputs' error with this layer left as it was, by a golden of that very graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.compare.goldens import apart
from sysnoise_conform.compare.quantised import QuantisationError, quantisation_error
from sysnoise_conform.compare.tensors import merge
from sysnoise_conform.errors import BadInput, BadModel
from sysnoise_conform.judge.conversion import cause, size
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.converted import Conversion, Conversions
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.store import GoldenTensor

MOST_LAYERS = 20  # that are told
LEAST_GAIN = 1.0  # dB that a layer wins beside those that are kept already, to be kept, too: each costs speed

# The original's tensors are handed over in float32: below this there is nothing but that.
_ROUNDING = 2.0**-22


@dataclass(frozen=True, kw_only=True, slots=True)
class CostlyLayer:
    """A layer of the original, and what its conversion costs there."""

    node: str
    op_type: str
    tensor: str
    introduced: TensorDiff
    arriving: TensorDiff | None  # golden(converted) - golden(original) at its tensor: with all that came before
    quantised: QuantisationError | None  # of its tensor, where that becomes integers


@dataclass(frozen=True, kw_only=True, slots=True)
class WonBack:
    """The worst output's relative L2 error with a node left in float32."""

    node: str
    op_type: str
    tensor: str
    rel_l2: float
    gain_db: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DesignFindings:
    """What one conversion costs. `layers` by introduced error, `won_back` by what it wins, both largest first."""

    recipe: str
    outputs: tuple[TensorDiff, ...]
    layers: tuple[CostlyLayer, ...]
    won_back: tuple[WonBack, ...] = ()
    together: float | None = None  # the worst output's rel_l2 with all of `keep` left in float32
    keep: tuple[str, ...] = ()  # nodes, those that were kept already first, then each that wins 1 dB beside them
    before: float | None = None  # the worst output's rel_l2 as it is


def look(
    shop: Workshop, made: Conversion, conversions: Conversions, original: Goldens, pytorch: PyTorch, *, win_back: int
) -> DesignFindings:
    """Everything about one conversion; `win_back` layers with the largest introduced error are left out in turn.

    `shop` is the converted graph's. Raises what goldens raise.
    """
    assert shop.design is not None
    for number in range(len(shop.samples)):
        shop.design.add(number, shop.goldens.sample(number))
    introduced, quantised = _introduced(shop, made, original)
    arriving = {each.name: each for each in shop.design.diffs()}
    nodes = {each.tensor: each for each in conversions.opened.model.layers}
    ranked = sorted(introduced.values(), key=lambda each: -(each.rel_l2 or 0.0))
    layers = tuple(
        CostlyLayer(
            node=nodes[each.name].node, op_type=nodes[each.name].op_type, tensor=each.name, introduced=each,
            arriving=arriving.get(each.name), quantised=quantised.get(each.name),
        )
        for each in ranked
        if each.rel_l2 is not None and each.rel_l2 > _ROUNDING and each.name in nodes
    )  # fmt: skip
    found = DesignFindings(
        recipe=str(made.recipe),
        outputs=tuple(arriving[each] for each in shop.outputs if each in arriving),
        layers=layers[:MOST_LAYERS],
    )
    if not win_back or not layers:
        return found
    trial = _Trial(conversions, original, pytorch, shop)
    return _won_back(found, layers, trial, made, win_back)


def _introduced(
    shop: Workshop, made: Conversion, original: Goldens
) -> tuple[dict[str, TensorDiff], dict[str, QuantisationError]]:
    """Of every tensor that both graphs have, what its own operator's conversion costs; of quantised ones, how."""
    kinds = {each.tensor: each.elem_type for each in made.model.layers}
    activations = {str(each["tensor"]): each for each in made.converted.record.get("activations") or ()}
    introduced: dict[str, TensorDiff] = {}
    quantised: dict[str, QuantisationError] = {}
    for number in range(len(shop.samples)):
        truth = original.sample(number)
        recorded = {
            theirs: _declared(truth[ours], kinds[theirs])
            for theirs, ours in made.stands_for.items()
            if ours in truth and kinds.get(theirs)
        }
        with shop.goldens.replayed(number, recorded) as answers:
            for theirs, ours in made.stands_for.items():
                if theirs in answers and ours in truth:
                    diff = apart(truth[ours], answers[theirs], sample=number)
                    introduced[ours] = merge(introduced[ours], diff) if ours in introduced else diff
        values = {name: tensor.data for name, tensor in truth.items()} | shop.samples.feed(number)
        for name, by in activations.items():
            if name in values:
                error = quantisation_error(values[name], by)
                quantised[name] = quantised[name].merged(error) if name in quantised else error
    return introduced, quantised


def _declared(tensor: GoldenTensor, elem_type: int) -> np.ndarray:
    """A tensor of the original in the type that the converted graph declares."""
    if tensor.data.dtype.kind != "f":
        return tensor.data
    with np.errstate(over="ignore"):
        return tensor.data.astype(tensor_dtype_to_np_dtype(elem_type))


def in_words(found: DesignFindings, precision: str | None) -> str:
    """`; the quantisation costs 'y' 0.0432 of its values (SQNR 27.3 dB)`: of the output that loses most."""
    known = [each for each in found.outputs if each.comparable and each.rel_l2 is not None]
    if not known:
        return ""
    most = max(known, key=lambda each: each.rel_l2 or 0.0)
    return f"; {cause(precision)} costs {one_line(most.name, 80)!r} {size(most)}"


class _Trial:
    """Graphs that are converted otherwise, by their outputs' distance from the original's."""

    def __init__(self, conversions: Conversions, original: Goldens, pytorch: PyTorch, shop: Workshop) -> None:
        self._conversions, self._original, self._pytorch, self._shop = conversions, original, pytorch, shop

    def error(self, made: Conversion, keep: Sequence[str]) -> float | None:
        """The worst output's rel_l2 with the nodes of `keep` left in float32, too; None where that can't be made."""
        try:
            other = self._conversions.make(replace(made.recipe, keep_fp32=(*made.recipe.keep_fp32, *keep)))
        except (BadInput, BadModel):  # nothing would be left to convert
            return None
        graph = self._pytorch.place(other.model)
        diffs: dict[str, TensorDiff] = {}
        for number in range(len(self._shop.samples)):
            truth = self._original.sample(number)
            request = {"model": str(graph), "threads": self._shop.threads}
            reply = self._pytorch.call("exact", request, self._shop.samples.feed(number))
            for name in self._shop.outputs:
                if name in truth and name in reply.tensors:
                    diff = apart(truth[name], replace(truth[name], data=reply.tensors[name]), sample=number)
                    diffs[name] = merge(diffs[name], diff) if name in diffs else diff
        return _worst(diffs.values())


def _won_back(
    found: DesignFindings, layers: Sequence[CostlyLayer], trial: _Trial, made: Conversion, most: int
) -> DesignFindings:
    before = _worst(found.outputs)
    if not before:
        return found
    won: list[WonBack] = []
    for layer in _candidates(layers, made)[:most]:
        after = trial.error(made, (layer.node or layer.tensor,))
        if after is not None:
            gain = _decibels(before, after)
            won.append(
                WonBack(node=layer.node, op_type=layer.op_type, tensor=layer.tensor, rel_l2=after, gain_db=gain)
            )
    won.sort(key=lambda each: -each.gain_db)
    found = replace(found, won_back=tuple(won), before=before)
    # Errors of layers add up or take each other away: what one wins beside those before it is measured, not added.
    keep: list[str] = []
    left = before
    for each in won:
        if each.gain_db < LEAST_GAIN or not left:
            break
        name = each.node or each.tensor
        after = trial.error(made, (*keep, name)) if keep else each.rel_l2
        if after is not None and _decibels(left, after) >= LEAST_GAIN:
            keep.append(name)
            left = after
    if not keep:
        return found
    return replace(found, keep=(*made.recipe.keep_fp32, *keep), together=left)


def _decibels(before: float, after: float) -> float:
    return 20 * math.log10(before / after) if after else math.inf


def _candidates(layers: Iterable[CostlyLayer], made: Conversion) -> list[CostlyLayer]:
    """Layers that were converted, each node once."""
    left = {str(each.get("node", "")) for each in made.converted.record.get("kept") or ()}
    found: dict[str, CostlyLayer] = {}
    for each in layers:
        name = each.node or each.tensor
        if name not in left:
            found.setdefault(name, each)
    return list(found.values())


def _worst(diffs: Iterable[TensorDiff]) -> float | None:
    known = [each.rel_l2 for each in diffs if each.comparable and each.rel_l2 is not None]
    return max(known, default=None)
