"""From what calibration saw to the range that 8 bits will cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sysnoise_conform.precision.observed import BINS, Observed

LEVELS = 128  # of the entropy method: positive int8
_SHARE = 0.1  # of the newest sample in a moving average
_GRID = np.linspace(1.0, 0.2, 81)  # fractions of the full range that the MSE observer tries
_HALVINGS = 8  # powers of two that it tries below the full range


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """What integers a range is for: `steps` between its ends, one-sided or around zero."""

    symmetric: bool  # zero in the middle: the range is -t..t
    power_of_two: bool = False
    unsigned: bool = False  # symmetric, but never negative: 0..t


def bounds(observed: Observed, observer: str, scheme: Scheme) -> tuple[float, float]:
    """The lowest and highest value that the integers shall cover; 0 is always among them."""
    empty = observed.counts is not None and not observed.counts.any()
    low, high = _OBSERVERS["minmax" if empty else observer](observed, scheme)
    return min(float(low), 0.0), max(float(high), 0.0)


def beyond(observed: Observed, low: float, high: float) -> float | None:
    """The share of the calibration's values outside low..high, by the histogram; None without one."""
    if observed.counts is None or not observed.counts.sum():
        return None
    centres = _centres(observed)
    outside = (centres < low) | (centres > high)
    return float(observed.counts[outside].sum() / observed.counts.sum())


def _minmax(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    return observed.low, observed.high


def _mean(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """Of the samples' extremes; around zero, of their largest magnitudes, as NNCF does."""
    if scheme.symmetric and not scheme.unsigned:
        largest = float(np.maximum(-observed.lows, observed.highs).mean())
        return -largest, largest
    return observed.lows.mean(), observed.highs.mean()


def _moving_average(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    low, high = observed.lows[0], observed.highs[0]
    for next_low, next_high in zip(observed.lows[1:], observed.highs[1:], strict=True):
        low += _SHARE * (next_low - low)
        high += _SHARE * (next_high - high)
    return low, high


def _percentile(share: float) -> Callable[[Observed, Scheme], tuple[float, float]]:
    """Cuts `1 - share` of the values off: of the magnitudes, or half at either end."""

    def observer(observed: Observed, scheme: Scheme) -> tuple[float, float]:
        edges = _edges(observed)
        if scheme.symmetric:
            magnitudes = _magnitudes(observed)
            cumulative = np.cumsum(magnitudes) / magnitudes.sum()
            threshold = edges[min(BINS // 2 + 1 + int(np.searchsorted(cumulative, share)), BINS)]
            return _clipped(observed, -threshold, threshold)
        cumulative = np.cumsum(_counts(observed)) / _counts(observed).sum()
        cut = (1 - share) / 2
        low = edges[np.searchsorted(cumulative, cut)]
        high = edges[min(int(np.searchsorted(cumulative, 1 - cut)) + 1, BINS)]
        return _clipped(observed, low, high)

    return observer


def _entropy(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """Migacz, "8-bit inference with TensorRT" (GTC 2017): the threshold whose 128 levels diverge least.

    The bin of zero is counted as its neighbour, as the PyTorch quantization toolkit does: behind a Relu it holds half
    of all values and would hide what the threshold does to the rest.
    """
    magnitudes = _magnitudes(observed).astype(np.float64)
    magnitudes[0] = magnitudes[1]
    used = int(np.flatnonzero(magnitudes)[-1]) + 1 if magnitudes.any() else 0
    if used <= LEVELS:
        return observed.low, observed.high
    width = 2.0**observed.exponent / (BINS // 2)
    best, threshold = np.inf, used
    for end in range(LEVELS, used + 1, 4):
        divergence = _divergence(magnitudes, end)
        if divergence < best:
            best, threshold = divergence, end
    divergence = _divergence(magnitudes, used)
    if divergence < best:
        threshold = used
    return _clipped(observed, -threshold * width, threshold * width)


def _divergence(magnitudes: np.ndarray, end: int) -> float:
    """Kullback-Leibler, of the histogram cut at `end` (what is beyond counts into its last bin) from its 128 levels."""
    kept = magnitudes[:end]
    truth = kept.copy()
    truth[-1] += magnitudes[end:].sum()
    level = np.arange(end) * LEVELS // end
    filled = kept > 0
    sums = np.bincount(level, weights=kept, minlength=LEVELS)
    sizes = np.bincount(level, weights=filled, minlength=LEVELS)
    levels = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
    there = truth > 0
    if (levels[there] == 0).any() or not there.any():
        return float("inf")
    p, q = truth[there] / truth.sum(), levels[there] / levels.sum()
    return float(np.sum(p * np.log(p / q)))


def _mse(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """The range, among shrunken ones, that quantises the histogram with the least mean squared error."""
    counts, centres = _counts(observed).astype(np.float64), _centres(observed)
    there = counts > 0
    counts, centres = counts[there], centres[there]
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if scheme.symmetric:
        largest = max(-low, high)
        if largest == 0:
            return low, high
        low, high, steps = (0.0, largest, 255) if scheme.unsigned else (-largest, largest, 254)
        if scheme.power_of_two:
            highest = np.ceil(np.log2(largest / 127))
            tops = 127 * 2.0 ** (highest - np.arange(_HALVINGS))
        else:
            tops = largest * _GRID
        ranges = [(0.0 if scheme.unsigned else -top, top) for top in tops]
    else:
        if high == low:
            return low, high
        steps, ranges = 255, [(low * part, high * part) for part in _GRID]
    errors = [_error(centres, counts, *each, steps) for each in ranges]
    return ranges[int(np.argmin(errors))]


def _error(centres: np.ndarray, counts: np.ndarray, low: float, high: float, steps: int) -> float:
    scale = (high - low) / steps
    start = np.rint(low / scale)
    near = np.clip(np.rint(centres / scale), start, start + steps) * scale
    return float(np.dot(counts, (near - centres) ** 2))


def _counts(observed: Observed) -> np.ndarray:
    assert observed.counts is not None, "this observer needs the histogram: calibrate with histograms"
    return observed.counts


def _edges(observed: Observed) -> np.ndarray:
    return np.linspace(-1.0, 1.0, BINS + 1) * 2.0**observed.exponent


def _centres(observed: Observed) -> np.ndarray:
    edges = _edges(observed)
    centres: np.ndarray = (edges[:-1] + edges[1:]) / 2
    return centres


def _magnitudes(observed: Observed) -> np.ndarray:
    counts = _counts(observed)
    magnitudes: np.ndarray = counts[BINS // 2 :] + counts[: BINS // 2][::-1]
    return magnitudes


def _clipped(observed: Observed, low: float, high: float) -> tuple[float, float]:
    return max(low, observed.low), min(high, observed.high)


_OBSERVERS: dict[str, Callable[[Observed, Scheme], tuple[float, float]]] = {
    "minmax": _minmax,
    "mean": _mean,
    "moving_average": _moving_average,
    "percentile_99.9": _percentile(0.999),
    "percentile_99.99": _percentile(0.9999),
    "percentile_99.999": _percentile(0.99999),
    "entropy": _entropy,
    "mse": _mse,
}
