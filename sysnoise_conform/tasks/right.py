"""Two runs of answers that are right or wrong, question by question or picture by picture."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.statistics.gate import CONFIDENCE
from sysnoise_conform.statistics.paired import drop_interval, mcnemar
from sysnoise_conform.tasks.evaluation import Comparison, Gate


def compared(first: np.ndarray, second: np.ndarray, *, changed: int, margin: float) -> Comparison:
    """Exact McNemar and Tango's interval of two truths (items,); `changed` answers are other ones at all."""
    lost, won = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    n = len(first)
    delta = (lost - won) / n if n else 0.0
    interval = drop_interval(lost, won, n, confidence=CONFIDENCE)
    variance = max(0.0, (lost + won) / n - delta**2) if n else 0.0
    spread = float(np.sqrt(variance / max(n, 1)))
    gate = Gate(delta=delta, interval=interval, spread=spread, n=n, margin=margin)
    return Comparison(
        delta=delta, interval=interval, p=mcnemar(lost, won), lost=lost, won=won, changed=changed, verdict=gate.word,
        images_to_decide=gate.needed(),
    )  # fmt: skip


def share(right: np.ndarray) -> float:
    """The share of truths; NaN of none."""
    return float(right.mean()) if right.size else float("nan")
