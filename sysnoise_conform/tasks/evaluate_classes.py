"""Classification with labels (top-1, top-5), and without: does the answer stay the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sysnoise_conform.card import Card
from sysnoise_conform.datasets import DataSet
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.printable import one_line
from sysnoise_conform.tasks import arithmetic
from sysnoise_conform.tasks.decoding import Decoding
from sysnoise_conform.tasks.detectors import first_or_last
from sysnoise_conform.tasks.evaluation import Comparison, Result, Shown
from sysnoise_conform.tasks.meter import output
from sysnoise_conform.tasks.right import compared

KEPT = 5  # classes of each picture


class Classes:
    """Top-1 against labels, or against the baseline's own answers where there are none."""

    def __init__(self, card: Card, data: DataSet, *, labelled: bool) -> None:
        self._card = card
        self._data = data
        self._labelled = labelled
        self.metric = "top1" if labelled else "agreement"

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """`top`: the five best classes, best first; `log_p`: of these, the logarithm of their share; `lead` of the
        first. Without labels `all_log_p`, of all classes in float32, too.
        """
        raw = np.asarray(outputs[output(self._card, outputs)], np.float64)
        scores = raw.reshape(-1)
        if raw.size < 2 or raw.size != max(raw.shape):
            raise UsageError(
                f"the scores of classes are (1, classes), not {raw.shape}",
                hint="name the task of other outputs in the card: detect, segment, text-detect",
            )
        label = self._data.pictures[at].label
        if label is not None and label >= len(scores):
            raise BadInput(
                f"{one_line(self._data.pictures[at].name, 120)!r} is of class {label}; the model knows {len(scores)}",
                hint="check the labels: the first class is 0",
            )
        judged = arithmetic.softmax(scores, how.arithmetic) if how.softmax_first else scores
        judged = np.where(np.isfinite(judged), judged, -np.inf)  # NaN is nobody's best answer
        first = int(first_or_last(judged, how))
        best = np.argsort(-judged, kind="stable")[: KEPT + 1].tolist()
        order = [first, *(each for each in best if each != first)][:KEPT]
        shares = _log_softmax(np.where(np.isfinite(scores), scores, -1e30))
        lead = judged[order[0]] - judged[order[1]] if len(order) > 1 else np.inf
        broken = not np.isfinite(scores).all()
        kept = {
            "top": np.array([-1] * len(order) if broken else order, np.int64),
            "log_p": shares[order],
            "lead": np.array(lead if np.isfinite(lead) else 0.0),
        }
        return kept if self._labelled else kept | {"all_log_p": shares.astype(np.float32)}

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """`top1` and `top5` with labels; `agreement` with the baseline's answers; 0..1."""
        agreement = _share([
            each["top"][0] == other["top"][0] and each["top"][0] >= 0
            for each, other in zip(results, base, strict=True)
        ])  # fmt: skip
        if not self._labelled:
            return {
                "agreement": agreement,
                "kl": _mean([_kl(a, b) for a, b in zip(base, results, strict=True)]),
                "smallest_lead": min((float(each["lead"]) for each in results), default=float("nan")),
            }
        labels = [self._data.pictures[at].label for at in pictures]
        return {
            "top1": _share([each["top"][0] == label for each, label in zip(results, labels, strict=True)]),
            "top5": _share([label in each["top"] for each, label in zip(results, labels, strict=True)]),
            "agreement": agreement,
        }

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """Exact McNemar and Tango's interval; `seed` is not needed."""
        first, second = (self._right(each, base, pictures) for each in (base, other))
        changed = sum(self.differs(0, a, b) for a, b in zip(base, other, strict=True))
        return compared(first, second, changed=changed, margin=margin)

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """Another first class."""
        return bool(base["top"][0] != other["top"][0])

    def shown(self, at: int, result: Result) -> Shown:
        """The first class and its share."""
        best, label = int(result["top"][0]), self._data.pictures[at].label
        if best < 0:
            return Shown(text="no answer (NaN)", right=False if self._labelled else None)
        name = (self._data.classes[best] if best < len(self._data.classes) else "") or f"class {best}"
        return Shown(
            text=f"{name} ({np.exp(result['log_p'][0]):.0%})", right=best == label if self._labelled else None
        )

    def _right(self, results: Sequence[Result], base: Sequence[Result], pictures: Sequence[int]) -> np.ndarray:
        if self._labelled:
            wanted = [self._data.pictures[at].label for at in pictures]
        else:
            wanted = [int(each["top"][0]) for each in base]
        pairs = zip(results, wanted, strict=True)
        return np.array([each["top"][0] >= 0 and each["top"][0] == label for each, label in pairs], bool)


def _share(right: Sequence[bool | np.bool_]) -> float:
    return float(np.mean(np.asarray(right, bool))) if len(right) else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def _kl(base: Result, other: Result) -> float:
    """Kullback-Leibler divergence of the other's answer from the base's, in nats."""
    p, q = (np.asarray(each["all_log_p"], np.float64) for each in (base, other))
    return float(max(0.0, np.sum(np.exp(p) * (p - q))))
