"""Decisions pixel by pixel: the class of each (segmentation), or text and no text (a probability map)."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks.meter import Tensors, output

TEXT_THRESHOLD = 0.3  # of PaddleOCR's DB post-processing


class Pixels:
    """Pixels whose decision differs. Maps are (N, C, H, W); `threshold` None takes the channel that is largest."""

    def __init__(self, card: Card, *, threshold: float | None) -> None:
        self._card = card
        self._threshold = threshold
        self._pixels = 0
        self._flips = 0
        self._nearest: float | None = None

    def add(self, golden: Tensors, got: Tensors) -> None:
        """One sample."""
        name = output(self._card, golden)
        truth, other = np.asarray(golden[name], np.float64), np.asarray(got[name], np.float64)
        if self._threshold is None:
            differs = truth.argmax(1) != other.argmax(1)
            differs |= ~np.isfinite(other).all(axis=1)
        else:
            differs = (truth > self._threshold) != (other > self._threshold)
            differs |= ~np.isfinite(other)
            distance = float(np.abs(truth - self._threshold).min()) if truth.size else 0.0
            self._nearest = distance if self._nearest is None else min(self._nearest, distance)
        self._pixels += differs.size
        self._flips += int(np.count_nonzero(differs))

    def figures(self) -> tuple[TaskFigure, ...]:
        """`pixel_flips`, and for a threshold how close the golden's closest pixel comes to it."""
        about = "the class differs" if self._threshold is None else f"the other side of {self._threshold:g}"
        found = [TaskFigure(name="pixel_flips", value=self._flips, of=self._pixels, about=about)]
        if self._nearest is not None:
            about = "distance of the golden's closest pixel to the threshold"
            found.append(TaskFigure(name="pixel_margin_smallest", value=self._nearest, about=about))
        return tuple(found)
