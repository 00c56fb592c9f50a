"""What the rms over a whole tensor drowns is found in its parts, and healthy rounding of any size is not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from sysnoise_conform.compare.parts import sums_by_part
from sysnoise_conform.compare.tensors import measure
from sysnoise_conform.diagnose.facts import Flags
from sysnoise_conform.diagnose.flags import PartTally, flags_of
from sysnoise_conform.judge.departure import departure, unit_of
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store import GoldenTensor

LIMITS = Policy().limits("ort", "t", layer=True)
Array = np.ndarray[Any, Any]


def compared(exact: Array, got: Array, single: Array, *, samples: int = 1, finest: float | None = None) -> Flags:
    """Flags of `got`, where PyTorch's float32 run of the operator gave `single`; the whole must not depart."""
    error = single.astype(np.float64) - exact
    floor = Floor(
        n=exact.size, sum_sq=float(np.square(error).sum()), sum_quad=float((error**4).sum()),
        max_abs=float(np.abs(error).max(initial=0)),
    )  # fmt: skip
    golden = GoldenTensor(name="t", elem_type=onnx.TensorProto.FLOAT, shape=exact.shape, data=exact, floor=floor)
    reference: Any = SimpleNamespace(about={"parts": {"t": sums_by_part(exact, single).tolist()}})
    tally = PartTally()
    for _ in range(samples):
        tally.add(golden, got, reference)
    diff = measure(golden, got, sample=0)
    assert departure(replace(diff, max_abs=0.0), LIMITS, max_code_share=0.01) is None
    return flags_of(diff, tally.known.get("t"), LIMITS, finest=finest)


def rounding(rng: np.random.Generator, exact: Array, size: float = 1e-7) -> Array:
    return (exact + rng.standard_normal(exact.shape) * size).astype(np.float32)


SHAPE = (1, 64, 28, 28)


@pytest.mark.parametrize("seed", range(3))
def test_one_channel_that_is_off_by_less_than_the_whole_may_be_is_found_and_named(seed: int) -> None:
    rng = np.random.default_rng(seed)
    exact = rng.standard_normal(SHAPE)
    got = rounding(rng, exact)
    got[:, 37] += 2e-6  # 20 units; 2.5 over the whole tensor

    flags = compared(exact, got, rounding(rng, exact))

    assert flags.rms_z is not None
    assert flags.rms_z < 5
    assert flags.channel == (1, 37)
    assert flags.channel_z == pytest.approx(20, rel=0.1)
    assert flags.part == "one_channel"
    assert "channel 37 of 64 (dimension 1)" in flags.finding


def test_a_lost_border_is_told_from_the_inside() -> None:
    rng = np.random.default_rng(4)
    exact = rng.standard_normal((1, 3, 224, 224))
    got = rounding(rng, exact)
    got[:, :, 0] += 2e-6

    flags = compared(exact, got, rounding(rng, exact))

    assert flags.border_z is not None
    assert flags.interior_z is not None
    assert flags.border_z > 15 > 2 > flags.interior_z
    assert "the top border" in flags.finding
    assert flags.part == "border"


SIZES = [(1, 64, 28, 28), (4, 1000), (2, 17, 96), (1, 8, 4, 4), (8, 2), (1, 512, 1, 1), (3, 3, 5, 7)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_a_healthy_tensor_has_no_finding_even_at_the_limit(shape: tuple[int, ...]) -> None:
    """The true ratio is 3, more than healthy runtimes show."""
    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        exact = rng.standard_normal(shape)
        flags = compared(exact, rounding(rng, exact, 3e-7), rounding(rng, exact))
        assert flags.finding == ""


def test_a_loud_channel_is_held_to_its_own_rounding() -> None:
    rng = np.random.default_rng(5)
    exact = rng.standard_normal(SHAPE) * np.geomspace(0.01, 30, 64)[None, :, None, None]
    single, got = (exact * (1 + rng.standard_normal(SHAPE) * 2e-7) for _ in range(2))

    assert compared(exact, got.astype(np.float32), single.astype(np.float32)).finding == ""


def test_a_bias_hides_in_bfloat16_s_rounding_and_not_in_the_mean() -> None:
    import ml_dtypes

    rng = np.random.default_rng(6)
    exact = rng.standard_normal(SHAPE)

    def stored(x: Array) -> Array:
        return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)

    single = stored(exact + rng.standard_normal(SHAPE) * 1e-7)
    healthy = stored(exact + rng.standard_normal(SHAPE) * 1e-7)
    biased = exact.copy()
    biased[:, 5] += 0.005

    assert compared(exact, healthy, single, finest=1e-7).finding == ""
    found = compared(exact, stored(biased), single, finest=1e-7)
    assert found.rms_z is not None
    assert found.rms_z < 1.5
    assert "channel 5 of 64 (dimension 1) off by +0.00511 in the mean of 784 elements" in found.finding
    assert compared(exact, stored(biased), single).finding == ""  # of float32 no mean is asked


def test_equal_values_round_alike_and_their_mean_is_no_bias() -> None:
    import ml_dtypes

    exact = np.full(SHAPE, 1 / 3)
    got = exact.astype(ml_dtypes.bfloat16).astype(np.float32)

    assert compared(exact, got, got, finest=1e-7).finding == ""


def test_sums_merge_over_samples_and_end_where_shapes_change() -> None:
    rng = np.random.default_rng(7)
    exact = rng.standard_normal((1, 4, 8, 8))
    single = rounding(rng, exact)
    once, thrice = (compared(exact, rounding(np.random.default_rng(8), exact), single, samples=n) for n in (1, 3))
    assert once.channel_z == pytest.approx(thrice.channel_z)

    tally = PartTally()
    for shape in ((1, 4, 8, 8), (1, 4, 9, 9), (1, 4, 8, 8)):
        data = np.ones(shape)
        golden = GoldenTensor(name="t", elem_type=onnx.TensorProto.FLOAT, shape=shape, data=data, floor=Floor(n=1))
        reference: Any = SimpleNamespace(about={"parts": {"t": sums_by_part(data, data).tolist()}})
        tally.add(golden, data.astype(np.float32), reference)
    assert tally.known == {}


def test_values_at_the_end_of_the_range_are_counted() -> None:
    exact = np.array([[1e5, 2.0, 3.0, -9e4]])
    got = np.array([[65504, 2, 3, -65504]], np.float16)
    golden = GoldenTensor(
        name="t", elem_type=onnx.TensorProto.FLOAT16, shape=exact.shape, data=np.clip(exact, -6e4, 6e4),
        floor=Floor(n=4),
    )  # fmt: skip
    reference: Any = SimpleNamespace(about={"parts": {"t": sums_by_part(golden.data, golden.data).tolist()}})
    tally = PartTally()
    tally.add(golden, got, reference)

    assert tally.known["t"].saturated == 2


def test_without_numbers_there_are_no_flags() -> None:
    golden = GoldenTensor(
        name="t", elem_type=onnx.TensorProto.INT64, shape=(2, 2), data=np.ones((2, 2), np.int64), floor=Floor(n=4)
    )
    diff = measure(golden, np.ones((2, 2), np.int64), sample=0)
    assert unit_of(diff) == 0
    assert flags_of(diff, None, LIMITS) == Flags()


def test_tallies_that_are_merged_are_one_and_a_tensor_of_changing_shape_has_no_parts() -> None:
    rng = np.random.default_rng(11)

    def tallied(*shapes: tuple[int, ...]) -> PartTally:
        tally = PartTally()
        for shape in shapes:
            exact = rng.standard_normal(shape)
            golden = GoldenTensor(name="t", elem_type=onnx.TensorProto.FLOAT, shape=shape, data=exact, floor=Floor())
            single = sums_by_part(exact, rounding(rng, exact)).tolist()
            tally.add(golden, rounding(rng, exact), SimpleNamespace(about={"parts": {"t": single}}))  # type: ignore[arg-type]
        return tally

    one, other = tallied((1, 4, 8, 8)), tallied((1, 4, 8, 8), (1, 4, 8, 8))
    expected = one.known["t"].errors + other.known["t"].errors
    one.merge(other)
    assert one.known["t"].samples == 3
    np.testing.assert_allclose(one.known["t"].errors, expected)

    one.merge(tallied((1, 4, 9, 9)))
    assert one.known == {}
    one.merge(other)
    assert one.known == {}
