"""exp, sigmoid, tanh and softmax with fewer bits, against ml_dtypes and the figures that were measured for them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from sysnoise_conform.tasks import arithmetic
from sysnoise_conform.tasks.decoding import EXP_LIMIT

RNG = np.random.default_rng(11)
DTYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
CORNERS = [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e-40, 65504.0, 65520.0, 3.4e38, 1 + 2.0**-11, 1 + 3 * 2.0**-11]


@pytest.mark.parametrize("kind", DTYPES)
def test_a_number_is_held_as_the_type_holds_it(kind: str) -> None:
    values = np.concatenate([CORNERS, RNG.standard_normal(10_000) * 10.0 ** RNG.integers(-6, 5, 10_000)])
    values = values.astype(np.float32).astype(np.float64)  # what a runtime hands over

    with np.errstate(over="ignore"):
        wanted = values.astype(np.float32).astype(DTYPES[kind]).astype(np.float64)

    np.testing.assert_array_equal(arithmetic.held(values, kind), wanted)


@pytest.mark.parametrize(("kind", "worst"), [("fp32", 3e-7), ("fp16", 2.45e-3), ("bf16", 1.96e-2)])
def test_exp_of_box_sizes_is_off_by_what_its_bits_allow(kind: str, worst: float) -> None:
    values = np.linspace(-EXP_LIMIT, EXP_LIMIT, 40_001).astype(np.float32).astype(np.float64)

    error = np.abs(arithmetic.exp(values, kind) / np.exp(values) - 1).max()

    assert 0.85 * worst < error <= worst or kind == "fp32"
    assert error <= worst


@pytest.mark.parametrize("kind", DTYPES)
def test_sigmoid_and_softmax_are_those_of_their_formulas(kind: str) -> None:
    dtype = DTYPES[kind]
    values = RNG.standard_normal((50, 9)).astype(np.float32)

    def held(each: np.ndarray) -> np.ndarray:
        return np.asarray(each).astype(np.float32).astype(dtype).astype(np.float64)

    operand = held(values)
    parts = held(np.exp(held(operand - operand.max(1, keepdims=True))))
    softmax = held(parts / held(parts.sum(1, keepdims=True)))
    sigmoid = held(1 / (1 + held(np.exp(held(-values)))))

    np.testing.assert_array_equal(arithmetic.softmax(values.astype(np.float64), kind), softmax)
    np.testing.assert_array_equal(arithmetic.sigmoid(values.astype(np.float64), kind), sigmoid)
    np.testing.assert_array_equal(arithmetic.tanh(values.astype(np.float64), kind), held(np.tanh(operand)))


def test_huge_operands_have_their_limits() -> None:
    huge = np.array([-1e4, 1e4])

    for kind in DTYPES:
        assert arithmetic.sigmoid(huge, kind).tolist() == [0, 1]
        assert arithmetic.exp(huge, kind).tolist() == [0, np.inf]
        assert arithmetic.softmax(np.array([1e4, 0.0]), kind).tolist() == [1, 0]


@pytest.mark.parametrize(("kind", "flips", "ties"), [("fp16", 0.0025, 0.0045), ("bf16", 0.015, 0.030)])
def test_fewer_bits_flip_and_tie_as_often_as_was_measured(kind: str, flips: float, ties: float) -> None:
    """Normal logits times 3, 1000 classes: the cast alone moves the largest, the softmax makes the first two equal."""
    rows, flipped, tied = 6_000, 0, 0
    for _ in range(3):
        logits = (RNG.standard_normal((rows // 3, 1000), np.float32) * 3).astype(np.float64)
        flipped += int(np.count_nonzero(arithmetic.held(logits, kind).argmax(1) != logits.argmax(1)))
        best = np.partition(arithmetic.softmax(logits, kind), 998, axis=1)
        tied += int(np.count_nonzero(best[:, -1] == best[:, -2]))

    def spread(share: float) -> float:
        return 4 * float(np.sqrt(share / rows)) + 0.1 * share

    assert flipped / rows == pytest.approx(flips, abs=spread(flips))
    assert tied / rows == pytest.approx(ties, abs=spread(ties))

