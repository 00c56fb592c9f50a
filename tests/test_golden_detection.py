from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from golden_oracle import assert_agrees, run

from sysnoise_conform.errors import BadModel


@pytest.mark.parametrize("seed", range(12))
def test_non_max_suppression_agrees_with_onnxruntime(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.random((2, 30, 4)).astype(np.float32) * 10
    scores = rng.random((2, 3, 30)).astype(np.float32)
    if seed % 3 == 0:
        scores = np.round(scores * 4) / 4  # ties
    feeds = {
        "b": boxes, "s": scores, "m": np.array([int(rng.integers(0, 12))]),
        "i": np.array([(0.1, 0.3, 0.5, 0.9)[seed % 4]], np.float32), "t": np.array([0.3], np.float32),
    }  # fmt: skip
    assert_agrees("NonMaxSuppression", feeds, opset=10 + seed % 2, center_point_box=seed % 2)


def test_a_score_at_the_threshold_stays_and_an_overlap_at_the_threshold_too() -> None:
    boxes = np.array([[[0, 0, 2, 1], [0, 0, 1, 1]]], np.float32)  # their overlap is exactly a half
    feeds = {
        "b": boxes, "s": np.array([[[0.5, 0.25]]], np.float32), "m": np.array([5]), "i": np.array([0.5], np.float32),
        "t": np.array([0.25], np.float32),
    }  # fmt: skip
    (rows,) = run("NonMaxSuppression", feeds, opset=11)
    assert rows.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_no_box_is_wanted_by_default() -> None:
    feeds = {"b": np.zeros((1, 2, 4), np.float32), "s": np.ones((1, 1, 2), np.float32)}
    (rows,) = run("NonMaxSuppression", feeds, opset=11)
    assert rows.shape == (0, 3)


@pytest.mark.parametrize(
    ("mode", "ratio", "rule"), list(product(("avg", "max"), (0, 1, 2, 3), (None, "half_pixel", "output_half_pixel")))
)
def test_roi_align_agrees_with_onnxruntime(mode: str, ratio: int, rule: str | None) -> None:
    rng = np.random.default_rng(ratio)
    first = rng.uniform(-3, 14, (5, 2))
    rois = np.concatenate([first, first + rng.uniform(-0.5, 9, (5, 2))], 1).astype(np.float32)
    feeds = {"x": rng.standard_normal((2, 3, 9, 11)).astype(np.float32), "r": rois, "b": rng.integers(0, 2, 5)}
    attributes = {} if rule is None else {"coordinate_transformation_mode": rule}
    assert_agrees(
        "RoiAlign", feeds, opset=10 if rule is None else 16, mode=mode, output_height=3, output_width=2,
        sampling_ratio=ratio, spatial_scale=0.5, **attributes,
    )  # fmt: skip


def test_a_region_of_a_missing_image_is_bad() -> None:
    feeds = {"x": np.ones((1, 1, 4, 4), np.float32), "r": np.zeros((1, 4), np.float32), "b": np.array([1])}
    with pytest.raises(BadModel, match="batch_indices"):
        run("RoiAlign", feeds, opset=16)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_max_roi_pool_agrees_with_onnxruntime(scale: float) -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(-3, 14, (6, 2))
    rois = np.concatenate([rng.integers(0, 2, (6, 1)), first, first + rng.uniform(0, 9, (6, 2))], 1).astype(np.float32)
    feeds = {"x": rng.standard_normal((2, 3, 9, 11)).astype(np.float32), "r": rois}
    assert_agrees("MaxRoiPool", feeds, opset=7, pooled_shape=[3, 2], spatial_scale=scale)
