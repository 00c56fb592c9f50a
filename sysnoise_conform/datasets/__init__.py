"""Labelled pictures as people have them: folders, lists, COCO's JSON, masks; what is wrong with them is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sysnoise_conform.datasets import classes, coco, masks, unlabelled
from sysnoise_conform.datasets.facts import DataSet, OnBad, Picture, Problem, Problems

__all__ = ["READERS", "DataSet", "OnBad", "Picture", "Problem", "read_data"]

READERS: Mapping[str, Callable[[Path, Path | None, Problems], DataSet]] = {
    "classify": classes.read,
    "detect": coco.read,
    "segment": masks.read,
    "agree": unlabelled.read,
}


def read_data(
    folder: Path, task: str, *, labels: Path | None = None, on_bad: OnBad = "fail", allow_linked: bool = False
) -> DataSet:
    """The pictures of `folder` with what `task` needs to know of each.

    `labels` is the file or folder with the labels where it does not lie at the place that its layout says. Raises
    BadInput naming the file where no layout fits, and for the first problem of a picture or label unless `on_bad` is
    `skip`; then each problem is counted in `DataSet.problems`. `allow_linked` lets links lead out of the folder.
    """
    return READERS[task](folder, labels, Problems(on_bad, allow_linked=allow_linked))
