"""COCO's average precision from what was kept of each picture: for all of them, or for any resample of them at once.

The matching is pycocotools' own; what it leaves for each picture (which detections are true, which are passed over) is
kept and accumulated here with a weight for each picture. A picture that is drawn twice counts as two equal ones.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

AREAS = ("all", "small", "medium", "large")
MOST_DETECTIONS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMatches:
    """One class and one range of areas: its detections, best first, and its boxes.

    `picture` (detections,) is the position of the picture of each, `true` and `passed` (thresholds, detections) whether
    it is true, or passed over because it lies outside the range or on a crowd; `boxes` (pictures,) how many count.
    """

    picture: np.ndarray
    true: np.ndarray
    passed: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """All classes, by range of areas; `thresholds` are those of the IoU, `recalls` where precision is read."""

    by_area: Mapping[str, tuple[ClassMatches, ...]]
    thresholds: np.ndarray
    recalls: np.ndarray
    pictures: int

    def precision(self, times: np.ndarray | None = None, *, area: str = "all") -> np.ndarray:
        """AP by threshold (replicates, thresholds), the mean over classes that have boxes; NaN where none has.

        `times` (replicates, pictures) says how often each picture counts, once by default.
        """
        times = np.ones((1, self.pictures), np.int32) if times is None else times
        total: np.ndarray = np.zeros((len(times), len(self.thresholds)))
        classes = np.zeros(len(times), np.int64)
        for each in self.by_area[area]:
            boxes = times @ each.boxes
            total += np.where(boxes[:, None] > 0, _class_precision(each, times, boxes, self.recalls), 0.0)
            classes += boxes > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(classes[:, None] > 0, total / classes[:, None], np.nan))

    def figures(self) -> dict[str, float]:
        """mAP over IoU .5 to .95, AP50, AP75 and mAP by area, 0..1; NaN where no box counts."""
        everywhere = self.precision()[0]
        found = {
            "mAP": float(everywhere.mean()),
            "AP50": float(everywhere[np.isclose(self.thresholds, 0.5)].mean()),
            "AP75": float(everywhere[np.isclose(self.thresholds, 0.75)].mean()),
        }
        return found | {f"mAP_{area}": float(self.precision(area=area)[0].mean()) for area in AREAS[1:]}


def _class_precision(each: ClassMatches, times: np.ndarray, boxes: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """(replicates, thresholds). Its envelope changes at true detections alone: only these are looked at.

    The mean of the envelope over the recalls is a sum over true detections: each counts for as many recalls as it is
    the first to reach.
    """
    found = np.zeros((len(times), len(each.true)))
    true = each.true & ~each.passed
    looked_at = np.flatnonzero(true.any(axis=0))
    if not looked_at.size:
        return found
    weight = np.take(times, each.picture, axis=1)
    # Detections up to each that is looked at, itself included.
    stretches = np.concatenate([[0], looked_at[:-1] + 1])
    seen = np.add.reduceat(weight[:, : looked_at[-1] + 1], stretches, axis=1).cumsum(axis=1, dtype=np.int32)
    own = np.take(weight, looked_at, axis=1)
    reached = _recalls_reached(_least_count(recalls, boxes), int(own.sum(axis=1).max()))
    rows = np.arange(len(times))[:, None] * reached.shape[1]
    for at, passed in enumerate(each.passed):
        where = np.flatnonzero(true[at, looked_at])
        if not where.size:
            continue
        hits = np.take(own, where, axis=1).cumsum(axis=1, dtype=np.int32)
        so_far = np.take(seen, where, axis=1)
        left_out = np.flatnonzero(passed)
        if left_out.size:  # few: those on crowds, or outside a range of areas
            fewer = np.zeros((len(times), len(left_out) + 1), np.int32)
            np.take(weight, left_out, axis=1).cumsum(axis=1, out=fewer[:, 1:])
            so_far -= np.take(fewer, np.searchsorted(left_out, looked_at[where]), axis=1)
        precision = hits / (so_far + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        levels = np.take(reached.reshape(-1), hits + rows)
        first_to_reach = np.diff(levels, axis=1, prepend=0)
        found[:, at] = np.einsum("ij,ij->i", envelope, first_to_reach) / len(recalls)
    return found


def _recalls_reached(needed: np.ndarray, most: int) -> np.ndarray:
    """(replicates, most + 1): how many recalls so many hits reach, of those that are `needed` (replicates, recalls)."""
    width = most + 2
    rows = np.arange(len(needed))[:, None] * width
    at = np.bincount((np.minimum(needed, most + 1) + rows).reshape(-1), minlength=len(needed) * width)
    return np.asarray(at.reshape(-1, width)[:, :-1].cumsum(axis=1), np.float64)


def _least_count(recalls: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(replicates, recalls): the least number of hits whose share of the boxes, in floating point, reaches a recall."""
    count = np.maximum(boxes, 1)[:, None]
    guess = np.maximum(np.floor(recalls[None] * count).astype(np.int64) - 1, 0)
    for _ in range(3):
        guess = np.where(guess / count >= recalls[None], guess, guess + 1)
    return np.asarray(guess)


def match(annotations: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], pictures: Sequence[int]) -> Matches:
    """Match detections (COCO's result records) with annotations over the pictures of these ids, in this order.

    Raises what pycocotools raises for records that are not COCO's.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress
        truth = COCO()
        truth.dataset = dict(annotations)
        truth.createIndex()
        made = COCO()
        made.dataset = {
            "images": annotations["images"],
            "categories": annotations["categories"],
            "annotations": [
                {
                    **each, "id": at + 1, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3],
                }
                for at, each in enumerate(detections)
            ],
        }  # fmt: skip
        made.createIndex()
        run = COCOeval(truth, made, "bbox")
        run.params.imgIds = list(pictures)
        run.evaluate()
    return _kept(run, len(pictures))


def _kept(run: Any, pictures: int) -> Matches:
    params = run.params
    thresholds, recalls = np.asarray(params.iouThrs), np.asarray(params.recThrs)
    ids = list(params.imgIds)
    by_area: dict[str, tuple[ClassMatches, ...]] = {}
    # evaluate() sorts and makes the ids unique; evalImgs runs over classes, then areas, then pictures.
    per_class = len(params.areaRng) * len(ids)
    for at_area, area in enumerate(params.areaRngLbl):
        classes = []
        for at_class in range(len(params.catIds)):
            start = at_class * per_class + at_area * len(ids)
            classes.append(_one_class(run.evalImgs[start : start + len(ids)], len(thresholds), pictures))
        by_area[area] = tuple(classes)
    return Matches(by_area=by_area, thresholds=thresholds, recalls=recalls, pictures=pictures)


def _one_class(found: Sequence[Any], thresholds: int, pictures: int) -> ClassMatches:
    boxes = np.zeros(pictures, np.int64)
    scores, places, true, passed = [np.empty(0)], [np.empty(0, np.int64)], [], []
    for at, each in enumerate(found):
        if each is None:
            continue
        boxes[at] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
        kept = np.asarray(each["dtScores"])[:MOST_DETECTIONS]
        scores.append(kept)
        places.append(np.full(len(kept), at, np.int64))
        true.append(np.asarray(each["dtMatches"])[:, :MOST_DETECTIONS].reshape(thresholds, -1) > 0)
        passed.append(np.asarray(each["dtIgnore"])[:, :MOST_DETECTIONS].reshape(thresholds, -1).astype(bool))
    # As pycocotools: equal scores keep the order of the pictures.
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    nothing = np.zeros((thresholds, 0), bool)
    return ClassMatches(
        picture=np.concatenate(places)[order],
        true=np.concatenate([nothing, *true], axis=1)[:, order],
        passed=np.concatenate([nothing, *passed], axis=1)[:, order],
        boxes=boxes,
    )
