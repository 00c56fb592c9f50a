"""The comparison of two tensors, held against a naive one in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensors import golden_of

from sysnoise_conform.compare import sums, ulp
from sysnoise_conform.compare.tensors import measure, merge
from sysnoise_conform.outcome import Floor, Reading, TensorDiff, Worst

Array = np.ndarray[Any, Any]

FLOATS = {
    "FLOAT": np.float32, "FLOAT16": np.float16, "BFLOAT16": ml_dtypes.bfloat16, "DOUBLE": np.float64,
}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def oracle(golden: Array, got: Array) -> dict[str, float]:
    """Exact sums over the finite pairs, element by element."""
    pairs = [
        (float(g), float(a))
        for g, a in zip(golden.reshape(-1), got.reshape(-1), strict=True)
        if math.isfinite(g) and math.isfinite(float(a))
    ]
    return {
        "finite": len(pairs),
        "sum_sq_err": math.fsum((a - g) ** 2 for g, a in pairs),
        "sum_quad_err": math.fsum((a - g) ** 4 for g, a in pairs),
        "sum_quad_golden": math.fsum(g**4 for g, _ in pairs),
        "max_abs": max((abs(a - g) for g, a in pairs), default=0.0),
        "sum_golden": math.fsum(g for g, _ in pairs),
        "sum_got": math.fsum(a for _, a in pairs),
        "sum_sq_golden": math.fsum(g * g for g, _ in pairs),
        "sum_sq_got": math.fsum(a * a for _, a in pairs),
        "dot": math.fsum(a * g for g, a in pairs),
        "max_golden": max((abs(g) for g, _ in pairs), default=0.0),
    }


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 7, 1000, sums.BLOCK, sums.BLOCK + 1, 2 * sums.BLOCK + 5])
def test_every_sum_agrees_with_the_oracle(dtype: str, size: int) -> None:
    golden = noise(size)
    got = (golden * (1 + 1e-3 * noise(size, seed=1))).astype(FLOATS[dtype])

    diff = measure(golden_of(golden, dtype), got, sample=3)

    for name, value in oracle(golden, got).items():
        assert getattr(diff, name) == pytest.approx(value, rel=1e-11, abs=1e-9), name
    assert diff.n == size
    assert diff.mismatches == sum(
        g != a for g, a in zip(golden.astype(np.float32).astype(FLOATS[dtype]) if dtype == "BFLOAT16"
                               else golden.astype(FLOATS[dtype]), got, strict=True)
    )  # fmt: skip


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(width=32)),
    arrays(np.float32, 40, elements=st.floats(width=32)),
    st.integers(1, 13),
)
@settings(max_examples=150, deadline=None)
def test_any_values_agree_with_the_oracle_whatever_the_block(golden: Array, other: Array, block: int) -> None:
    got = other[: golden.size]
    before, sums.BLOCK = sums.BLOCK, block
    try:
        diff = measure(golden_of(golden), got, sample=0)
    finally:
        sums.BLOCK = before

    for name, value in oracle(golden, got).items():
        assert getattr(diff, name) == pytest.approx(value, rel=1e-9, abs=1e-300), name
    same = (golden.astype(np.float32) == got) | (np.isnan(golden) & np.isnan(got))
    assert diff.mismatches == np.count_nonzero(~same)
    assert diff.exact == (golden.size > 0 and bool(same.all()))
    assert diff.nan_golden == np.count_nonzero(~np.isfinite(golden))
    assert diff.nan_got == np.count_nonzero(~np.isfinite(got))
    assert diff.nan_mismatch == np.count_nonzero(~same & ~(np.isfinite(golden) & np.isfinite(got)))


def test_the_worst_element_is_named_with_its_sample_index_and_values() -> None:
    golden = noise(3, 50, 200)
    got = golden.astype(np.float32)
    got[2, 7, 133] += 5

    diff = measure(golden_of(golden), got, sample=4)

    assert diff.worst == Worst(sample=4, index=(2, 7, 133), golden=golden[2, 7, 133], got=float(got[2, 7, 133]))


def test_a_nan_against_a_number_is_never_dropped() -> None:
    golden, got = noise(4, 10_000), noise(4, 10_000).astype(np.float32)
    got[3, 9_999] = np.nan

    diff = measure(golden_of(golden), got, sample=2)

    assert (diff.nan_golden, diff.nan_got, diff.nan_mismatch, diff.mismatches > 0) == (0, 1, 1, True)
    assert diff.first_nonfinite == (2, 3, 9_999)
    assert diff.finite == diff.n - 1
    assert not diff.exact


@pytest.mark.parametrize(
    ("golden", "got", "mismatch"),
    [
        (np.nan, np.nan, 0),
        (np.inf, np.inf, 0),
        (-np.inf, -np.inf, 0),
        (np.inf, -np.inf, 1),
        (np.inf, np.nan, 1),
        (np.nan, np.inf, 1),
        (np.inf, 3.0e38, 1),
        (0.0, np.nan, 1),
    ],
)
def test_what_is_not_finite_agrees_only_with_its_like(golden: float, got: float, mismatch: int) -> None:
    diff = measure(golden_of([1.0, golden]), np.array([1.0, got], np.float32), sample=0)

    assert diff.nan_mismatch == mismatch
    assert diff.exact == (not mismatch)
    assert diff.first_nonfinite == (0, 1)


def test_the_first_place_is_that_of_a_mismatch_where_there_is_one() -> None:
    golden = np.zeros(40_000)
    golden[5] = np.nan
    got = golden.astype(np.float32)
    got[39_000] = np.inf

    assert measure(golden_of(golden), got, sample=0).first_nonfinite == (0, 39_000)


def test_nan_on_both_sides_everywhere_leaves_no_finite_element() -> None:
    diff = measure(golden_of(np.full(9, np.nan)), np.full(9, np.nan, np.float32), sample=0)

    assert (diff.finite, diff.rmse, diff.floor_ratio, diff.exact) == (0, None, None, True)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (2, 2), (), (4, 0)])
def test_another_shape_is_never_broadcast(shape: tuple[int, ...]) -> None:
    diff = measure(golden_of(noise(4)), np.zeros(shape, np.float32), sample=0)

    assert diff.shape_got == shape
    assert (diff.n, diff.samples, diff.exact, diff.comparable) == (0, 1, False, False)


@pytest.mark.parametrize(
    ("declared", "got", "name"),
    [
        ("FLOAT", np.float64, "DOUBLE"),
        ("FLOAT", np.float16, "FLOAT16"),
        ("INT64", np.int32, "INT32"),
        ("BOOL", np.uint8, "UINT8"),
        ("FLOAT16", ml_dtypes.bfloat16, "BFLOAT16"),
        ("FLOAT", np.dtype("M8[s]"), "datetime64[s]"),
    ],
)
def test_another_type_is_named_by_onnx(declared: str, got: Any, name: str) -> None:
    golden = np.zeros(3) if "FLOAT" in declared else np.zeros(3, np.int64)

    assert measure(golden_of(golden, declared), np.zeros(3, got), sample=0).dtype_got == name


def test_scalars_and_empty_tensors_have_their_numbers() -> None:
    scalar = measure(golden_of(2.0), np.array(2.5, np.float32), sample=0)
    empty = measure(golden_of(np.zeros((0, 6))), np.zeros((0, 6), np.float32), sample=0)

    assert (scalar.n, scalar.max_abs, scalar.worst) == (1, 0.5, Worst(sample=0, index=(), golden=2.0, got=2.5))
    assert (empty.n, empty.samples, empty.rmse, empty.exact, empty.comparable) == (0, 1, None, False, True)


def test_strided_and_big_endian_arrays_are_taken_as_meant() -> None:
    golden = noise(40, 30)
    plain = golden.astype(np.float32)

    for got in (plain.astype(">f4"), np.asfortranarray(plain), np.repeat(plain, 2, axis=1)[:, ::2]):
        assert measure(golden_of(golden), got, sample=0).exact
    assert measure(golden_of(np.arange(5), "INT32"), np.arange(5, dtype=">i4"), sample=0).exact


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_are_compared_exactly_to_the_ends_of_their_range(dtype: Any) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    golden = np.array([low, high, high - 1, 5], dtype)
    got = np.array([high, low, high, 5], dtype)

    diff = measure(golden_of(golden, np.dtype(dtype).name.upper()), got, sample=0)

    assert diff.mismatches == 3
    assert diff.max_abs == float(int(high) - int(low))
    assert diff.worst is not None
    assert diff.worst.index in ((0,), (1,))


def test_large_integers_that_float64_can_not_tell_apart_still_differ() -> None:
    diff = measure(golden_of(np.array([2**62], np.int64), "INT64"), np.array([2**62 + 1]), sample=0)

    assert (diff.mismatches, diff.max_abs, diff.exact) == (1, 1.0, False)


def test_bools_are_compared_by_equality() -> None:
    diff = measure(golden_of(np.array([True, False, True]), "BOOL"), np.array([True, True, True]), sample=0)

    assert (diff.mismatches, diff.max_abs, diff.n) == (1, 1.0, 3)


def test_four_bit_integers_may_come_in_the_byte_that_holds_them() -> None:
    golden = golden_of(np.array([-8, 7, 0], np.int8), "INT4")

    assert measure(golden, np.array([-8, 7, 0], np.int8), sample=0).exact
    assert measure(golden, np.array([-8, 7, 0]).astype(ml_dtypes.int4), sample=0).exact
    assert measure(golden, np.array([-8, 7, 1], np.int8), sample=0).mismatches == 1


def test_complex_numbers_are_compared_as_pairs() -> None:
    golden = noise(4, 5) + 1j * noise(4, 5, seed=1)
    got = golden.astype(np.complex64)
    got[3, 2] += 2j

    diff = measure(golden_of(golden, "COMPLEX64"), got, sample=0)

    assert diff.max_abs == pytest.approx(2, rel=1e-6)
    assert diff.worst is not None
    assert diff.worst.index == (3, 2)


def test_strings_are_compared_by_equality() -> None:
    golden = np.array(["a", "b", "c"], dtype=object)

    diff = measure(golden_of(golden, "STRING"), np.array([b"a", "x", "c"], dtype=object), sample=0)

    assert (diff.n, diff.mismatches, diff.rmse) == (3, 1, None)
    assert measure(golden_of(golden, "STRING"), np.array(["a", "b", "c"]), sample=0).exact


def test_values_whose_squares_overflow_are_not_taken_for_equal() -> None:
    diff = measure(golden_of([1e200, 1.0], "DOUBLE"), np.array([-1e200, 1.0]), sample=0)

    assert diff.max_abs == 2e200
    assert diff.sum_sq_err == math.inf
    assert diff.mismatches == 1


def test_metrics_are_what_their_names_say() -> None:
    golden, got = noise(5000), (noise(5000) + 1e-2 * noise(5000, seed=1)).astype(np.float32)
    floor = Floor(n=5000, sum_sq=5000 * 1e-8, max_abs=1e-3, rounding_sum_sq=5000 * 1e-14, sigma_sq=5000 * 1e-6)

    diff = measure(golden_of(golden, floor=floor), got, sample=0)

    error = got - golden
    assert diff.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert diff.rel_l2 == pytest.approx(np.linalg.norm(error) / np.linalg.norm(golden))
    assert diff.sqnr_db == pytest.approx(-20 * np.log10(np.linalg.norm(error) / np.linalg.norm(golden)))
    assert diff.cosine == pytest.approx(golden @ got / np.linalg.norm(golden) / np.linalg.norm(got))
    assert diff.floor_ratio == pytest.approx(np.sqrt(np.mean(error**2)) / 1e-4)
    assert diff.max_floor_ratio == pytest.approx(np.abs(error).max() / 1e-3)
    assert diff.z == pytest.approx(np.sqrt(np.mean(error**2)) / 1e-3)


small = st.integers(-8, 8).map(float)
awkward = st.one_of(small, st.sampled_from([math.nan, math.inf, -math.inf]))


@st.composite
def diffs(draw: Any) -> TensorDiff:
    """Diffs of small integers, so that float sums are exact and associativity can be asked for exactly."""
    size = draw(st.integers(0, 6))
    golden = np.array(draw(st.lists(awkward, min_size=size, max_size=size)), float)
    got = np.array(draw(st.lists(awkward, min_size=size, max_size=size)), np.float32)
    if draw(st.integers(0, 9)) == 0:
        got = got.astype(np.float16)
    diff = measure(golden_of(golden, floor=Floor(n=size, sum_sq=float(size))), got, sample=draw(st.integers(0, 3)))
    readings = (Reading(kind="scale", residual=0.1, value="2"),) if draw(st.booleans()) else ()
    return replace(diff, readings=readings)


@given(diffs(), diffs(), diffs())
@settings(max_examples=200, deadline=None)
def test_merging_is_associative(a: TensorDiff, b: TensorDiff, c: TensorDiff) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(st.lists(st.tuples(awkward, awkward), min_size=2, max_size=30), st.integers(1, 29))
@settings(max_examples=100, deadline=None)
def test_merged_samples_count_as_one_comparison(pairs: list[tuple[float, float]], cut: int) -> None:
    golden = np.array([g for g, _ in pairs])
    got = np.array([a for _, a in pairs], np.float32)
    whole = measure(golden_of(golden), got, sample=0)

    merged = merge(
        measure(golden_of(golden[:cut]), got[:cut], sample=0), measure(golden_of(golden[cut:]), got[cut:], sample=1)
    )

    same = ("n", "finite", "sum_sq_err", "max_abs", "sum_golden", "dot", "mismatches", "nan_golden", "nan_got",
            "nan_mismatch", "max_golden")  # fmt: skip
    assert {name: getattr(merged, name) for name in same} == {name: getattr(whole, name) for name in same}
    assert merged.samples == (2 if cut else 1)


def test_different_tensors_do_not_merge() -> None:
    a = measure(golden_of([1.0], name="a"), np.ones(1, np.float32), sample=0)
    b = measure(golden_of([1.0], name="b"), np.ones(1, np.float32), sample=0)

    with pytest.raises(ValueError, match="not the same tensor"):
        merge(a, b)


def test_a_wrong_shape_in_one_sample_stays_when_others_are_right() -> None:
    right = measure(golden_of(noise(4)), noise(4).astype(np.float32), sample=0)
    wrong = measure(golden_of(noise(4)), noise(5).astype(np.float32), sample=1)

    assert merge(right, wrong).shape_got == (5,)
    assert merge(wrong, right).shape_got == (5,)


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16", "BFLOAT16"])
@pytest.mark.parametrize("level", [1e-6, 1e-3, 1.0])
def test_the_99th_percentile_in_ulp_is_within_one_bin_of_the_exact_one(dtype: str, level: float) -> None:
    golden = noise(20_000)
    got = (golden + level * noise(20_000, seed=1)).astype(FLOATS[dtype])
    got[:500] = golden[:500].astype(FLOATS[dtype])

    found = ulp.p99(measure(golden_of(golden, dtype), got, sample=0))

    errors = np.sort(np.abs(got.astype(np.float64) - golden))
    spacing = float(np.spacing(np.abs(golden).max().astype(np.float32)))
    spacing *= {"FLOAT": 1, "FLOAT16": 2**13, "BFLOAT16": 2**16}[dtype]
    exact = errors[math.ceil(0.99 * errors.size) - 1] / spacing
    assert found is not None
    assert abs(ulp.bin_of(found) - ulp.bin_of(exact)) <= 1
    assert found == pytest.approx(exact, rel=1 / ulp.BINS_PER_OCTAVE)


def test_a_histogram_survives_merging_over_samples_of_one_scale() -> None:
    golden = noise(3000)
    golden[[0, 1500]] = 4.0
    got = (golden + 1e-5 * noise(3000, seed=1)).astype(np.float32)

    parts = [measure(golden_of(golden[at]), got[at], sample=0) for at in (slice(0, 1500), slice(1500, None))]

    assert merge(*parts).ulp_histogram == measure(golden_of(golden), got, sample=0).ulp_histogram


def test_exact_tensors_are_0_ulp_off_and_integers_have_no_ulp() -> None:
    exact = measure(golden_of(np.arange(9.0)), np.arange(9, dtype=np.float32), sample=0)
    integers = measure(golden_of(np.arange(9), "INT64"), np.arange(9), sample=0)

    assert ulp.p99(exact) == 0
    assert ulp.p99(integers) is None


@given(st.floats(1e-300, 1e300))
@settings(max_examples=200, deadline=None)
def test_the_middle_of_a_bin_lies_in_the_bin(value: float) -> None:
    index = ulp.bin_of(value)

    assert ulp.bin_of(ulp.bin_centre(index)) == index
    assert ulp.bin_centre(index) == pytest.approx(value, rel=1 / 16)


def test_one_ulp_off_is_one_ulp() -> None:
    golden = np.full(1000, 1.5)
    got = np.nextafter(golden.astype(np.float32), np.float32(2))

    assert ulp.p99(measure(golden_of(golden), got, sample=0)) == pytest.approx(1, rel=1 / 8)


def test_eight_million_elements_take_a_fraction_of_a_second() -> None:
    import time

    golden = np.tile(noise(1_000_000), 8)
    got = golden.astype(np.float32)
    taken = []
    for _ in range(3):
        start = time.process_time()
        measure(golden_of(golden), got, sample=0)
        taken.append(time.process_time() - start)

    assert min(taken) < 1.0  # 0.06 s on an idle core; the rest is for a busy one
