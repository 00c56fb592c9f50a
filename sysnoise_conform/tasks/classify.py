"""Classification: does the first class stay the same, and how close is the call?"""

from __future__ import annotations

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks.meter import Tensors, output


class Classify:
    """Top-1 flips and margins over scores of shape (..., classes)."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._rows = 0
        self._flips = 0
        self._smallest_margin: float | None = None
        self._most_used: float | None = None

    def add(self, golden: Tensors, got: Tensors) -> None:
        """One sample: the first class of each row, and how much of its lead over the second is lost."""
        name = output(self._card, golden)
        truth = np.asarray(golden[name], np.float64).reshape(-1, golden[name].shape[-1])
        other = np.asarray(got[name], np.float64).reshape(truth.shape)
        self._rows += len(truth)
        broken = ~np.isfinite(other).all(axis=1)
        self._flips += int(np.count_nonzero((truth.argmax(1) != other.argmax(1)) | broken))
        if truth.shape[1] < 2:
            return
        rows = np.arange(len(truth))
        order = np.argsort(truth, axis=1)
        first, second = order[:, -1], order[:, -2]
        lead = truth[rows, first] - truth[rows, second]
        left = other[rows, first] - other[rows, second]
        usable = ~broken & np.isfinite(lead)
        if usable.any():
            smallest = float(lead[usable].min())
            self._smallest_margin = smallest if self._smallest_margin is None else min(self._smallest_margin, smallest)
        usable &= lead > 0
        if usable.any():
            used = float((1 - left[usable] / lead[usable]).max())
            self._most_used = used if self._most_used is None else max(self._most_used, used)

    def figures(self) -> tuple[TaskFigure, ...]:
        """`top1_flips`, and of the golden's lead over the second class the smallest and the most that was lost."""
        found = [TaskFigure(name="top1_flips", value=self._flips, of=self._rows, about="first class differs")]
        if self._smallest_margin is not None:
            about = "the golden's smallest lead of the first class over the second"
            found.append(TaskFigure(name="top1_margin_smallest", value=self._smallest_margin, about=about))
        if self._most_used is not None:
            about = "the largest share of such a lead that was lost; 1 is a flip"
            found.append(TaskFigure(name="top1_margin_lost", value=self._most_used, of=1.0, about=about))
        return tuple(found)
