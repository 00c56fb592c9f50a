"""What every task's meter offers, and which tensor it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

Tensors = Mapping[str, np.ndarray]


class Meter(Protocol):
    """Compares decisions instead of numbers, sample by sample; needs no labels, the golden is the truth."""

    def add(self, golden: Tensors, got: Tensors) -> None:
        """One sample's outputs by name."""

    def figures(self) -> tuple[TaskFigure, ...]:
        """What all samples so far came to."""


def output(card: Card, tensors: Tensors) -> str:
    """The output that the task reads. Raises UsageError where the card must name it, or names one that is not there."""
    if card.output:
        if card.output not in tensors:
            raise UsageError(
                f"the card {one_line(card.name)!r} reads the output {one_line(card.output)!r}, which the model has not",
                hint=nearest(card.output, tensors),
            )
        return card.output
    if len(tensors) != 1:
        raise UsageError(
            f"the card {one_line(card.name)!r} does not say which of the {len(tensors)} outputs is the task's",
            hint='add output = "name" to the card',
        )
    return next(iter(tensors))
