"""Object detection: do the same boxes come out?"""

from __future__ import annotations

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks.boxes import Boxes, overlaps
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.detectors import decode
from sysnoise_conform.tasks.meter import Tensors

SHOWN_SCORE = 0.65  # what FastestDet's own demo shows
PARTNER_IOU = 0.5
_UNIT = (1, 1)  # of the tensor: partners are found in any unit


def partners(a: Boxes, b: Boxes) -> list[tuple[int, int]]:
    """Pairs of boxes of one class whose IoU is at least 0.5, best overlap first, each box once."""
    overlap = overlaps(a.corners, b.corners) * (a.classes[:, None] == b.classes[None, :])
    pairs: list[tuple[int, int]] = []
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    for flat in np.argsort(-overlap, axis=None, kind="stable").tolist():
        i, j = divmod(flat, overlap.shape[1])
        if overlap[i, j] < PARTNER_IOU:
            break
        if i not in taken_a and j not in taken_b:
            pairs.append((i, j))
            taken_a.add(i)
            taken_b.add(j)
    return pairs


class Detect:
    """Boxes of the golden without a partner, boxes too many, and how far the scores of partners are apart."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._least = SHOWN_SCORE if card.threshold is None else card.threshold
        self._golden = self._got = self._paired = 0
        self._score_change = 0.0

    def add(self, golden: Tensors, got: Tensors) -> None:
        """One sample; every image of a batch is decoded by itself."""
        how = Decoding(score=self._least)
        for at in range(len(next(iter(golden.values())))):
            a, b = (
                decode(self._card, {name: each[at : at + 1] for name, each in side.items()}, _UNIT, how)
                for side in (golden, got)
            )
            pairs = partners(a, b)
            self._golden += len(a.scores)
            self._got += len(b.scores)
            self._paired += len(pairs)
            changes = [abs(float(a.scores[i] - b.scores[j])) for i, j in pairs]
            self._score_change = max([self._score_change, *changes])

    def figures(self) -> tuple[TaskFigure, ...]:
        """`box_flips` of the golden's boxes, `box_extras` of the backend's, `box_score_change`."""
        shown = f"at scores above {self._least:g}"
        return (
            TaskFigure(
                name="box_flips",
                value=self._golden - self._paired,
                of=self._golden,
                about=f"boxes {shown} without a partner of the same class and IoU >= {PARTNER_IOU:g}",
            ),
            TaskFigure(
                name="box_extras",
                value=self._got - self._paired,
                of=self._got,
                about=f"boxes {shown} that the golden has not",
            ),
            TaskFigure(name="box_score_change", value=self._score_change, about="largest change of a partner's score"),
        )
