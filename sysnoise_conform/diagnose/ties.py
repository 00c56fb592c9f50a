"""Decisions that went the other way within rounding, in words: nobody's fault, and a reason for what comes after."""

from __future__ import annotations

from collections.abc import Sequence

from sysnoise_conform.diagnose.facts import Layer
from sysnoise_conform.printable import one_line

MOST_TOLD = 5


def told(layers: Sequence[Layer]) -> list[str]:
    """A note for each of the first operators that decided otherwise than PyTorch where it was a tie."""
    found = []
    for layer in layers:
        diff = layer.in_unit or layer.replayed or layer.island
        if diff is not None and diff.ties:
            name = f"{layer.op_type} {one_line(layer.node or layer.output, 80)!r}"
            found.append(f"{name} decides otherwise at {diff.ties:,} of {diff.n:,} elements, where rounding decides")
    left = len(found) - MOST_TOLD
    return [*found[:MOST_TOLD], f"and {left} more operators where rounding decides"] if left > 1 else found


def is_tie(layer: Layer) -> bool:
    """Whether an operator's output differs by decisions within rounding, and by nothing else."""
    return layer.replayed is not None and bool(layer.replayed.ties) and layer.replayed.exact
