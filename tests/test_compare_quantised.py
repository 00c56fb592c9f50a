"""Clipping and rounding, told apart: against a loop over the elements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto

from sysnoise_conform.compare.goldens import apart
from sysnoise_conform.compare.quantised import quantisation_error
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store import GoldenTensor


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("seed", range(4))
def test_both_parts_are_those_of_a_loop_over_the_elements(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(257) * 4
    scale, zero = float(rng.uniform(0.01, 0.04)), int(rng.integers(0, 20))
    low, high = (-128, 127) if kind == "int8" else (0, 255)
    clip, rounding, beyond = 0.0, 0.0, 0
    for x in values:
        clipped = min(max(x, (low - zero) * scale), (high - zero) * scale)
        code = min(max(round(x / scale) + zero, low), high)  # Python rounds half to even, as QuantizeLinear does
        clip += (x - clipped) ** 2
        rounding += (clipped - (code - zero) * scale) ** 2
        beyond += clipped != x

    found = quantisation_error(values, {"tensor": "t", "kind": kind, "scale": scale, "zero_point": zero})

    assert found.clipped == beyond > 0
    assert found.clip_sq == pytest.approx(clip)
    assert found.rounding_sq == pytest.approx(rounding)
    assert found.clip_share == pytest.approx(clip / (clip + rounding))


def test_a_range_that_holds_everything_clips_nothing_and_rounds_by_a_twelfth_of_a_step_squared() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000)
    found = quantisation_error(values, {"tensor": "t", "kind": "int8", "scale": 1 / 127, "zero_point": 0})

    assert found.clip_share == 0
    assert found.rounding_sq / found.n == pytest.approx((1 / 127) ** 2 / 12, rel=0.02)


def test_samples_add_up_and_nothing_has_no_share() -> None:
    by = {"tensor": "t", "kind": "uint8", "scale": 0.1, "zero_point": 3}
    one, two = np.linspace(-1, 40, 11), np.linspace(0, 3, 7)
    whole = quantisation_error(np.concatenate([one, two]), by)
    parts = quantisation_error(one, by).merged(quantisation_error(two, by))

    assert (parts.n, parts.clipped) == (whole.n, whole.clipped)
    assert math.isclose(parts.clip_sq + parts.rounding_sq, whole.clip_sq + whole.rounding_sq)
    empty = quantisation_error(np.array([np.nan, np.inf]), by)
    assert (empty.n, empty.clip_share, empty.rel_l2) == (0, None, None)


def tensor(values: np.ndarray, elem_type: int) -> GoldenTensor:
    return GoldenTensor(name="t", elem_type=elem_type, shape=values.shape, data=values, floor=Floor(n=9, sum_sq=1.0))


def test_two_goldens_differ_by_their_values_and_not_by_their_declared_types() -> None:
    original = np.array([1.0, 2.0, 3.0])
    diff = apart(tensor(original, TensorProto.FLOAT), tensor(original * 1.5, TensorProto.FLOAT16), sample=0)

    assert diff.comparable
    assert diff.dtype == "FLOAT"
    assert diff.rel_l2 == pytest.approx(0.5)
    assert diff.floor == Floor()  # no runtime, no floor


def test_another_shape_of_a_converted_detector_is_told_as_such() -> None:
    diff = apart(tensor(np.zeros((3, 4)), TensorProto.FLOAT), tensor(np.zeros((2, 4)), TensorProto.FLOAT), sample=0)

    assert not diff.comparable
    assert diff.shape_got == (2, 4)
