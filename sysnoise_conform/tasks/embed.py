"""Embeddings: the angle between the golden's vector and the backend's."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks.meter import Tensors, output


class Embed:
    """The lowest cosine over all vectors; the last axis is the vector's."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._vectors = 0
        self._lowest: float | None = None

    def add(self, golden: Tensors, got: Tensors) -> None:
        """One sample."""
        name = output(self._card, golden)
        truth = np.asarray(golden[name], np.float64).reshape(-1, golden[name].shape[-1])
        other = np.asarray(got[name], np.float64).reshape(truth.shape)
        lengths = np.linalg.norm(truth, axis=1) * np.linalg.norm(other, axis=1)
        dots = np.einsum("ij,ij->i", truth, other)
        with np.errstate(all="ignore"):
            cosines = dots / lengths
        cosines[~np.isfinite(cosines)] = -1.0  # NaN and the zero vector point nowhere: as far off as can be
        cosines[(truth == other).all(axis=1)] = 1.0
        self._vectors += len(cosines)
        if len(cosines):
            lowest = float(cosines.min())
            self._lowest = lowest if self._lowest is None else min(self._lowest, lowest)

    def figures(self) -> tuple[TaskFigure, ...]:
        """`embedding_cosine_lowest`, 1 where every vector points as the golden's does."""
        if self._lowest is None:
            return ()
        about = f"lowest cosine to the golden's vector, of {self._vectors}"
        return (TaskFigure(name="embedding_cosine_lowest", value=self._lowest, of=1.0, about=about),)
