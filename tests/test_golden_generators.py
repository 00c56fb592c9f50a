from __future__ import annotations

import numpy as np
import pytest
from golden_oracle import run

from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Mode


@pytest.mark.parametrize("op", ["RandomUniform", "RandomNormal"])
def test_the_same_seed_draws_the_same_numbers_in_both_modes(op: str) -> None:
    first, again, other, narrow = (
        run(op, {}, mode, shape=[3, 4], seed=seed)[0]
        for mode, seed in ((Mode.FLOAT64, 1.0), (Mode.FLOAT64, 1.0), (Mode.FLOAT64, 2.0), (Mode.FLOAT32, 1.0))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_allclose(narrow, first, rtol=1e-6)


def test_uniform_numbers_stay_in_their_range_and_normal_ones_have_their_moments() -> None:
    (uniform,) = run("RandomUniform", {}, shape=[1000], low=2.0, high=3.0)
    assert uniform.min() >= 2
    assert uniform.max() <= 3
    (normal,) = run("RandomNormalLike", {"x": np.zeros((100, 100), np.float64)}, mean=5.0, scale=2.0)
    assert normal.dtype == np.float64
    assert abs(normal.mean() - 5) < 0.1
    assert abs(normal.std() - 2) < 0.1


def test_bernoulli_draws_zeros_and_ones_by_probability() -> None:
    p = np.array([[0, 1, 0.5]] * 1000, np.float32)
    (y,) = run("Bernoulli", {"p": p}, Mode.FLOAT32, opset=15, dtype=9)
    assert y.dtype == bool
    assert not y[:, 0].any()
    assert y[:, 1].all()
    assert 400 < y[:, 2].sum() < 600


def test_multinomial_draws_classes_by_their_log_probability() -> None:
    logs = np.log(np.array([[0.5, 0.5, 1e-30], [1e-30, 1e-30, 1]], np.float32))
    (y,) = run("Multinomial", {"x": logs}, Mode.FLOAT32, sample_size=50)
    assert y.dtype == np.int32
    assert y.shape == (2, 50)
    assert set(y[0]) == {0, 1}
    assert set(y[1]) == {2}


def test_a_probability_above_one_is_bad() -> None:
    with pytest.raises(BadModel, match="probability"):
        run("Bernoulli", {"p": np.array([1.5], np.float32)}, opset=15)
