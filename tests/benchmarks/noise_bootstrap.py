"""The paired bootstrap of mAP at the size of COCO's validation set.

Run: python tests/benchmarks/noise_bootstrap.py [PICTURES].
"""

from __future__ import annotations

import sys
import time

import numpy as np
from section import Figure, Section

from sysnoise_conform.statistics.bootstrap import RESAMPLES, replicates
from sysnoise_conform.tasks.average_precision import ClassMatches, Matches

TITLE = "The bootstrap of mAP"

PICTURES, DETECTIONS, CLASSES, BOXES = 5000, 100, 80, 7.36  # COCO val2017: 36,781 boxes
THRESHOLDS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0.0, 1.0, 101)
TARGET_S = 30.0

TEXT = f"""
{RESAMPLES} resamples of {PICTURES:,} pictures with {DETECTIONS} detections each, {CLASSES} classes of unequal size as
COCO's are, all ten thresholds of the IoU, 101 recalls. What is timed is the mAP of every resample, from the matches of
each picture, which are made once; a drop takes two of them, of which the baseline's is made once for all cells.
`tests/statistics/test_average_precision.py` holds the same code against pycocotools on the resampled pictures.
"""


def matches(pictures: int) -> Matches:
    """Detections of random scores, of which as many are true as a good detector's are; boxes as frequent as COCO's."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASSES + 1)
    share /= share.sum()
    kind = rng.choice(CLASSES, pictures * DETECTIONS, p=share)
    picture = np.repeat(np.arange(pictures), DETECTIONS)
    score = rng.random(pictures * DETECTIONS)
    classes = []
    for each in range(CLASSES):
        mine = np.flatnonzero(kind == each)
        mine = mine[np.argsort(-score[mine], kind="stable")]
        # Of a hundred detections of a picture about six are true at 0.5, and ever fewer above.
        chance = 0.12 * score[mine] * np.linspace(1.0, 0.25, len(THRESHOLDS))[:, None]
        true = rng.random(len(mine)) < chance
        boxes = rng.poisson(BOXES * share[each], pictures).astype(np.int64)
        passed = ~true & (rng.random(len(mine)) < 0.01)  # crowds
        classes.append(ClassMatches(picture=picture[mine], true=true, passed=passed, boxes=boxes))
    return Matches(by_area={"all": tuple(classes)}, thresholds=THRESHOLDS, recalls=RECALLS, pictures=pictures)


def measure(pictures: int = PICTURES) -> Section:
    """One bootstrap."""
    made = matches(pictures)
    began = time.perf_counter()
    figures = replicates(lambda times: made.precision(times).mean(axis=1), pictures, seed=0)
    seconds = time.perf_counter() - began
    assert figures.shape == (RESAMPLES,)
    assert np.isfinite(figures).all()
    sys.stderr.write(f"{seconds:.1f} s, {time.process_time():.1f} s of processors\n")
    return Section(
        title=TITLE,
        figures=(Figure(what=f"bootstrap of mAP, {pictures:,} pictures", value=seconds, unit="s", target=TARGET_S),),
        text=TEXT,
    )


if __name__ == "__main__":
    sys.stdout.write(measure(*(int(each) for each in sys.argv[1:])).markdown() + "\n")
