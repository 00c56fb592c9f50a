"""Each planted difference reads as what it is, and random noise as nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tensors import golden_of

from sysnoise_conform.compare.readings import read

Array = np.ndarray[Any, Any]


def smooth(*shape: int, seed: int = 0) -> Array:
    """Image-like values: neighbours resemble each other, channels differ."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(shape).cumsum(axis=-1).cumsum(axis=-2)
    return (x - x.mean()) / x.std()


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def first(golden: Array, got: Array) -> tuple[str, str]:
    found = read(golden_of(golden), got.astype(np.float32))
    assert found, "nothing was read"
    return found[0].kind, found[0].value


@pytest.mark.parametrize("level", [1e-7, 1e-4, 3e-3, 0.05, 1.0])
@pytest.mark.parametrize("shape", [(1, 64), (1, 16, 20, 24), (1, 4, 32, 32), (4, 10, 8), (1, 20, 20, 3), (1, 1000)])
@pytest.mark.parametrize("seed", range(3))
def test_random_noise_looks_like_nothing(shape: tuple[int, ...], level: float, seed: int) -> None:
    golden = noise(*shape, seed=seed)
    got = golden + level * noise(*shape, seed=seed + 100)

    assert read(golden_of(golden), got) == ()


def test_an_exact_tensor_looks_like_nothing() -> None:
    golden = noise(4, 8).astype(np.float32)

    assert read(golden_of(golden.astype(np.float64)), golden) == ()


@pytest.mark.parametrize("scale", [1.02, 0.5, 255.0])
def test_a_constant_scale_is_named_with_its_value(scale: float) -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, golden * scale) == ("scale", f"{scale:.5g}")


def test_a_flipped_sign_is_named() -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, -golden)[0] == "sign_flip"


def test_a_constant_offset_is_named_with_its_value() -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, golden + 0.5) == ("offset", "+0.5")


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda x: np.roll(x, 1, -1), "by 1 pixel to the right"),
        (lambda x: np.roll(x, -1, -1), "by 1 pixel to the left"),
        (lambda x: np.roll(x, 1, -2), "by 1 pixel down"),
        (lambda x: np.roll(x, (-1, 1), (-2, -1)), "by 1 pixel up and 1 pixel to the right"),
        (lambda x: (x + np.roll(x, 1, -1)) / 2, "by half a pixel to the right"),
        (lambda x: (x + np.roll(x, -1, -2)) / 2, "by half a pixel up"),
    ],
)
def test_a_shift_is_named_with_its_direction(move: Callable[[Array], Array], words: str) -> None:
    golden = smooth(1, 6, 40, 48)

    assert first(golden, move(golden)) == ("shift", words)


def test_a_shift_is_found_in_channels_last_planes() -> None:
    golden = np.moveaxis(smooth(1, 6, 40, 48), 1, -1)

    assert first(golden, np.roll(golden, 1, 2)) == ("shift", "by 1 pixel to the right")


@pytest.mark.parametrize(("axis", "shape"), [(1, (1, 3, 24, 24)), (3, (1, 24, 24, 3)), (1, (2, 4, 16, 16))])
def test_swapped_channels_are_named_with_their_order(axis: int, shape: tuple[int, ...]) -> None:
    golden = noise(*shape)
    order = list(reversed(range(shape[axis])))

    kind, value = first(golden, np.take(golden, order, axis))

    assert kind == "channels_swapped"
    assert value == f"{', '.join(map(str, order))} along dimension {axis}"


def test_memory_read_in_the_other_layout_is_named() -> None:
    golden = noise(1, 8, 12, 10)

    assert first(golden, golden.transpose(0, 2, 3, 1).reshape(golden.shape)) == ("transposed", "NCHW read as NHWC")


def test_exchanged_height_and_width_are_named() -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, golden.swapaxes(2, 3)) == ("transposed", "H and W exchanged")


def test_a_shape_in_another_order_is_recognised_by_its_values() -> None:
    golden = noise(1, 8, 12, 10)

    assert first(golden, golden.transpose(0, 2, 3, 1)) == ("transposed", "NCHW read as NHWC")
    assert read(golden_of(golden), noise(1, 12, 10, 8, seed=9)) == ()
    assert read(golden_of(golden), noise(3, 3)) == ()


def test_a_constant_output_is_named_with_its_value() -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, np.full_like(golden, 0.25)) == ("constant", "0.25")
    assert first(golden, np.zeros_like(golden)) == ("constant", "0")


def test_values_clipped_at_a_bound_are_named() -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, np.minimum(golden, 1.0)) == ("clipped", "at 1 above")
    assert first(golden, np.clip(golden, -0.5, 1.0)) == ("clipped", "at 1 above, at -0.5 below")
    assert first(golden, np.maximum(golden, 0.0)) == ("clipped", "at 0 below")


def test_an_error_in_one_channel_is_located() -> None:
    golden = noise(1, 16, 12, 12)
    got = golden.copy()
    got[:, 7] += 0.3 * noise(12, 12, seed=3)

    assert first(golden, got) == ("one_channel", "channel 7 of 16 along dimension 1")


def test_rounding_that_follows_one_large_channel_is_not_blamed_on_it() -> None:
    golden = noise(1, 16, 12, 12)
    golden[:, 7] *= 1000
    got = golden * (1 + 1e-4 * noise(1, 16, 12, 12, seed=3))

    assert read(golden_of(golden), got) == ()


def test_an_error_at_the_border_is_located() -> None:
    golden = noise(1, 4, 24, 24)
    got = golden.copy()
    got[..., -1, :] += noise(1, 4, 24, seed=5)
    got[..., :, -1] += noise(1, 4, 24, seed=6)

    assert first(golden, got) == ("border", "bottom, right")


def test_hidden_nan_is_named_beside_the_rest() -> None:
    golden = noise(1, 4, 8, 8)
    golden[0, 0] = np.nan
    got = np.where(np.isnan(golden), 0.0, golden)

    assert first(golden, got) == ("nan_hidden", "64 of 64")


@pytest.mark.parametrize(("kind", "dtype"), [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)])
def test_values_that_were_stored_in_a_lower_precision_are_named(kind: str, dtype: Any) -> None:
    golden = noise(1, 8, 16, 16)

    assert first(golden, golden.astype(np.float32).astype(dtype).astype(np.float32))[0] == kind


def test_a_product_in_bfloat16_reads_as_bfloat16() -> None:
    x, w = noise(32, 64), noise(64, 48, seed=1)
    low = [each.astype(ml_dtypes.bfloat16).astype(np.float32) for each in (x, w)]

    assert first(x @ w, (low[0] @ low[1]).astype(ml_dtypes.bfloat16).astype(np.float32))[0] == "bfloat16"


def test_a_golden_that_is_representable_itself_proves_no_precision() -> None:
    golden = np.round(noise(1, 8, 16, 16) * 8)

    assert read(golden_of(golden), golden + np.round(noise(1, 8, 16, 16, seed=2))) == ()


def test_a_scale_in_bfloat16_reads_as_a_scale_first_and_as_bfloat16_too() -> None:
    golden = noise(1, 8, 16, 16)
    got = (golden * 1.02).astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)

    found = read(golden_of(golden), got)

    assert [each.kind for each in found] == ["scale", "bfloat16"]
    assert float(found[0].value) == pytest.approx(1.02, abs=2e-4)


def test_the_best_hypothesis_goes_first_with_what_it_leaves_unexplained() -> None:
    golden = smooth(1, 6, 40, 48)

    found = read(golden_of(golden), (golden * 1.02 + 1e-5 * noise(1, 6, 40, 48)).astype(np.float32))

    assert found[0].kind == "scale"
    assert 0 < found[0].residual < 0.01
    assert [each.residual < 0.5 for each in found] == [True] * len(found)


def test_a_few_elements_are_too_few_to_read() -> None:
    golden = noise(1, 8)

    assert read(golden_of(golden), golden * 1.02) == ()


def test_integers_are_not_read() -> None:
    golden = np.arange(64)

    assert read(golden_of(golden, "INT64"), golden * 2) == ()


def test_reading_a_large_tensor_looks_at_a_part_of_it() -> None:
    golden = noise(2, 64, 128, 128)

    assert first(golden, golden * 1.5) == ("scale", "1.5")


def test_weights_that_were_scaled_are_named_beside_a_bias_that_was_not() -> None:
    product, bias = noise(1, 16, 12, 12), 3 * noise(1, 16, 1, 1, seed=5)

    assert first(product + bias, 1.002 * product + bias) == ("scale", "1.002 before a bias is added")
    assert first(product[:, :, 0, 0] + bias[:, :, 0, 0], product[:, :, 0, 0] + bias[:, :, 0, 0] + 0.5)[0] == "offset"


def test_biases_that_were_shifted_are_no_scale() -> None:
    golden = noise(1, 16, 12, 12)

    found = read(golden_of(golden), golden + 0.05 * noise(1, 16, 1, 1, seed=5))

    assert "scale" not in [each.kind for each in found]


@pytest.mark.parametrize(
    ("dtype", "change", "expected"),
    [
        ("INT64", lambda x: np.clip(x, -(2**31), 2**31 - 1), ("clipped", "at 2147483647 above, at -2147483648 below")),
        ("INT64", lambda x: x.astype(np.int32).astype(np.int64), ("wrapped", "around at 32 bits")),
        ("INT64", lambda x: x.astype(np.float32).astype(np.float64).astype(np.int64), ("float32", "")),
    ],
)
def test_integers_beyond_what_a_runtime_holds_them_in(
    dtype: str, change: Callable[[Array], Array], expected: tuple[str, str]
) -> None:
    golden = np.random.default_rng(0).integers(-(2**40), 2**40, 200)

    found = read(golden_of(golden, dtype), change(golden))

    assert (found[0].kind, found[0].value, found[0].residual) == (*expected, 0)


def test_integers_that_saturate_and_integers_that_wrap_are_told_apart() -> None:
    a, b = np.random.default_rng(0).integers(0, 256, (2, 200))
    wraps, saturates = ((a + b) % 256).astype(np.uint8), np.minimum(a + b, 255).astype(np.uint8)

    (first_found, *_) = read(golden_of(wraps, "UINT8"), saturates)
    (second_found, *_) = read(golden_of(saturates, "UINT8"), wraps)

    assert (first_found.kind, first_found.value, first_found.residual) == ("saturated", "at 255", 0)
    assert (second_found.kind, second_found.residual) == ("wrapped", 0)


def test_codes_that_are_one_off_and_random_integers_look_like_nothing() -> None:
    draw = np.random.default_rng(0)
    golden = draw.integers(-128, 128, 400).astype(np.int8)
    off_by_one = np.where(golden < 100, golden + 1, golden).astype(np.int8)

    assert read(golden_of(golden, "INT8"), off_by_one) == ()
    assert read(golden_of(golden, "INT8"), draw.integers(-127, 127, 400).astype(np.int8)) == ()
    assert read(golden_of(golden.astype(np.int64), "INT64"), draw.integers(0, 400, 400)) == ()
