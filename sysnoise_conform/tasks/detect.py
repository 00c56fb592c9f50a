"""Object detection: do the same boxes come out?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.outcome import TaskFigure
from sysnoise_conform.tasks.meter import Tensors, output

SHOWN_SCORE = 0.65  # what FastestDet's own demo shows
SUPPRESS_IOU = 0.45
PARTNER_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Boxes:
    """Corners (n, 4) as x1, y1, x2, y2 in units of the image; scores (n,); classes (n,)."""

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def decode_fastestdet(raw: np.ndarray, least_score: float) -> Boxes:
    """Boxes of one image out of FastestDet's raw map (5 + classes, rows, columns), after suppression.

    Source: the project's README and picture test, as its card says: objectness ** 0.6 * class ** 0.4, centre
    measured from the cell's corner.
    """
    _, rows, columns = raw.shape
    classes = raw[5:].argmax(0)
    scores = np.clip(raw[0], 0, None) ** 0.6 * np.clip(raw[5:].max(0), 0, None) ** 0.4
    row, column = np.mgrid[0:rows, 0:columns]
    x = (column + np.tanh(raw[1])) / columns
    y = (row + np.tanh(raw[2])) / rows
    width, height = 1 / (1 + np.exp(-raw[3])), 1 / (1 + np.exp(-raw[4]))
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)
    chosen = (scores > least_score) & np.isfinite(corners).all(-1)
    return suppress(Boxes(corners[chosen], scores[chosen], classes[chosen]))


def suppress(boxes: Boxes, iou: float = SUPPRESS_IOU) -> Boxes:
    """Non-maximum suppression class by class: the best box stays, those that overlap it by more than `iou` go."""
    order = np.argsort(-boxes.scores, kind="stable")
    overlap = overlaps(boxes.corners, boxes.corners)
    kept: list[int] = []
    for index in order.tolist():
        same = [each for each in kept if boxes.classes[each] == boxes.classes[index]]
        if not same or overlap[index, same].max() <= iou:
            kept.append(index)
    return Boxes(boxes.corners[kept], boxes.scores[kept], boxes.classes[kept])


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (n, 4) with every box of `b` (m, 4): (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(-1) for each in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


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
        name = output(self._card, golden)
        for truth, other in zip(golden[name], got[name], strict=True):
            if truth.ndim != 3 or truth.shape[0] <= 5:
                raise UsageError(f"the decoder fastestdet reads maps of 5 + classes channels, not {truth.shape}")
            a = decode_fastestdet(np.asarray(truth, np.float64), self._least)
            b = decode_fastestdet(np.asarray(other, np.float64), self._least)
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
