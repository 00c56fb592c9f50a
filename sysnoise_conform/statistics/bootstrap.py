"""The paired bootstrap over pictures, for figures that are no mean over them, as mAP and mIoU.

Both arms get the same resample. A replicate is a number of times for each picture, so that whoever computes the figure
can do so from what was kept of each picture, for many replicates at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

LEAST_CHUNK, CHUNK_ELEMENTS = 32, 250_000  # replicates at once: many of few pictures
MOST_THREADS = 8
RESAMPLES = 2000
# A p of no replicate among 2,000 is 1/2,001, which a correction for a hundred cells makes no evidence of anything. So
# where none shows the contrary there are more of them, as far as the pictures' number leaves them cheap.
MOST_RESAMPLES, RESAMPLED = 20_000, 4_000_000  # replicates; replicates x pictures

Figure = Callable[[np.ndarray], np.ndarray]  # times of each picture (replicates, pictures) -> figures (replicates,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """The drop in every replicate, and what it comes to."""

    drops: np.ndarray

    def interval(self, confidence: float) -> tuple[float, float]:
        """The percentile interval of the drop (Efron 1979)."""
        finite = self.drops[np.isfinite(self.drops)]
        if not finite.size:
            return -np.inf, np.inf
        low, high = np.quantile(finite, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return float(low), float(high)

    def p(self) -> float:
        """One-sided: how often a replicate shows no drop; never below what so many replicates can show."""
        finite = self.drops[np.isfinite(self.drops)]
        return float((np.count_nonzero(finite <= 0) + 1) / (finite.size + 1))

    def spread(self) -> float:
        """The drop's standard error."""
        finite = self.drops[np.isfinite(self.drops)]
        return float(finite.std(ddof=1)) if finite.size > 1 else float("nan")


def resamples(pictures: int, *, seed: int, count: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Chunks (replicates, pictures) of how often each picture was drawn, the same for a seed."""
    rng = np.random.default_rng(seed)
    chunk = max(LEAST_CHUNK, CHUNK_ELEMENTS // max(1, pictures))
    for start in range(0, count, chunk):
        rows = min(chunk, count - start)
        drawn = rng.integers(0, pictures, (rows, pictures))
        flat = drawn + np.arange(rows)[:, None] * pictures
        yield np.bincount(flat.reshape(-1), minlength=rows * pictures).reshape(rows, pictures).astype(np.int32)


def replicates(figure: Figure, pictures: int, *, seed: int, count: int = RESAMPLES) -> np.ndarray:
    """The figure in every replicate: of one seed the same replicates for whatever is compared."""
    if pictures == 0:
        return np.empty(0)
    with ThreadPoolExecutor(max_workers=min(MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        return np.concatenate(list(pool.map(figure, resamples(pictures, seed=seed, count=count))))


def sure(arms: Callable[[int], tuple[np.ndarray, np.ndarray]], pictures: int) -> tuple[Resampled, float]:
    """The drop in RESAMPLES replicates, and its p: of more of them where not one shows no drop.

    `arms` makes so many replicates of the base and of the other, of one seed: more of them begin with the fewer.
    """
    found = paired(*arms(RESAMPLES))
    more = min(MOST_RESAMPLES, RESAMPLED // max(1, pictures))
    finite = found.drops[np.isfinite(found.drops)]
    if more <= RESAMPLES or not finite.size or np.count_nonzero(finite <= 0):
        return found, found.p()
    return found, paired(*arms(more)).p()


def paired(base: np.ndarray, other: np.ndarray) -> Resampled:
    """The drop from `base` to `other`, replicates of one seed over the same pictures."""
    return Resampled(drops=base - other)
