"""Maps without labels (segmentation, text): the share of pixels with the same decision as in the baseline."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.tasks.agreement import compared, share
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.evaluate_pixels import CHANGED, NO_ANSWER, at_picture, decided
from sysnoise_conform.tasks.evaluation import Comparison, Result, Shown

MOST_PIXELS = 1024  # of each side of a picture that are looked at, evenly spread
NAMED = 3  # classes that a person is told of


class Decisions:
    """Agreement over the pixels of the pictures, each picture at its own size."""

    metric = "agreement"

    def __init__(self, card: Card, data: DataSet) -> None:
        self._card = card
        self._data = data

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """`decisions`: the class at each pixel that is looked at, int16, packed; `shape`: rows and columns of them."""
        found, _ = decided(self._card, outputs, how)
        seen = at_picture(found, placement, size, most=MOST_PIXELS).astype(np.int16)
        packed = np.frombuffer(zlib.compress(np.ascontiguousarray(seen).tobytes(), 1), np.uint8)
        return {"decisions": packed, "shape": np.array(seen.shape, np.int64)}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """`agreement`: the share of pixels with the baseline's decision, 0..1."""
        return {"agreement": share(*_same(base, results))}

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """Bootstrap over pictures; `lost` counts the pictures that changed visibly, `won` none: nobody knows better."""
        same, of = _same(base, other)
        changed = int(np.count_nonzero(1 - same / np.maximum(of, 1) > CHANGED))
        return compared(same, of, lost=changed, won=0, changed=changed, margin=margin, seed=seed)

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """More than a hundredth of the pixels."""
        same, of = _pair(base, other)
        return 1 - same / max(of, 1) > CHANGED

    def shown(self, at: int, result: Result) -> Shown:
        """The classes with the most pixels, and their shares."""
        classes, counts = np.unique(_unpacked(result), return_counts=True)
        best = np.argsort(-counts, kind="stable")[:NAMED]
        return Shown(text=", ".join(f"{counts[at] / counts.sum():.1%} {self._named(int(classes[at]))}" for at in best))

    def _named(self, decision: int) -> str:
        if decision == NO_ANSWER:
            return "no answer (NaN)"
        if self._card.task == "text-detect":
            return "text" if decision else "no text"
        return self._data.classes[decision] if decision < len(self._data.classes) else f"class {decision}"


def _unpacked(result: Result) -> np.ndarray:
    rows, columns = result["shape"].tolist()
    return np.frombuffer(zlib.decompress(result["decisions"].tobytes()), np.int16).reshape(rows, columns)


def _pair(base: Result, other: Result) -> tuple[int, int]:
    """Pixels with the same decision, and all; a pixel without an answer is never the same.

    Where the pictures differ in size (turned by EXIF), the pixels that only one has count as different; a row or
    column that a conversion of colours took does not count.
    """
    a, b = _unpacked(base), _unpacked(other)
    rows, columns = (min(one, two) for one, two in zip(a.shape, b.shape, strict=True))
    inner, outer = a[:rows, :columns], b[:rows, :columns]
    same = int(np.count_nonzero((inner == outer) & (inner != NO_ANSWER)))
    if all(abs(one - two) <= 1 for one, two in zip(a.shape, b.shape, strict=True)):
        return same, inner.size
    return same, a.size + b.size - inner.size


def _same(base: Sequence[Result], other: Sequence[Result]) -> tuple[np.ndarray, np.ndarray]:
    found = np.array([_pair(a, b) for a, b in zip(base, other, strict=True)], np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]
