"""Ranges from what calibration saw: mergeable, and what each observer is named after."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph

from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.observing import Observer
from sysnoise_conform.golden.service import fed_tensors
from sysnoise_conform.precision.calibration import ranges_of
from sysnoise_conform.precision.observed import BINS, Observed, Ranges, merged
from sysnoise_conform.precision.observers import Scheme, beyond, bounds
from sysnoise_conform.precision.presets import OBSERVERS

ASYMMETRIC, SYMMETRIC = Scheme(symmetric=False), Scheme(symmetric=True)
_IDENTITY = graph("g (float[n] x) => (float[n] y) { y = Neg(x) }")


def seen(*samples: np.ndarray, histograms: bool = True) -> list[Ranges]:
    observer = Observer.of(_IDENTITY, Executor(_IDENTITY, Mode.FLOAT32), fed_tensors(_IDENTITY.graph))
    found = []
    for each in samples:
        answer = observer.observe({"x": np.asarray(each, np.float32)}, histograms=histograms)
        found.append(ranges_of(answer["names"], answer["tensors"]))
    return found


def observed(*samples: np.ndarray) -> Observed:
    return merged(seen(*samples))["x"]


def test_extremes_and_histogram_are_numpys() -> None:
    values = np.random.default_rng().normal(0, 3, 5001).astype(np.float32)
    found = observed(values)
    assert (found.low, found.high) == (values.min(), values.max())
    edge = 2.0**found.exponent
    assert edge / 2 < np.abs(values).max() <= edge
    expected, _ = np.histogram(values, BINS, (-edge, edge))
    assert found.counts is not None
    assert np.abs(found.counts - expected).sum() <= 2  # a value on an edge may fall to either side
    assert found.counts.sum() == 5001


def test_an_inner_tensor_is_seen_as_well_as_an_input() -> None:
    found = merged(seen(np.array([1, -4])))
    assert (found["y"].low, found["y"].high) == (-1, 4)


def test_samples_merge_in_any_order_to_the_histogram_of_them_all() -> None:
    rng = np.random.default_rng()
    parts = [rng.normal(0, 10.0**power, 300).astype(np.float32) for power in (-2, 3, 0, -5)]
    whole = observed(np.concatenate(parts))
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        found = observed(*(parts[each] for each in order))
        assert (found.low, found.high, found.exponent) == (whole.low, whole.high, whole.exponent)
        assert found.counts is not None
        assert whole.counts is not None
        assert np.abs(found.counts - whole.counts).sum() <= 4  # rounding at an edge


def test_values_that_are_not_finite_are_counted_and_take_no_part() -> None:
    found = observed(np.array([1, np.nan, -2, np.inf]))
    assert (found.low, found.high, found.nonfinite) == (-2, 1, 2)
    assert found.counts is not None
    assert found.counts.sum() == 2


def test_nothing_and_zeros_and_the_smallest_numbers_have_a_range() -> None:
    for values in (np.zeros(0), np.zeros(5), np.full(3, 1e-45), np.full(3, -3.4e38)):
        found = observed(values)
        for name in OBSERVERS:
            for scheme in (ASYMMETRIC, SYMMETRIC):
                low, high = bounds(found, name, scheme)
                assert low <= 0 <= high
                assert np.isfinite([low, high]).all()


def test_mean_and_moving_average_follow_the_samples_extremes() -> None:
    found = observed(np.array([-1, 1]), np.array([-3, 5]))
    assert bounds(found, "minmax", ASYMMETRIC) == (-3, 5)
    assert bounds(found, "mean", ASYMMETRIC) == (-2, 3)
    assert bounds(found, "mean", SYMMETRIC) == (-3, 3)  # the mean of 1 and 5, not the larger of two means
    assert bounds(found, "moving_average", ASYMMETRIC) == pytest.approx((-1.2, 1.4))


@pytest.mark.parametrize("share", [99.9, 99.99])
def test_a_percentile_cuts_that_share_off(share: float) -> None:
    values = np.random.default_rng().normal(0, 1, 200_000).astype(np.float32)
    found = observed(values)
    width = 2.0**found.exponent / (BINS // 2)
    low, high = bounds(found, f"percentile_{share}", ASYMMETRIC)
    cut = len(values) * (1 - share / 100)
    for end, tail in ((low, values), (-high, -values)):
        assert np.count_nonzero(tail < end) - 1 <= cut / 2 <= np.count_nonzero(tail <= end + width) + 1
    low, high = bounds(found, f"percentile_{share}", SYMMETRIC)
    assert low == -high
    assert np.count_nonzero(np.abs(values) > high) - 1 <= cut <= np.count_nonzero(np.abs(values) >= high - width) + 1


def test_entropy_and_mse_give_up_an_outlier_for_the_many() -> None:
    rng = np.random.default_rng(3)
    values = np.append(rng.normal(0, 1, 100_000), 60).astype(np.float32)
    found = observed(values)
    for name in ("entropy", "mse"):
        _, high = bounds(found, name, SYMMETRIC)
        assert 2 < high < 40, name
        share = beyond(found, -high, high)
        assert share is not None
        assert 0 < share < 0.05
    assert bounds(found, "minmax", SYMMETRIC)[1] == 60


def test_entropy_leaves_a_flat_distribution_whole() -> None:
    values = np.random.default_rng().uniform(-1, 1, 100_000).astype(np.float32)
    _, high = bounds(observed(values), "entropy", SYMMETRIC)
    assert high > 0.95


def test_mse_is_no_worse_on_the_values_themselves_than_any_other_observer() -> None:
    rng = np.random.default_rng()
    values = (rng.normal(0, 1, 50_000) ** 3).astype(np.float32)  # heavy tails
    found = observed(values)

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        near = np.clip(np.rint(values / scale), np.rint(low / scale), np.rint(low / scale) + 255) * scale
        return float(np.square(near - values).mean())

    errors = {name: error(*bounds(found, name, ASYMMETRIC)) for name in OBSERVERS}
    assert errors["mse"] <= 1.02 * min(errors.values()), errors


def test_what_is_never_negative_keeps_zero_as_its_lowest() -> None:
    values = np.random.default_rng().exponential(1, 10_000)
    for name in OBSERVERS:
        low, high = bounds(observed(values), name, Scheme(symmetric=True, unsigned=True))
        assert low <= 0 < high
