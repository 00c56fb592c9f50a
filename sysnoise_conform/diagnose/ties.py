"""Decisions that went the other way within rounding, in words: nobody's fault, and a reason for what comes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.outcome import Reading
from sysnoise_conform.printable import one_line

MOST_TOLD = 5
_BY_SIZES = ("Resize", "Upsample")  # they decide by coordinates that follow from sizes and scales, which are exact
# They decide by the very numbers that they are fed; a coordinate of a grid that is a tie is exact in float32, too.
# QuantizeLinear is none of them: it decides by a quotient, which it rounds first.
_BY_OPERANDS = ("Cast", "CastLike", "Ceil", "Floor", "GridSample", "Round")


def told(layers: Sequence[Layer]) -> list[str]:
    """A note for each of the first operators that decided otherwise than PyTorch where it was a tie."""
    found = []
    for layer in layers:
        diff = layer.in_unit or layer.replayed or layer.island
        if diff is not None and diff.ties:
            name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
            rule = own_rule(layer)
            why = "where rounding decides"
            if rule is not None:
                why = "where values are equal" if rule.kind == "tie_order" else f"by another rule, {rule.value}"
            found.append(f"{name} decides otherwise at {diff.ties:,} of {diff.n:,} elements, {why}")
    left = len(found) - MOST_TOLD
    return [*found[:MOST_TOLD], f"and {left} more operators that decide a tie otherwise"] if left > 1 else found


def own_rule(layer: Layer) -> Reading | None:
    """The other rule that makes all of an operator's ties, where no rounding before it can have made them.

    That is so of equal values, whose order is known to be the operator's own (`decisions.rules`), of coordinates that
    follow from sizes, and of what the operator was fed alone.
    """
    diff = layer.replayed or layer.island
    if diff is None or not diff.ties:
        return None
    for each in (layer.replayed, layer.island):
        for reading in each.readings if each is not None else ():
            exact = layer.op_type in _BY_SIZES or (each is layer.island and layer.op_type in _BY_OPERANDS)
            if not reading.residual and (reading.kind == "tie_order" or (reading.kind == "rounding_mode" and exact)):
                return reading
    return None


def to_blame(layers: Sequence[Layer], readers: Mapping[str, Sequence[str]], off: AbstractSet[str]) -> list[Culprit]:
    """Operators that decide ties by a rule of their own, where an output that is `off` is computed from theirs.

    Nothing that they give is wrong by more than rounding may, so they count where nobody else does.
    """
    found = []
    for layer in layers:
        diff, rule = layer.replayed or layer.island, own_rule(layer)
        if diff is None or rule is None or not diff.exact or off.isdisjoint(_behind(layer, readers)):
            continue
        name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
        does = "puts equal values in another order" if rule.kind == "tie_order" else f"decides ties by {rule.value}"
        found.append(
            Culprit(
                layer=layer,
                method="replay" if layer.replayed is not None else "explode",
                diff=diff,
                kind=rule.kind,
                readings=diff.readings or (rule,),
                words=f"{name} {does} at {diff.ties or 0:,} of {diff.n:,} elements",
                cumulative_before=0.0,
            )
        )
    return found


def _behind(layer: Layer, readers: Mapping[str, Sequence[str]]) -> set[str]:
    """The tensor of a layer and all that are computed from it."""
    found, waiting = set[str](), [layer.output]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(readers.get(name, ()))
    return found


def is_tie(layer: Layer) -> bool:
    """Whether an operator's output differs by decisions within rounding, and by nothing else."""
    return layer.replayed is not None and bool(layer.replayed.ties) and layer.replayed.exact
