"""What chance may do to the ratio of two estimates: quantiles of F, against SciPy's."""

from __future__ import annotations

import pytest
from scipy.special import betainc
from scipy.stats import f as snedecor

from sysnoise_conform.judge.chance import fisher_quantile, incomplete_beta


@pytest.mark.parametrize("m", [1, 3, 8, 80, 99, 100, 101, 1000, 10**6, 10**9])
@pytest.mark.parametrize("n", [1, 2, 10, 99, 101, 5000, 10**7])
def test_the_quantile_of_f_is_scipys(n: int, m: int) -> None:
    assert fisher_quantile(0.999, n, m) == pytest.approx(snedecor.ppf(0.999, n, m), rel=3e-4)


@pytest.mark.parametrize("x", [0.0, 1e-12, 0.3, 0.999, 1.0])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.5, 400.0), (30.0, 2.0)])
def test_the_incomplete_beta_function_is_scipys(x: float, a: float, b: float) -> None:
    assert incomplete_beta(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-9, abs=1e-12)


def test_more_runs_of_the_unit_leave_less_to_chance() -> None:
    quantiles = [fisher_quantile(0.999, 4, 4 * runs) for runs in (1, 2, 8)]

    assert quantiles == sorted(quantiles, reverse=True)
    assert quantiles[0] > 8 * quantiles[2]
