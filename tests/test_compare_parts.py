"""Sums by part are those of the part, however the tensor is cut into blocks; every part is named."""

from __future__ import annotations

import numpy as np
import pytest

from sysnoise_conform.compare import parts
from sysnoise_conform.compare.parts import Part, parts_of, sums_by_part

SHAPES = [
    (1, 3, 8, 9), (2, 5, 4, 4), (3, 7), (2, 6, 5), (1, 1, 16, 16), (2, 3, 3, 3), (1, 2, 2, 6, 6), (4, 1), (300, 2),
    (1, 5000), (0, 4), (2, 0, 3), (7,), (),
]  # fmt: skip


def picked(error: np.ndarray, part: Part) -> np.ndarray:
    match part.kind:
        case "channel":
            return np.take(error, part.index, axis=part.axis)
        case "top":
            return error[..., 0, :]
        case "bottom":
            return error[..., -1, :]
        case "left":
            return error[..., 0]
        case "right":
            return error[..., -1]
        case "inside":
            return error[..., 1:-1, 1:-1]


@pytest.mark.parametrize("block", [8, 1 << 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_sum_is_that_of_its_part(shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK", block)
    rng = np.random.default_rng(len(shape))
    golden = rng.standard_normal(shape)
    got = (golden + rng.standard_normal(shape) / 100).astype(np.float32)
    error = got.astype(np.float64) - golden

    found = sums_by_part(golden, got)

    known = parts_of(shape)
    assert found.shape == (3, len(known))
    for at, part in enumerate(known):
        own = picked(error, part)
        assert part.size == own.size
        assert np.allclose(found[:, at], [own.sum(), np.square(own).sum(), (own**4).sum()], rtol=1e-9, atol=1e-15)


def test_what_is_not_finite_counts_as_nothing() -> None:
    golden, got = np.zeros((1, 2, 4, 4)), np.full((1, 2, 4, 4), 2.0, np.float32)
    got[0, 0, 0, 0], golden[0, 1, 2, 2], got[0, 1, 3, 3] = np.nan, np.inf, -np.inf

    sums = sums_by_part(golden, got)

    assert np.isfinite(sums).all()
    assert sums[1, :2].tolist() == [15 * 4, 14 * 4]


def test_a_vocabulary_s_scores_are_no_channels() -> None:
    assert {each.axis for each in parts_of((1, 6, 50_000))} == {1}
