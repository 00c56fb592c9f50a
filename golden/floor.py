"""PyTorch's own rounding at a tensor: its float32 run against the float64 one, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sysnoise_conform.golden.types import FLOATS, T
from sysnoise_conform.golden.values import Value, to_numpy
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store.entry import EntryWriter

CODES = frozenset({T.INT8, T.UINT8})
BLOCK = 1 << 17  # elements: three float64 blocks of 1 MiB stay in the cache


def floor_of(exact: EntryWriter, name: str, value: Value, sigma: Sigma | None = None) -> Floor:
    """The floor of the tensor `name`, whose float64 form is in `exact` and float32 form is `value`.

    Sums and maxima run over the elements that are finite in both, and `n` counts these. `mismatches`
    counts elements of integers and bools that differ, and elements of floats that are finite in one run
    only, or NaN or Inf of the other sign. A float32 run that has another shape (NonZero, NMS) mismatches
    everywhere and is told by `shapes_differ`.
    """
    total = math.prod(exact.shape(name))
    if tuple(value.data.shape) != exact.shape(name):
        return Floor(n=total, mismatches=total, shapes_differ=True)
    if value.elem_type not in FLOATS:
        declared = to_numpy(value).reshape(-1)
        differ = sum(
            int(np.count_nonzero(exact.block(name, start, BLOCK) != declared[start : start + BLOCK]))
            for start in range(0, total, BLOCK)
        )
        squares, powers = (None, 0.0) if sigma is None else sigma.moments(Floor(n=total))
        return Floor(
            n=total, mismatches=differ, sigma_sq=squares, sigma_quad=powers,
            sigma_max=0.0 if sigma is None else sigma.max_abs, sigma_runs=0 if sigma is None else sigma.runs,
        )  # fmt: skip
    rounded = value.elem_type == T.FLOAT  # the others are exactly their declared type in both runs
    flat = value.data.reshape(-1)
    floor = None
    for start in range(0, total, BLOCK):
        truth = torch.from_numpy(exact.block(name, start, BLOCK))
        part = _block(truth, flat[start : start + BLOCK].to(torch.float64), rounded=rounded)
        floor = part if floor is None else floor.merged(part)
    floor = floor or Floor()
    sigma_sq, sigma_quad = (None, 0.0) if sigma is None else sigma.moments(floor)
    return Floor(
        n=floor.n,
        sum_sq=floor.sum_sq,
        sum_quad=floor.sum_quad,
        max_abs=floor.max_abs,
        rounding_sum_sq=floor.rounding_sum_sq,
        rounding_max=floor.rounding_max,
        mismatches=floor.mismatches,
        sigma_sq=sigma_sq,
        sigma_quad=sigma_quad,
        sigma_max=0.0 if sigma is None else sigma.max_abs,
        sigma_runs=0 if sigma is None else sigma.runs,
    )


@dataclass(slots=True)
class Sigma:
    """How far simulated runs were off at one tensor: sums over the elements and the runs.

    Runs `in_float32` are off by their own rounding as well, which is as large as the floor.
    """

    in_float32: bool = False
    runs: int = 0
    sum_sq: float = 0.0
    sum_quad: float = 0.0
    max_abs: float = 0.0

    def moments(self, floor: Floor) -> tuple[float | None, float]:
        """Sums of squares and of fourth powers, the mean of the runs, without their own rounding."""
        if not self.runs:
            return None, 0.0
        squares, powers = self.sum_sq / self.runs, self.sum_quad / self.runs
        if not self.in_float32 or not squares:
            return squares, powers
        share = max(0.0, 1 - floor.sum_sq / squares)
        return share * squares, share**2 * powers

    def add(self, exact: EntryWriter, name: str, value: Value) -> None:
        """Another run's tensor; one of another shape, as a flipped decision makes it, says nothing.

        Of floats, and of codes of 8 bits, whose errors are counted in codes.
        """
        if tuple(value.data.shape) != exact.shape(name) or value.elem_type not in FLOATS | CODES:
            return
        flat = value.data.reshape(-1)
        self.runs += 1
        for start in range(0, flat.numel(), BLOCK):
            truth = torch.from_numpy(exact.block(name, start, BLOCK)).to(torch.float64)
            error = flat[start : start + BLOCK].to(torch.float64) - truth
            squares = float(torch.dot(error, error))
            if not squares < float("inf"):
                error = error[error.isfinite()]
                squares = float(torch.dot(error, error))
            if squares:
                powers = error * error
                self.sum_sq += squares
                self.sum_quad += float(torch.dot(powers, powers))
                self.max_abs = max(self.max_abs, _largest(error))


def _block(truth: Tensor, single: Tensor, *, rounded: bool) -> Floor:
    mismatches = 0
    error = single - truth
    squares = float(torch.dot(error, error))
    if squares == 0.0 and not error.any():  # equal throughout, so the float64 values are float32's own
        return Floor(n=truth.numel(), sigma_sq=0.0)
    if not squares < float("inf"):  # NaN too
        finite = truth.isfinite() & single.isfinite()
        same = (truth == single) | (truth.isnan() & single.isnan())
        mismatches = int((~finite & ~same).sum())
        truth, error = truth[finite], error[finite]
        squares = float(torch.dot(error, error))
    if not truth.numel():
        return Floor(mismatches=mismatches, sigma_sq=0.0)
    powers = error * error
    rounding_sum, rounding_max = 0.0, 0.0
    if rounded:
        rounding = truth.to(torch.float32).to(torch.float64) - truth
        rounding_sum, rounding_max = float(torch.dot(rounding, rounding)), _largest(rounding)
    return Floor(
        n=truth.numel(),
        sum_sq=squares,
        sum_quad=float(torch.dot(powers, powers)),
        max_abs=_largest(error),
        rounding_sum_sq=rounding_sum,
        rounding_max=rounding_max,
        mismatches=mismatches,
        sigma_sq=0.0,
    )


def _largest(values: Tensor) -> float:
    low, high = torch.aminmax(values)  # no temporary, unlike abs
    return float(max(-low, high))
