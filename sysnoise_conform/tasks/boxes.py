"""Boxes: what they are, how they overlap, which of them stay, and where they lie on the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.tasks.decoding import Decoding

MOST = 100  # of a picture, as COCO's figures have it


@dataclass(frozen=True, slots=True)
class Boxes:
    """Corners (n, 4) as x1, y1, x2, y2; scores (n,); classes (n,)."""

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def chosen(self, which: np.ndarray) -> Boxes:
        """Those at the given places, or where a mask is true."""
        return Boxes(self.corners[which], self.scores[which], self.classes[which])


def overlaps(a: np.ndarray, b: np.ndarray, *, offset: float = 0.0) -> np.ndarray:
    """Intersection over union of every box of `a` (n, 4) with every box of `b` (m, 4): (n, m).

    With `offset` 1 a side is x2 - x1 + 1 long.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low + offset, 0, None).prod(-1)
    areas = [np.clip(each[:, 2:] - each[:, :2] + offset, 0, None).prod(-1) for each in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def suppress(boxes: Boxes, iou: float, how: Decoding) -> Boxes:
    """Non-maximum suppression: the best box stays, those that overlap it by more than `iou` go, and so on.

    Class by class unless `how` says else. The order is by score, of equal ones the first or the last first.
    """
    if not len(boxes.scores):
        return boxes
    order = np.argsort(-boxes.scores, kind="stable")
    if how.tie == "last":
        order = len(order) - 1 - np.argsort(-boxes.scores[::-1], kind="stable")
    overlap = overlaps(boxes.corners, boxes.corners, offset=1.0 if how.offset_nms else 0.0)
    close = overlap >= iou if how.nms_at_least else overlap > iou
    if how.class_aware:
        close &= boxes.classes[:, None] == boxes.classes[None, :]
    gone = np.zeros(len(order), bool)
    kept = []
    for index in order.tolist():
        if not gone[index]:
            kept.append(index)
            gone |= close[index]
    return boxes.chosen(np.asarray(kept, np.int64))


def on_picture(boxes: Boxes, placement: Placement, how: Decoding, *, clip: bool) -> Boxes:
    """Boxes of the tensor in pixels of the picture, the best hundred; with `clip` within the picture."""
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    shift = np.array([placement.left, placement.top] * 2)
    corners = (boxes.corners - shift) / scale
    corners = rounded(corners, how)
    if clip:
        last = 1.0 if how.offset_clip else 0.0
        corners = np.clip(corners, 0, np.array([placement.width - last, placement.height - last] * 2))
    best = np.argsort(-boxes.scores, kind="stable")[:MOST]
    return Boxes(corners, boxes.scores, boxes.classes).chosen(best)


def rounded(corners: np.ndarray, how: Decoding) -> np.ndarray:
    """Corners as whole pixels, or as they are; `outer` makes the box no smaller."""
    match how.coordinates:
        case "none":
            return corners
        case "floor":
            return np.asarray(np.floor(corners))
        case "ceil":
            return np.asarray(np.ceil(corners))
        case "round":
            return np.asarray(np.rint(corners))
        case "outer":
            return np.concatenate([np.floor(corners[:, :2]), np.ceil(corners[:, 2:])], axis=1)


def from_centres(
    x: np.ndarray, y: np.ndarray, width: np.ndarray, height: np.ndarray, how: Decoding
) -> np.ndarray:
    """Corners (..., 4) of boxes by their centres; a pixel less at the end where the offset of the tail is on."""
    last = 1.0 if how.offset_decode_tail else 0.0
    return np.stack([x - width / 2, y - height / 2, x + width / 2 - last, y + height / 2 - last], axis=-1)


def as_coco(boxes: Boxes, how: Decoding) -> np.ndarray:
    """x, y, width, height (n, 4), as COCO's records have them."""
    more = 1.0 if how.offset_xyxy2xywh else 0.0
    return np.concatenate([boxes.corners[:, :2], boxes.corners[:, 2:] - boxes.corners[:, :2] + more], axis=1)
