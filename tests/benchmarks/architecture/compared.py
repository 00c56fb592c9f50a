"""Designs against each other: the same pictures for all, several seeds of each, ranks by size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.architecture.judged import NOISES, Judged
from scipy.stats import rankdata

from sysnoise_conform.statistics.bootstrap import resamples
from sysnoise_conform.statistics.unseen import unseen_share

# What a column is: the mean over an axis's levels, or of one that has been told apart.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{axis: tuple(f"{axis}={each}" for each in NOISES[axis]) for axis in ("decoder", "resize", "colour")},
    "ceil mode": ("ceil_mode=ceil",),
    "int8": ("precision=int8",),
    "fp16": ("precision=fp16",),
}
CONFIDENCE = 0.9
_ENDS = (5, 95)  # percent: as conform noise, 90 % between them


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Points lost, with their interval over pictures."""

    drop: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{points(self.drop)} ({points(self.low)} to {points(self.high)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """Spearman's rank correlation of a drop with an order, and how often chance gives one at most as large."""

    rho: float
    p: float


def points(value: float) -> str:
    """With one digit; never a minus before nothing."""
    text = f"{value:.1f}".replace("-", "−")
    return "0.0" if text == "−0.0" else text


def lost(networks: Sequence[Judged], column: str) -> np.ndarray:
    """What each picture lost, in the mean over networks and levels."""
    return np.mean([each.lost[level] for each in networks for level in COLUMNS[column]], axis=0)


def share(values: np.ndarray) -> Share:
    """The mean over pictures and its percentile bootstrap, as wide at least as what was not seen allows."""
    means = np.concatenate([drawn @ values for drawn in resamples(len(values), seed=0)]) / len(values)
    low, high = np.percentile(100 * means, _ENDS)
    drop, least = 100 * float(values.mean()), 100 * unseen_share(len(values), confidence=CONFIDENCE)
    return Share(drop=drop, low=min(float(low), drop - least), high=max(float(high), drop + least))


def falls(order: Sequence[float], drops: Sequence[float]) -> Trend:
    """Whether drops fall as the order rises, by all ways in which they could have been dealt out."""
    ranks = _centred(order)
    spread = float(np.sqrt((ranks**2).sum() * (_centred(drops) ** 2).sum()))
    if spread == 0:
        return Trend(rho=0.0, p=1.0)
    mine = float(ranks @ _centred(drops))
    met = np.array([_centred(drops) @ each for each in _dealt(ranks)])
    return Trend(rho=mine / spread, p=float((met <= mine + 1e-9).mean()))


def _centred(values: Sequence[float]) -> np.ndarray:
    ranks = np.asarray(rankdata(np.round(values, 9)), np.float64)
    return ranks - ranks.mean()


def _dealt(ranks: np.ndarray) -> Iterator[np.ndarray]:
    """Every different order of the ranks, each once; equal ones are one."""
    kinds, counts = np.unique(ranks, return_counts=True)

    def places(free: tuple[int, ...], kind: int, filled: np.ndarray) -> Iterator[np.ndarray]:
        if kind == len(kinds):
            yield filled
            return
        for chosen in itertools.combinations(free, int(counts[kind])):
            more = filled.copy()
            more[list(chosen)] = kinds[kind]
            yield from places(tuple(each for each in free if each not in chosen), kind + 1, more)

    yield from places(tuple(range(len(ranks))), 0, np.zeros(len(ranks)))
