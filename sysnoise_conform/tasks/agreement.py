"""Two runs over pictures without labels: how much of the baseline's answer the other one shares."""

from __future__ import annotations

import numpy as np

from sysnoise_conform.statistics.bootstrap import replicates, sure
from sysnoise_conform.tasks.evaluation import Comparison, resampled_gate


def share(same: np.ndarray, of: np.ndarray) -> float:
    """What is the same, of all; NaN where there was nothing to compare."""
    return float(same.sum() / of.sum()) if of.sum() else float("nan")


def compared(
    same: np.ndarray, of: np.ndarray, *, lost: int, won: int, changed: int, margin: float, seed: int
) -> Comparison:
    """Bootstrap over pictures of the share of `same` in `of`, both (pictures,); the drop is from 1."""

    def drawn(times: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((times @ same) / (times @ of))

    def arms(count: int) -> tuple[np.ndarray, np.ndarray]:
        shares = replicates(drawn, len(same), seed=seed, count=count)
        return np.ones_like(shares), shares

    found, p = sure(arms, len(same))
    other = share(same, of)
    # The baseline agrees with itself whatever the picture: a gain is at most what is missing.
    gate = resampled_gate(found, base=1.0, other=other, n=len(same), margin=margin, gain=1 - other)
    return Comparison(
        delta=gate.delta, interval=gate.interval, p=p, lost=lost, won=won, changed=changed, verdict=gate.word,
        images_to_decide=gate.needed(),
    )  # fmt: skip
