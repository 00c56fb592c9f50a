"""Segmentation with masks: mean intersection over union, from one confusion matrix for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.datasets.masks import UNSCORED, read_mask
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.statistics.bootstrap import replicates, sure
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.detectors import first_or_last
from sysnoise_conform.tasks.evaluation import Comparison, Result, Shown, resampled_gate
from sysnoise_conform.tasks.meter import output
from sysnoise_conform.tasks.pixels import TEXT_THRESHOLD

NO_ANSWER = -1  # of a pixel
CHANGED = 0.01  # of a picture's pixels: what a person would see


class Pixels:
    """mIoU over the classes that occur; every pixel of the picture is judged, at the picture's own size."""

    metric = "mIoU"

    def __init__(self, card: Card, data: DataSet) -> None:
        self._card = card
        self._data = data

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """`confusion` (classes, classes + 1): pixels by their class and by what was found, unscored ones left out.

        The last column counts those that have no answer (NaN).
        """
        found, classes = decided(self._card, outputs, how)
        picture = self._data.pictures[at]
        assert picture.mask is not None
        truth = read_mask(picture.mask, classes)
        if 0 <= truth.shape[0] - placement.height <= 1 and 0 <= truth.shape[1] - placement.width <= 1:
            truth = truth[: placement.height, : placement.width]  # a conversion took an odd row or column
        if truth.shape != (placement.height, placement.width):
            raise BadInput(
                f"the mask of {one_line(picture.name, 120)!r} is {truth.shape[1]} x {truth.shape[0]}, the picture"
                f" {placement.width} x {placement.height}"
            )
        seen = at_picture(found, placement, size)
        scored = truth != UNSCORED
        seen = np.where(seen == NO_ANSWER, classes, seen)
        flat = truth[scored].astype(np.int64) * (classes + 1) + seen[scored]
        counts = np.bincount(flat, minlength=classes * (classes + 1))
        return {"confusion": counts.reshape(classes, classes + 1)}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """`mIoU`, `pixel_accuracy` and the IoU of each class that occurs; 0..1."""
        total = np.sum([each["confusion"] for each in results], axis=0)
        found = {"mIoU": float(_mean_iou(total[None])[0]), "pixel_accuracy": _accuracy(total)}
        for at, value in enumerate(_iou(total[None])[0]):
            if np.isfinite(value):
                found[f"IoU_{self._data.classes[at] if at < len(self._data.classes) else at}"] = float(value)
        return found

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """Paired bootstrap over pictures; `lost` and `won` count pictures whose accuracy fell or rose visibly."""
        first, second = (np.stack([each["confusion"] for each in side]) for side in (base, other))

        def arm(side: np.ndarray, count: int) -> np.ndarray:
            return replicates(
                lambda times: _mean_iou(np.tensordot(times, side, 1)), len(pictures), seed=seed, count=count
            )

        found, p = sure(lambda count: (arm(first, count), arm(second, count)), len(pictures))
        before, after = (float(_mean_iou(each.sum(0)[None])[0]) for each in (first, second))
        fell = np.array([_accuracy(a) - _accuracy(b) for a, b in zip(first, second, strict=True)])
        gate = resampled_gate(found, base=before, other=after, n=len(pictures), margin=margin)
        return Comparison(
            delta=gate.delta, interval=gate.interval, p=p, lost=int(np.count_nonzero(fell > CHANGED)),
            won=int(np.count_nonzero(fell < -CHANGED)), changed=int(np.count_nonzero(np.abs(fell) > CHANGED)),
            verdict=gate.word, images_to_decide=gate.needed(),
        )  # fmt: skip

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """The share of right pixels is another one by more than a hundredth."""
        return abs(_accuracy(base["confusion"]) - _accuracy(other["confusion"])) > CHANGED

    def shown(self, at: int, result: Result) -> Shown:
        """The share of right pixels."""
        return Shown(text=f"{_accuracy(result['confusion']):.1%} of pixels right")


def decided(card: Card, outputs: Mapping[str, np.ndarray], how: Decoding) -> tuple[np.ndarray, int]:
    """The class of each pixel of the output (rows, columns), `NO_ANSWER` where it is not finite; how many there are.

    One channel is compared with the card's threshold. Raises UsageError for an output that is no map.
    """
    raw = np.asarray(outputs[output(card, outputs)])
    if raw.ndim != 4 or raw.shape[0] != 1 or not raw.size or (card.task == "text-detect" and raw.shape[1] != 1):
        wanted = "1" if card.task == "text-detect" else "classes"
        raise UsageError(f"the output of a card of task {card.task} is (1, {wanted}, height, width), not {raw.shape}")
    if raw.shape[1] > 1:
        found, classes = first_or_last(np.moveaxis(raw[0], 0, -1), how), raw.shape[1]
    else:
        usual = TEXT_THRESHOLD if card.task == "text-detect" else 0.0
        found, classes = (raw[0, 0] > (usual if card.threshold is None else card.threshold)).astype(np.int64), 2
    return np.where(np.isfinite(raw[0]).all(axis=0), found, NO_ANSWER), classes


def at_picture(
    found: np.ndarray, placement: Placement, size: tuple[int, int], *, most: int | None = None
) -> np.ndarray:
    """The class at each pixel of the picture, by the nearest of the map, which may be smaller than the tensor.

    With `most` at so many pixels of each side, evenly spread.
    """
    rows, columns = (
        np.clip(np.floor(((_places(length, most) + 0.5) * scale + shift) * have / of).astype(np.int64), 0, have - 1)
        for length, scale, shift, have, of in (
            (placement.height, placement.scale_y, placement.top, found.shape[0], size[0]),
            (placement.width, placement.scale_x, placement.left, found.shape[1], size[1]),
        )
    )
    return np.asarray(found[rows][:, columns])


def _places(length: int, most: int | None) -> np.ndarray:
    if most is None or length <= most:
        return np.arange(length)
    return np.floor((np.arange(most) + 0.5) * length / most)


def _iou(confusion: np.ndarray) -> np.ndarray:
    """(replicates, classes); NaN for a class that neither occurs nor is found."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    union = confusion.sum(axis=1)[:, :-1] + confusion.sum(axis=2) - right
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, right / union, np.nan)


def _mean_iou(confusion: np.ndarray) -> np.ndarray:
    values = _iou(confusion)
    counted = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1))


def _accuracy(confusion: np.ndarray) -> float:
    return float(np.trace(confusion) / max(1, confusion.sum()))
