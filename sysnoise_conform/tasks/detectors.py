"""Decoders of detectors' raw outputs, each for one picture; boxes come out in pixels of the tensor.

A grid (FastestDet, YOLO), anchors (RetinaNet, SSD), or boxes that the graph has made itself (two-stage heads, graphs
with their own suppression). What the graph does not say, its card does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sysnoise_conform.card import Card, Heads
from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.tasks import arithmetic
from sysnoise_conform.tasks.boxes import Boxes, from_centres, suppress
from sysnoise_conform.tasks.decoding import EXP_LIMIT, Decoding
from sysnoise_conform.tasks.meter import output

Tensors = Mapping[str, np.ndarray]

SCORE = 0.01  # what average precision keeps by default
MOST_CANDIDATES = 1000  # that suppression looks at, as RetinaNet and SSD have it
_VARIANCES = (0.1, 0.1, 0.2, 0.2)  # SSD's, where the card says none


def decode(card: Card, outputs: Tensors, size: tuple[int, int], how: Decoding) -> Boxes:
    """The boxes of one picture, after suppression; outputs have a batch dimension of 1, `size` is the tensor's.

    Raises UsageError where the outputs are not what the card's decoder reads.
    """
    least = SCORE if how.score is None else how.score  # the card's threshold is what people are shown, not what counts
    match card.decoder:
        case "fastestdet":
            found = _fastestdet(outputs[output(card, outputs)][0], size, how)
        case "yolov5" | "yolov8":
            found = _yolo(outputs[output(card, outputs)][0], card, how)
        case "anchors":
            found = _anchors(card, outputs, size, how, least)
        case "boxes":
            found = _boxes(card, outputs, size, least)
        case _:
            raise UsageError(f"the card {one_line(card.name)!r} has the decoder {card.decoder!r}, which makes no boxes")
    kept = found.scores >= least if how.score_at_least else found.scores > least
    found = found.chosen(kept & np.isfinite(found.corners).all(-1))
    iou = how.iou if how.iou is not None else card.heads.iou
    return found if iou is None else suppress(found, iou, how)


def _fastestdet(raw: np.ndarray, size: tuple[int, int], how: Decoding) -> Boxes:
    """FastestDet's map (5 + classes, rows, columns).

    Source: the project's README and picture test: objectness ** 0.6 * class ** 0.4, centre measured from the cell's
    corner.
    """
    if raw.ndim != 3 or raw.shape[0] <= 5:
        raise UsageError(f"the decoder fastestdet reads maps of 5 + classes channels, not {raw.shape}")
    raw = np.asarray(raw, np.float64)
    _, rows, columns = raw.shape
    classes, best = _largest(raw[5:].reshape(raw.shape[0] - 5, -1).T, how)
    scores = np.clip(raw[0].reshape(-1), 0, None) ** 0.6 * np.clip(best, 0, None) ** 0.4
    row, column = np.mgrid[0:rows, 0:columns]
    x = (column + arithmetic.tanh(raw[1], how.arithmetic)) / columns * size[1]
    y = (row + arithmetic.tanh(raw[2], how.arithmetic)) / rows * size[0]
    width = arithmetic.sigmoid(raw[3], how.arithmetic) * size[1]
    height = arithmetic.sigmoid(raw[4], how.arithmetic) * size[0]
    return Boxes(from_centres(x, y, width, height, how).reshape(-1, 4), scores, classes)


def _yolo(raw: np.ndarray, card: Card, how: Decoding) -> Boxes:
    """YOLO's exported head: (n, 5 + classes) with objectness for v5, (4 + classes, n) without for v8; pixels."""
    rows = np.asarray(raw, np.float64)
    if rows.ndim != 2:
        raise UsageError(f"the decoder {card.decoder} reads a table of boxes, not {raw.shape}")
    first = 5 if card.decoder == "yolov5" else 4
    if card.decoder == "yolov8" and rows.shape[0] <= rows.shape[1]:
        rows = rows.T
    if rows.shape[1] <= first:
        raise UsageError(f"the decoder {card.decoder} reads {first} + classes numbers a box, not {rows.shape[1]}")
    classes, best = _largest(rows[:, first:], how)
    scores = best * rows[:, 4] if card.decoder == "yolov5" else best
    x, y, width, height = rows[:, :4].T
    return Boxes(from_centres(x, y, width, height, how), scores, classes)


def _anchors(card: Card, outputs: Tensors, size: tuple[int, int], how: Decoding, least: float) -> Boxes:
    """Class scores (n, classes) and offsets (n, 4) on anchors: RetinaNet (sigmoid), SSD (softmax, a background class).

    Source: Girshick 2015 and Ren et al. 2015: x = dx * w + x_a, w = exp(dw) * w_a, each offset times its variance.
    """
    heads = card.heads
    scores = _table(card, outputs, heads.scores, "scores")
    deltas = _table(card, outputs, heads.boxes, "boxes")
    anchors = made_anchors(heads, size)
    if not len(scores) == len(deltas) == len(anchors) or deltas.shape[1] != 4:
        raise UsageError(
            f"the card {one_line(card.name)!r} makes {len(anchors)} anchors for {len(scores)} scores and"
            f" {deltas.shape} offsets",
            hint="correct the strides, sizes and ratios of its [heads]",
        )
    match heads.activation:
        case "sigmoid":
            scores = arithmetic.sigmoid(scores, how.arithmetic)
        case "softmax":
            scores = arithmetic.softmax(scores, how.arithmetic)
        case _:
            pass
    if heads.background == "first":
        scores = scores[:, 1:]
    elif heads.background == "last":
        scores = scores[:, :-1]
    last = 1.0 if how.offset_anchors else 0.0
    low, high = anchors[:, :2], anchors[:, 2:] - last
    # Code that means x2 - x1 + 1 throughout adds the pixel again; anchors of the one kind read by the other lose it.
    span = high - low + (last if how.offset_decode_tail else 0.0)
    centre = low + span / 2
    scaled = deltas * np.asarray(heads.variances or _VARIANCES)
    if how.exp_clamp:
        scaled[:, 2:] = np.minimum(scaled[:, 2:], EXP_LIMIT)
    middle = centre + scaled[:, :2] * span
    side = arithmetic.exp(scaled[:, 2:], how.arithmetic) * span
    corners = from_centres(middle[:, 0], middle[:, 1], side[:, 0], side[:, 1], how)
    return _best(corners, scores, least)


def _best(corners: np.ndarray, scores: np.ndarray, least: float) -> Boxes:
    """One box for each class that may be shown, the best thousand: an anchor can hold several."""
    box, kind = np.nonzero(scores >= least)
    found = Boxes(corners[box], scores[box, kind], kind)
    return found.chosen(np.sort(np.argsort(-found.scores, kind="stable")[:MOST_CANDIDATES]))


def made_anchors(heads: Heads, size: tuple[int, int]) -> np.ndarray:
    """Corners (n, 4) in pixels: level by level, row by row, size by size with each ratio (height / width).

    A size that is a pair is a width and a height of its own, without ratios.
    """
    found = []
    for stride, sizes in zip(heads.strides, heads.sizes, strict=True):
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        shapes = [shape for each in sizes for shape in _shapes(each, heads.ratios)]
        wide = np.array(shapes) / 2
        y, x = np.mgrid[0:rows, 0:columns]
        centre = (np.stack([x, y], axis=-1).reshape(-1, 1, 2) + heads.centre) * stride
        found.append(np.concatenate([centre - wide, centre + wide], axis=-1).reshape(-1, 4))
    return np.concatenate(found) if found else np.empty((0, 4))


def _shapes(size: float | tuple[float, float], ratios: tuple[float, ...]) -> list[tuple[float, float]]:
    """Width and height of the anchors of a size."""
    if isinstance(size, tuple):
        return [size]
    return [(size / ratio**0.5, size * ratio**0.5) for ratio in ratios]


def _boxes(card: Card, outputs: Tensors, size: tuple[int, int], least: float) -> Boxes:
    """Boxes that the graph made: corners (n, 4), scores (n,) or (n, classes), classes (n,) where it has them."""
    heads = card.heads
    corners = _table(card, outputs, heads.boxes, "boxes")
    if heads.normalised:
        corners = corners * np.array([size[1], size[0]] * 2)
    scores = np.asarray(outputs[_named(card, outputs, heads.scores, "scores")], np.float64)
    if corners.shape[1] != 4 or scores.size % max(1, len(corners)) or (scores.size and not len(corners)):
        raise UsageError(f"the decoder boxes reads boxes (n, 4) and scores (n,), not {corners.shape}, {scores.shape}")
    scores = scores.reshape(len(corners), -1) if len(corners) else np.empty((0, 1))
    if heads.classes:
        told = np.asarray(outputs[_named(card, outputs, heads.classes, "classes")]).reshape(-1)
        if told.size and not (told == np.floor(told)).any() and np.isfinite(told).all():
            raise UsageError(
                f"the card {one_line(card.name)!r} names {one_line(heads.classes, 60)!r} for classes, and none of its"
                " values is a whole number",
                hint="correct [heads] in the card",
            )
        classes = told.astype(np.int64)
        if len(classes) != len(corners):
            raise UsageError(f"the decoder boxes reads a class for each box, not {len(classes)} for {len(corners)}")
        return Boxes(corners, scores[:, 0], classes - heads.first_class)
    found = _best(corners, scores, least)
    return Boxes(found.corners, found.scores, found.classes - heads.first_class)


def _table(card: Card, outputs: Tensors, name: str, key: str) -> np.ndarray:
    found = np.asarray(outputs[_named(card, outputs, name, key)], np.float64)
    if not found.ndim:
        raise UsageError(f"the output {one_line(name)!r} for {key} is a single number")
    return found.reshape(-1, found.shape[-1]) if found.shape[-1] else found.reshape(0, 4)


def _named(card: Card, outputs: Tensors, name: str, key: str) -> str:
    if name not in outputs:
        known = ", ".join(one_line(each, 60) for each in outputs)
        raise UsageError(
            f"the card {one_line(card.name)!r} does not name an output of the model for {key}",
            hint=f"there are {known}",
        )
    return name


def _largest(scores: np.ndarray, how: Decoding) -> tuple[np.ndarray, np.ndarray]:
    """The class of each row (n, classes), of equal ones the first or the last, and its score."""
    classes = first_or_last(scores, how)
    return classes, scores[np.arange(len(scores)), classes]


def first_or_last(scores: np.ndarray, how: Decoding) -> Any:
    """argmax along the last axis, of equal scores the first or the last."""
    if how.argmax == "first":
        return scores.argmax(-1)
    return scores.shape[-1] - 1 - scores[..., ::-1].argmax(-1)
