"""NonMaxSuppression: whether a list of boxes is one that greedy suppression may give, scores and overlaps within reach.

Nothing is computed anew: a list is a right one if every box in it may stay and every box that is missing may have gone.
That holds for any order of scores that are a tie, and for overlaps as near to the threshold as their rounding.
"""

from __future__ import annotations

import numpy as np

from sysnoise_conform.decisions.question import Answer, Array, Question
from sysnoise_conform.decisions.reach import FLOAT32, INSIDE, reach, wide

# Areas are products of differences: a side is off by the reach of two coordinates, which counts against its length.
_NEARLY_EMPTY = 1e-3


def suppression(question: Question) -> Answer | None:
    """The backend's list where it is a right one, else PyTorch's; ties are the rows in which they differ."""
    boxes, scores = question.operand(0), question.operand(1)
    got, golden = question.got, question.golden
    if boxes is None or scores is None or got.ndim != 2 or got.shape[1] != 3:
        return None
    if np.array_equal(got, golden):
        return Answer(golden, 0)
    most, threshold, least = (_scalar(question, place) for place in (2, 3, 4))
    corners, slack = _corners(question, wide(boxes.data), reach(boxes))
    values, spans = wide(scores.data), reach(scores)
    batches, kinds, count = values.shape
    groups = got[:, 0] * kinds + got[:, 1]
    if (got < 0).any() or (got >= (batches, kinds, count)).any() or (np.diff(groups) < 0).any():
        return Answer(golden, 0)
    for batch in range(batches):
        for kind in range(kinds):
            chosen = got[(got[:, 0] == batch) & (got[:, 1] == kind), 2]
            right = _right(
                chosen, corners[batch], slack[batch], values[batch, kind], spans[batch, kind],
                most=int(most or 0), threshold=threshold or 0.0, least=least,
            )  # fmt: skip
            if not right:
                return Answer(golden, 0)
    same = {tuple(each) for each in golden.tolist()} & {tuple(each) for each in got.tolist()}
    return Answer(got, max(1, max(len(got), len(golden)) - len(same)))


def _right(
    chosen: Array, boxes: Array, slack: Array, scores: Array, spans: Array, *, most: int, threshold: float,
    least: float | None,
) -> bool:  # fmt: skip
    if len(chosen) > most or len(set(chosen.tolist())) < len(chosen):
        return False
    high, low = scores + spans, scores - spans
    ranked = high[chosen]
    if len(chosen) > 1 and (ranked[:-1] < low[chosen][1:]).any():  # falling scores
        return False
    if least is not None and (high[chosen] < least).any():
        return False
    closest, furthest = _overlaps(boxes, slack, chosen)
    for place in range(1, len(chosen)):
        if (furthest[:place, chosen[place]] > threshold).any():
            return False
    missing = np.setdiff1d(np.arange(len(scores)), chosen)
    if least is not None:
        missing = missing[low[missing] >= least]
    if not missing.size:
        return True
    # Gone because a better one overlaps it by more than the threshold, or because the list was full before it.
    better = high[chosen][:, None] >= low[missing][None]
    gone = (better & (closest[:, missing] > threshold)).any(axis=0)
    if len(chosen) == most:
        gone |= (high[chosen].min() if most else np.inf) >= low[missing]
    return bool(gone.all())


def _overlaps(boxes: Array, slack: Array, chosen: Array) -> tuple[Array, Array]:
    """The largest and the least overlap that each chosen box may have with each box."""
    one, other = boxes[chosen][:, None], boxes[None]
    shared = np.clip(np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]), 0, None)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    common = np.prod(shared, axis=-1)
    union = area[chosen][:, None] + area[None] - common
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where((common > 0) & (union > 0), common / union, 0.0)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], _NEARLY_EMPTY * np.abs(boxes).max(initial=0.0))
        relative = np.nan_to_num((slack[:, 2:] + slack[:, :2]) / sides).sum(axis=-1)
    span = np.abs(found) * (2 * (relative[chosen][:, None] + relative[None]) + INSIDE * FLOAT32)
    return found + span, found - span


def _corners(question: Question, boxes: Array, slack: Array) -> tuple[Array, Array]:
    """(top, left, bottom, right) of every box, and how far off each may be."""
    first, second = boxes[..., :2], boxes[..., 2:]
    here, there = slack[..., :2], slack[..., 2:]
    if question.attribute("center_point_box", 0):
        rounded = here + there / 2
        return np.concatenate([first - second / 2, first + second / 2], -1), np.concatenate([rounded, rounded], -1)
    wider = np.maximum(here, there)
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1), np.concatenate([wider] * 2, -1)


def _scalar(question: Question, place: int) -> float | None:
    operand = question.operand(place)
    return None if operand is None or not operand.data.size else float(operand.data.reshape(-1)[0])
