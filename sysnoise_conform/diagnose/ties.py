"""Decisions that went the other way within rounding, in words: nobody's fault, and a reason for what comes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from sysnoise_conform.diagnose.facts import Culprit, Layer
from sysnoise_conform.printable import one_line

MOST_TOLD = 5


def told(layers: Sequence[Layer]) -> list[str]:
    """A note for each of the first operators that decided otherwise than PyTorch where it was a tie."""
    found = []
    for layer in layers:
        diff = layer.in_unit or layer.replayed or layer.island
        if diff is not None and diff.ties:
            name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
            why = "where values are equal" if in_another_order(layer) else "where rounding decides"
            found.append(f"{name} decides otherwise at {diff.ties:,} of {diff.n:,} elements, {why}")
    left = len(found) - MOST_TOLD
    return [*found[:MOST_TOLD], f"and {left} more operators that decide a tie otherwise"] if left > 1 else found


def in_another_order(layer: Layer) -> bool:
    """Whether all that is decided otherwise are values that were equal where they were compared."""
    diff = layer.replayed or layer.island
    both = (layer.replayed, layer.island)
    read = [reading for each in both if each is not None for reading in each.readings]
    return bool(diff is not None and diff.ties) and any(
        each.kind == "tie_order" and each.residual == 0 for each in read
    )


def to_blame(layers: Sequence[Layer], readers: Mapping[str, Sequence[str]], off: AbstractSet[str]) -> list[Culprit]:
    """Operators that put equal values in another order, where an output that is `off` is computed from theirs.

    Nothing that they give is wrong by a number, so they count where nobody else does.
    """
    found = []
    for layer in layers:
        diff = layer.replayed or layer.island
        if diff is None or not diff.exact or not in_another_order(layer) or off.isdisjoint(_behind(layer, readers)):
            continue
        readings = diff.readings or (layer.island.readings if layer.island is not None else ())
        name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
        found.append(
            Culprit(
                layer=layer,
                method="replay" if layer.replayed is not None else "explode",
                diff=diff,
                kind="tie_order",
                readings=readings,
                words=f"{name} puts equal values in another order at {diff.ties or 0:,} of {diff.n:,} elements",
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
