"""Average precision against pycocotools, on the whole set and on resamples of it."""

from __future__ import annotations

import contextlib
import io
import time

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sysnoise_conform.statistics.bootstrap import paired, replicates, resamples
from sysnoise_conform.tasks.average_precision import AREAS, Matches, match


def scene(pictures: int, detections: int, classes: int, seed: int, *, crowds: bool = False) -> tuple[dict, list[dict]]:
    """Boxes, and detections of which some lie near a box; scores have few digits, so that many are equal."""
    rng = np.random.default_rng(seed)
    images = [{"id": at + 1, "width": 640, "height": 480} for at in range(pictures)]
    truth, found = [], []
    for image in images:
        boxes = [(*rng.uniform(0, 300, 2), *rng.uniform(5, 200, 2)) for _ in range(rng.integers(0, 8))]
        kinds = rng.integers(1, classes + 1, len(boxes))
        for box, kind in zip(boxes, kinds, strict=True):
            truth.append({
                "id": len(truth) + 1, "image_id": image["id"], "category_id": int(kind), "bbox": list(map(float, box)),
                "area": float(box[2] * box[3]), "iscrowd": int(crowds and rng.random() < 0.1),
            })  # fmt: skip
        for _ in range(detections):
            at = int(rng.integers(0, len(boxes))) if boxes and rng.random() < 0.5 else None
            box = rng.uniform(5, 200, 4) if at is None else np.array(boxes[at]) + rng.normal(0, 6, 4)
            found.append({
                "image_id": image["id"],
                "category_id": int(rng.integers(1, classes + 1) if at is None or rng.random() < 0.1 else kinds[at]),
                "bbox": [float(max(1.0, each)) for each in box], "score": float(np.round(rng.random(), 2)),
            })  # fmt: skip
    return {"images": images, "annotations": truth, "categories": [{"id": k + 1} for k in range(classes)]}, found


def by_pycocotools(annotations: dict, found: list[dict], drawn: list[int]) -> dict[str, np.ndarray]:
    """The set that a resample stands for: every drawn picture under an id of its own, equal ones side by side."""
    images, truth, made = [], [], []
    for new, old in enumerate(sorted(drawn), start=1):
        images.append({**annotations["images"][old - 1], "id": new})
        truth += [{**each, "image_id": new} for each in annotations["annotations"] if each["image_id"] == old]
        made += [{**each, "image_id": new} for each in found if each["image_id"] == old]
    truth = [{**each, "id": at + 1} for at, each in enumerate(truth)]
    made = [
        {**each, "id": at + 1, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]} for at, each in enumerate(made)
    ]
    sets = []
    with contextlib.redirect_stdout(io.StringIO()):
        for records in (truth, made):
            coco = COCO()
            coco.dataset = {"images": images, "categories": annotations["categories"], "annotations": records}
            coco.createIndex()
            sets.append(coco)
        run = COCOeval(*sets, "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"]  # thresholds, recalls, classes, areas, most detections
    mean = {}
    for at, area in enumerate(AREAS):
        one = precision[:, :, :, at, -1]
        mean[area] = np.array([row[row > -1].mean() if (row > -1).any() else np.nan for row in one])
    return mean


def whole(annotations: dict, found: list[dict]) -> Matches:
    return match(annotations, found, [each["id"] for each in annotations["images"]])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowds", [False, True])
def test_all_pictures_give_pycocotools_figures(seed: int, crowds: bool) -> None:
    annotations, found = scene(25, 12, 5, seed, crowds=crowds)
    ours, theirs = whole(annotations, found), by_pycocotools(annotations, found, list(range(1, 26)))
    for area in AREAS:
        np.testing.assert_allclose(ours.precision(area=area)[0], theirs[area], atol=1e-12)
    assert ours.figures()["mAP"] == pytest.approx(theirs["all"].mean(), abs=1e-12)


@pytest.mark.parametrize("crowds", [False, True])
def test_twenty_replicates_are_pycocotools_on_the_resampled_set(crowds: bool) -> None:
    annotations, found = scene(18, 10, 4, 7, crowds=crowds)
    ours = whole(annotations, found)
    times = next(resamples(18, seed=3))[:20]
    replicates = {area: ours.precision(times, area=area) for area in AREAS}
    for row, count in enumerate(times):
        drawn = [at + 1 for at, each in enumerate(count) for _ in range(each)]
        theirs = by_pycocotools(annotations, found, drawn)
        for area in AREAS:
            np.testing.assert_allclose(replicates[area][row], theirs[area], atol=1e-9)


def test_nothing_found_and_nothing_there() -> None:
    annotations, found = scene(3, 0, 2, 1)
    assert whole(annotations, []).figures()["mAP"] == 0
    annotations["annotations"] = []
    assert np.isnan(whole(annotations, found).figures()["mAP"])


def test_a_bootstrap_of_the_same_detections_shows_no_drop() -> None:
    annotations, found = scene(20, 10, 4, 5)
    ours = whole(annotations, found)
    once, again = (replicates(lambda t: ours.precision(t).mean(1), 20, seed=1, count=200) for _ in range(2))
    drops = paired(once, again)
    assert not drops.drops.any()
    assert drops.p() == 1.0


def test_replicates_cost_little() -> None:
    """The committed figure is that of tests/benchmarks; this holds the order of magnitude."""
    annotations, found = scene(200, 100, 10, 9)
    ours = whole(annotations, found)
    before = time.perf_counter()
    for times in resamples(200, seed=1, count=256):
        ours.precision(times)
    assert time.perf_counter() - before < 8
