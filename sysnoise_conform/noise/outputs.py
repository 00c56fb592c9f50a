"""Noises of the output side put together: how raw outputs are decoded at chosen levels."""

from __future__ import annotations

from collections.abc import Iterable

from sysnoise_conform.noise import boxes, scores
from sysnoise_conform.tasks.decoding import Decoding

_CHANGES = {axis.name: module.change for module in (boxes, scores) for axis in module.AXES}


def decoding(levels: Iterable[tuple[str, str]]) -> Decoding:
    """The decoding under `levels`; axes of other stages are passed over."""
    how = Decoding()
    for name, level in levels:
        if name in _CHANGES:
            how = _CHANGES[name](how, name, level)
    return how
