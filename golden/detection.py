"""Boxes: NonMaxSuppression, RoiAlign, MaxRoiPool."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sysnoise_conform.golden.op import Call, op


def _scalar(value: Tensor | None, default: float) -> float:
    return default if value is None or value.numel() == 0 else float(value.reshape(-1)[0])


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of one (top, left, bottom, right) with many; 0 where an area is 0."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = (others[:, 2:] - others[:, :2]).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return torch.where((shared > 0) & (union > 0), shared / union, 0)


def _greedy(boxes: Tensor, scores: Tensor, most: int, threshold: float) -> list[int]:
    """Indices into `boxes` by falling score, of equal scores the lower first, without what they overlap."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    kept: list[int] = []
    while order.numel() and len(kept) < most:
        kept.append(int(order[0]))
        free = _overlap(boxes[0], boxes[1:]) <= threshold
        order, boxes = order[1:][free], boxes[1:][free]
    return kept


@op("NonMaxSuppression", since=10)
def non_max_suppression(
    call: Call, boxes: Tensor, scores: Tensor, max_output_boxes_per_class: Tensor | None = None,
    iou_threshold: Tensor | None = None, score_threshold: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(batch, class, box) of the boxes that survive, from `boxes` (B, N, 4) and `scores` (B, classes, N).

    A box goes when it overlaps a better one by strictly more than `iou_threshold`, or scores less
    than `score_threshold`.
    """
    if boxes.dim() != 3 or boxes.shape[2] != 4 or scores.dim() != 3 or scores.shape[::2] != boxes.shape[:2]:
        call.bad(f"boxes of shape {list(boxes.shape)} with scores of shape {list(scores.shape)}")
    most = int(_scalar(max_output_boxes_per_class, 0))
    threshold = _scalar(iou_threshold, 0.0)
    if not 0 <= threshold <= 1:
        call.bad(f"iou_threshold {threshold} lies outside [0, 1]")
    if bool(torch.isnan(scores).any()):
        call.unsupported("a score that is NaN has no rank")
    if call.get("center_point_box", 0):
        half = boxes[..., 2:] / 2
        corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)
    else:
        # Any diagonal pair of corners is allowed.
        first, second = boxes[..., :2], boxes[..., 2:]
        corners = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
    rows = []
    for batch in range(scores.shape[0]):
        for kind in range(scores.shape[1]):
            each = scores[batch, kind]
            wanted = torch.arange(each.shape[0])
            if score_threshold is not None and score_threshold.numel():
                wanted = wanted[each >= score_threshold.reshape(-1)[0]]
            kept = _greedy(corners[batch, wanted], each[wanted], most, threshold)
            rows += [(batch, kind, int(wanted[index])) for index in kept]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def _samples(start: Tensor, length: Tensor, bins: int, each: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one axis: (lower index, upper index, weight of the upper, inside), each (bins * each)."""
    step = length / bins
    at = start + (torch.arange(bins, dtype=start.dtype)[:, None] * step
                  + (torch.arange(each, dtype=start.dtype) + 0.5) * step / each)  # fmt: skip
    at = at.reshape(-1)
    inside = (at >= -1) & (at <= size)
    at = at.clamp(min=0, max=size - 1)
    low = at.floor()
    return low.to(torch.int64), (low + 1).clamp(max=size - 1).to(torch.int64), at - low, inside


@op("RoiAlign", since=10)
def roi_align(call: Call, x: Tensor, rois: Tensor, batch_indices: Tensor) -> Tensor:
    """Each region (x1, y1, x2, y2) of `x` (N, C, H, W) sampled bilinearly into (rois, C, oH, oW).

    Before opset 16 the coordinates are those of `output_half_pixel`.
    """
    height, width = int(call.get("output_height", 1)), int(call.get("output_width", 1))
    ratio, mode = int(call.get("sampling_ratio", 0)), str(call.get("mode", "avg"))
    rule = str(call.get("coordinate_transformation_mode", "half_pixel")) if call.opset >= 16 else "output_half_pixel"
    if mode not in ("avg", "max") or rule not in ("half_pixel", "output_half_pixel"):
        call.bad(f"mode {mode!r} with coordinate_transformation_mode {rule!r}")
    if x.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 4 or min(height, width) < 1 or ratio < 0:
        call.bad(f"an input {list(x.shape)} with regions {list(rois.shape)}")
    if tuple(batch_indices.shape) != (rois.shape[0],) or bool(
        ((batch_indices < 0) | (batch_indices >= x.shape[0])).any()
    ):
        call.bad(f"batch_indices {list(batch_indices.shape)} for {rois.shape[0]} regions of {x.shape[0]} images")
    scale, shift = float(call.get("spatial_scale", 1.0)), 0.5 if rule == "half_pixel" else 0.0
    pooled = x.new_zeros((rois.shape[0], x.shape[1], height, width))
    for index in range(rois.shape[0]):
        corners = rois[index] * scale - shift
        extent = corners[2:] - corners[:2]
        if rule == "output_half_pixel":
            extent = extent.clamp(min=1.0)
        grid = [ratio or _grid(extent[axis], bins) for axis, bins in ((1, height), (0, width))]
        if min(grid) < 1:
            continue  # an empty region has no sample: zero
        image = x[int(batch_indices[index])]
        vertical = _samples(corners[1], extent[1], height, grid[0], x.shape[2])
        horizontal = _samples(corners[0], extent[0], width, grid[1], x.shape[3])
        pooled[index] = _pool_bins(image, vertical, horizontal, (height, grid[0], width, grid[1]), mode)
    return pooled


def _grid(extent: Tensor, bins: int) -> int:
    """How many samples an adaptive grid takes per bin: a decision taken in the declared float32."""
    return ceil(float(np.float32(float(extent)) / np.float32(bins)))


def _pool_bins(
    image: Tensor,
    vertical: tuple[Tensor, ...],
    horizontal: tuple[Tensor, ...],
    shape: tuple[int, int, int, int],
    mode: str,
) -> Tensor:
    low_y, high_y, up_y, in_y = vertical
    low_x, high_x, up_x, in_x = horizontal
    inside = (in_y[:, None] & in_x[None, :]).to(image.dtype)
    corners = [
        image[:, rows][:, :, columns] * (weight_y[:, None] * weight_x[None, :] * inside)
        for rows, weight_y in ((low_y, 1 - up_y), (high_y, up_y))
        for columns, weight_x in ((low_x, 1 - up_x), (high_x, up_x))
    ]
    binned = (image.shape[0], *shape)
    if mode == "avg":
        return torch.stack(corners).sum(dim=0).reshape(binned).mean(dim=(2, 4))
    # ONNX's own test and the runtimes take the largest weighted corner, not the largest interpolated value.
    return torch.stack(corners).amax(dim=0).reshape(binned).amax(dim=(2, 4))


def _round_half_away(value: np.float32) -> int:
    return int(np.trunc(value + np.copysign(np.float32(0.5), value)))


@op("MaxRoiPool")
def max_roi_pool(call: Call, x: Tensor, rois: Tensor) -> Tensor:
    """The largest element of each bin of each region (batch, x1, y1, x2, y2); an empty bin is 0.

    Corners are rounded to elements and both belong to the region, as in Fast R-CNN.
    """
    shape: tuple[int, ...] = tuple(call.get("pooled_shape") or ())
    if x.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 5 or len(shape) != 2 or min(shape) < 1:
        call.bad(f"an input {list(x.shape)} with regions {list(rois.shape)} and pooled_shape {list(shape)}")
    scale = np.float32(call.get("spatial_scale", 1.0))
    pooled = x.new_zeros((rois.shape[0], x.shape[1], *shape))
    # The corners are rounded to elements: a decision taken in the declared float32.
    regions: list[npt.NDArray[np.float32]] = list(rois.to(torch.float32).cpu().numpy())
    for index, region in enumerate(regions):
        if not 0 <= int(region[0]) < x.shape[0]:
            call.bad(f"region {index} lies in image {int(region[0])} of {x.shape[0]}")
        left, top, right, bottom = (_round_half_away(value * scale) for value in region[1:])
        spans = [
            _bins(first, last, count, size)
            for first, last, count, size in ((top, bottom, shape[0], x.shape[2]), (left, right, shape[1], x.shape[3]))
        ]
        image = x[int(region[0])]
        for row, rows in enumerate(spans[0]):
            for column, columns in enumerate(spans[1]):
                cell = image[:, rows, columns]
                if cell.shape[1] and cell.shape[2]:
                    pooled[index, :, row, column] = cell.amax(dim=(1, 2))
    return pooled


def _bins(first: int, last: int, count: int, size: int) -> list[slice]:
    step = np.float32(max(last - first + 1, 1)) / np.float32(count)
    edges = [
        (floor(np.float32(each) * step) + first, ceil(np.float32(each + 1) * step) + first) for each in range(count)
    ]
    return [slice(min(max(low, 0), size), min(max(high, 0), size)) for low, high in edges]
