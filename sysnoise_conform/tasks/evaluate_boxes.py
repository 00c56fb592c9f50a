"""Detection with COCO's labels (mAP over IoU .5 to .95, AP50, AP75, by area), and without: are the boxes the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.datasets.coco import sticks_out
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.statistics.bootstrap import replicates, sure
from sysnoise_conform.tasks.agreement import compared, share
from sysnoise_conform.tasks.average_precision import Matches, match
from sysnoise_conform.tasks.boxes import Boxes, as_coco, on_picture
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.detect import SHOWN_SCORE, partners
from sysnoise_conform.tasks.detectors import decode
from sysnoise_conform.tasks.evaluation import Comparison, Result, Shown, resampled_gate


class Detections:
    """Average precision, or without labels the share of the boxes that people are shown which have a partner."""

    def __init__(self, card: Card, data: DataSet, *, labelled: bool) -> None:
        self._card = card
        self._data = data
        self._labelled = labelled
        self.metric = "mAP" if labelled else "agreement"
        self._categories = [each["id"] for each in data.annotations["categories"]] if labelled else []
        self._sizes = {each["id"]: (each["width"], each["height"]) for each in data.annotations.get("images", ())}
        self._boxes: dict[int | None, list[list[float]]] = {}
        for each in data.annotations.get("annotations", ()):
            self._boxes.setdefault(each["image_id"], []).append(each["bbox"])
        self._shown = SHOWN_SCORE if card.threshold is None else card.threshold
        self._matches = lru_cache(maxsize=4)(self._matched)
        self._replicates = lru_cache(maxsize=8)(self._replicated)

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """`boxes` (n, 4) x, y, width, height on the picture, `scores`, `classes`: the best hundred.

        Raises UsageError for a class that the labels do not have: the classes of model and labels do not correspond.
        Raises BadInput for a picture that is not of the size that the labels say, or lies not around its boxes.
        """
        self._check_size(at, placement)
        clip = self._card.heads.clip if how.clip is None else how.clip
        found = on_picture(decode(self._card, outputs, size, how), placement, how, clip=clip)
        least = int(found.classes[found.scores > 0].min(initial=0))  # what only fills an output up has no score
        if least < 0:
            raise UsageError(
                f"the model finds class {least + self._card.heads.first_class}, and the card's first_class is"
                f" {self._card.heads.first_class}",
                hint="correct first_class in the card",
            )
        largest = int(found.classes.max(initial=-1))
        if self._labelled and largest >= len(self._categories):
            raise UsageError(
                f"the model finds class {largest}, and the labels have {len(self._categories)} categories",
                hint="give labels with all categories of the model, in its order, or correct first_class in the card",
            )
        return {"boxes": as_coco(found, how), "scores": found.scores, "classes": found.classes.astype(np.int64)}

    def _check_size(self, at: int, placement: Placement) -> None:
        """EXIF may have turned the picture: the labels may mean either."""
        picture = self._data.pictures[at]
        if picture.id not in self._sizes:
            return
        height, width = placement.height, placement.width
        said = self._sizes[picture.id]
        name = one_line(picture.name, 120)
        if all(type(each) is int for each in said):
            if said not in ((width, height), (height, width)):
                raise BadInput(
                    f"{name!r} has {width} x {height} pixels; the labels say {said[0]} x {said[1]}",
                    hint="the boxes are another picture's: mend the labels",
                )
            return
        for box in self._boxes.get(picture.id, ()):
            if sticks_out(box, width, height) and sticks_out(box, height, width):
                raise BadInput(
                    f"{name!r} has {width} x {height} pixels, and its box {one_line(box, 60)} lies outside",
                    hint="mend the labels",
                )

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """See `average_precision.Matches.figures`; without labels `agreement` with the baseline's boxes, 0..1."""
        if not self._labelled:
            return {"agreement": share(*self._partners(base, results))}
        return self._of(results, pictures).figures()

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """Paired bootstrap over pictures; `lost` and `won` count boxes that people are shown, of the base and other."""
        lost = won = changed = 0
        for a, b in zip(base, other, strict=True):
            gone, new = self._flips(a, b)
            lost, won, changed = lost + gone, won + new, changed + bool(gone or new)
        if not self._labelled:
            same, of = self._partners(base, other)
            return compared(same, of, lost=lost, won=won, changed=changed, margin=margin, seed=seed)
        first, second = self._of(base, pictures), self._of(other, pictures)
        at, one, two = tuple(pictures), _Same(base), _Same(other)
        found, p = sure(
            lambda count: (self._replicates(one, at, seed, count), self._replicates(two, at, seed, count)), len(at)
        )
        before, after = (each.figures()["mAP"] for each in (first, second))
        gate = resampled_gate(found, base=before, other=after, n=len(pictures), margin=margin)
        return Comparison(
            delta=gate.delta, interval=gate.interval, p=p, lost=lost, won=won, changed=changed,
            verdict=gate.word, images_to_decide=gate.needed(),
        )  # fmt: skip

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """A box that is shown has no partner on the other side."""
        return any(self._flips(base, other))

    def shown(self, at: int, result: Result) -> Shown:
        """The boxes that are shown, by class."""
        above = result["scores"] > self._shown
        kept, places = result["classes"][above], result["boxes"][above]
        names = [self._data.classes[each] if each < len(self._data.classes) else f"of class {each}" for each in kept]
        counts = {name: names.count(name) for name in dict.fromkeys(names)}
        return Shown(
            text=", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing",
            boxes=tuple((float(x), float(y), float(width), float(height)) for x, y, width, height in places),
        )

    def _flips(self, a: Result, b: Result) -> tuple[int, int]:
        """Boxes that are shown of `a` without a partner in `b`, and the reverse."""
        first, second = (_corners(each).chosen(each["scores"] > self._shown) for each in (a, b))
        pairs = len(partners(first, second))
        return len(first.scores) - pairs, len(second.scores) - pairs

    def _partners(self, base: Sequence[Result], other: Sequence[Result]) -> tuple[np.ndarray, np.ndarray]:
        """By picture: boxes of both sides that have a partner, and all boxes of both sides."""
        shown = [sum(np.count_nonzero(each["scores"] > self._shown) for each in pair)
                 for pair in zip(base, other, strict=True)]  # fmt: skip
        single = [sum(self._flips(a, b)) for a, b in zip(base, other, strict=True)]
        of = np.asarray(shown, np.int64)
        return of - np.asarray(single, np.int64), of

    def _of(self, results: Sequence[Result], pictures: Sequence[int]) -> Matches:
        return self._matches(_Same(results), tuple(pictures))

    def _replicated(self, results: _Same, pictures: tuple[int, ...], seed: int, count: int) -> np.ndarray:
        matches = self._matches(results, pictures)
        return replicates(lambda times: matches.precision(times).mean(axis=1), len(pictures), seed=seed, count=count)

    def _matched(self, results: _Same, pictures: tuple[int, ...]) -> Matches:
        ids = [self._data.pictures[at].id or 0 for at in pictures]
        order = np.argsort(ids, kind="stable")  # pycocotools looks at pictures in the order of their ids
        records = [
            {"image_id": ids[at], "category_id": self._categories[kind], "bbox": box.tolist(), "score": float(score)}
            for at, each in enumerate(results.these)
            for box, score, kind in zip(each["boxes"], each["scores"], each["classes"].tolist(), strict=True)
            if 0 <= kind < len(self._categories)
        ]
        return match(self._data.annotations, records, [ids[at] for at in order])


class _Same:
    """A list of results, the same only as itself: what a cache can be asked for."""

    def __init__(self, these: Sequence[Result]) -> None:
        self.these = these

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.these is self.these

    def __hash__(self) -> int:
        return id(self.these)


def _corners(result: Result) -> Boxes:
    boxes = result["boxes"]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return Boxes(corners, result["scores"], result["classes"])
