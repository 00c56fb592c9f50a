"""What a tensor's rms drowns: one channel, one side of the border, values at the end of their range.

The error of each part (`compare.parts`) counts in units of what the part itself may be off: PyTorch's float32 run of
that operator there, but no less than the unit of the whole tensor. Thousands of parts are tried, so each limit is
widened to what chance makes of the largest of them (Bonferroni): one healthy tensor in a thousand may exceed it by
chance alone, and only where its true ratio is at the limit already. What few elements carry is widened as ever.

In an arithmetic of few bits a bias hides in the rounding of every element, and not in their mean. There a part's mean
error, less that of PyTorch's own rounding of the same values (which repeats where values do), is tried as well:
rounding to nearest leaves sigma / sqrt(n) of it. That is tried at dot products alone, whose constants are known to be
rounded, and not in float32, where the rounding of a folded weight is the same at all pixels of its channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from sysnoise_conform.compare.parts import Part, parts_of, sums_by_part
from sysnoise_conform.diagnose.facts import Flags, Layer
from sysnoise_conform.judge.chance import fisher_quantile
from sysnoise_conform.judge.departure import CONFIDENCE, Departure, floor_of, plain, unit_of
from sysnoise_conform.judge.policy import Limits
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.store import GoldenSample, GoldenTensor

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class PartSums:
    """Of one tensor, over the samples so far."""

    shape: tuple[int, ...]
    samples: int
    errors: Array  # (3, parts): of e, e², e⁴
    floors: Array  # likewise of PyTorch's float32 run
    saturated: int = 0


@dataclass(slots=True)
class PartTally:
    """Errors by part, by tensor; a few numbers per channel, however many samples there are."""

    known: dict[str, PartSums] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)  # tensors whose shape changes from sample to sample

    def add(self, golden: GoldenTensor, got: Array, reference: GoldenSample) -> None:
        """One sample's tensor; `reference` is the entry that `golden` is of."""
        floors = reference.about.get("parts", {}).get(golden.name)
        shape = tuple(golden.shape)
        if floors is None or golden.name in self.given_up or tuple(got.shape) != shape or got.dtype.kind != "f":
            return
        floors = np.asarray(floors)
        if floors.shape != (3, len(parts_of(shape))):
            return
        self._count(golden.name, PartSums(shape, 1, sums_by_part(golden.data, got), floors, _saturated(golden, got)))

    def merge(self, other: PartTally) -> None:
        """Take in what another tally gathered, of other samples or of other tensors."""
        for name in other.given_up:
            self.given_up.add(name)
            self.known.pop(name, None)
        for name, sums in other.known.items():
            self._count(name, sums)

    def _count(self, name: str, new: PartSums) -> None:
        old = self.known.get(name)
        if name in self.given_up or (old is not None and old.shape != new.shape):
            self.given_up.add(name)
            self.known.pop(name, None)
            return
        if old is not None:
            new = PartSums(
                new.shape, old.samples + new.samples, old.errors + new.errors, old.floors + new.floors,
                old.saturated + new.saturated,
            )  # fmt: skip
        self.known[name] = new


def flags_of(diff: TensorDiff, sums: PartSums | None, limits: Limits, *, finest: float | None = None) -> Flags:
    """A tensor's flags; with `finest`, the rms that float32 alone would be off, means are tried as well."""
    unit = unit_of(diff)
    if not unit or diff.rmse is None or not diff.comparable:
        return Flags(saturated=0 if sums is None else sums.saturated)
    flags = Flags(rms_z=diff.rmse / unit, max_z=diff.max_abs / unit, saturated=0 if sums is None else sums.saturated)
    if sums is None or sums.errors.shape[1] == 0:
        return flags
    parts = parts_of(sums.shape)
    sizes = np.array([each.size for each in parts]) * sums.samples
    scale = unit / floor_of(diff) if floor_of(diff) > 0 else 1.0
    with np.errstate(all="ignore"):
        rms = np.sqrt(sums.errors[1] / sizes)
        units = np.maximum(unit, scale * np.sqrt(sums.floors[1] / sizes))
        z = rms / units
    worst = {kind: _worst(parts, z, kind) for kind in ("channel", "border", "inside")}
    found = _beyond(parts, sizes, sums, z, units, limits, finest)
    return Flags(
        rms_z=flags.rms_z,
        max_z=flags.max_z,
        channel_z=None if worst["channel"] is None else float(z[worst["channel"]]),
        channel=None if worst["channel"] is None else (parts[worst["channel"]].axis, parts[worst["channel"]].index),
        border_z=None if worst["border"] is None else float(z[worst["border"]]),
        interior_z=None if worst["inside"] is None else float(z[worst["inside"]]),
        saturated=flags.saturated,
        part="" if found is None else found[0],
        finding="" if found is None else found[1],
    )


def flagged(layer: Layer) -> Departure | None:
    """The departure that only a part shows."""
    diff = layer.in_unit or layer.replayed or layer.island
    if diff is None or layer.flags is None or not layer.flags.finding:
        return None
    return Departure(diff=diff, number=layer.flags.rms_z, words=layer.flags.finding)


def _beyond(
    parts: tuple[Part, ...], sizes: Array, sums: PartSums, z: Array, units: Array, limits: Limits, finest: float | None
) -> tuple[str, str] | None:
    """The part that is furthest beyond its limit: its kind, and that in words."""
    tried = len(parts)
    best: tuple[float, Part, str] | None = None
    for at in np.flatnonzero(z > limits.max_z):
        allowed = limits.max_z * _widened(_carriers(sums, int(at), int(sizes[at])), tried)
        excess = float(z[at]) / allowed
        if excess > 1 and (best is None or excess > best[0]):
            where = _named(parts[at], sums.shape)
            best = excess, parts[at], f"has {where} {plain(float(z[at]))} floor units off (limit {plain(allowed)})"
    with np.errstate(all="ignore"):
        means = np.abs(sums.errors[0] - sums.floors[0]) / sizes
    chance = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * tried)) * math.sqrt(2)
    for at in np.flatnonzero(means > limits.max_z * finest) if finest is not None else ():
        assert finest is not None
        carrying = _carriers(sums, int(at), int(sizes[at]))
        allowed = limits.max_z * finest + chance * float(units[at]) / math.sqrt(carrying)
        excess = float(means[at]) / allowed
        if carrying >= _FEWEST and excess > 1 and (best is None or excess > best[0]):
            sign = "+" if sums.errors[0][at] > sums.floors[0][at] else "-"
            where = _named(parts[at], sums.shape)
            best = excess, parts[at], (
                f"has {where} off by {sign}{plain(float(means[at]))} in the mean of {sizes[at]:,} elements "
                f"(limit {plain(allowed)})"
            )  # fmt: skip
    return None if best is None else ("one_channel" if best[1].kind == "channel" else "border", best[2])


_FEWEST = 16  # elements that carry the rounding: a mean of fewer is no mean


def _carriers(sums: PartSums, at: int, size: int) -> int:
    """How many elements of a part carry its rounding, as `judge.departure.carriers` tells of a whole tensor."""

    def participation(squares: float, powers: float) -> float:
        return 3 * squares * (squares / powers) - 2 if powers > 0 and math.isfinite(powers) else 1.0

    known = max(participation(float(each[1][at]), float(each[2][at])) for each in (sums.floors, sums.errors))
    return max(1, min(size, math.floor(known + 1e-6)))


def _widened(carrying: int, tried: int) -> float:
    digits = max(0, len(str(carrying)) - 2)
    return _widening(carrying // 10**digits * 10**digits, tried)


@lru_cache(maxsize=4096)
def _widening(n: int, tried: int) -> float:
    """By how much the largest of so many ratios of two rms values over n elements may exceed the true one by chance."""
    return math.sqrt(fisher_quantile(1 - (1 - CONFIDENCE) / tried, n, n))


def _worst(parts: tuple[Part, ...], z: Array, kind: str) -> int | None:
    wanted = ("top", "bottom", "left", "right") if kind == "border" else (kind,)
    places = [at for at, each in enumerate(parts) if each.kind in wanted]
    return max(places, key=lambda at: float(z[at])) if places else None


def _named(part: Part, shape: tuple[int, ...]) -> str:
    match part.kind:
        case "channel":
            return f"channel {part.index} of {shape[part.axis]} (dimension {part.axis})"
        case "inside":
            return "everything but the border"
        case _:
            return f"the {part.kind} border"


def _saturated(golden: GoldenTensor, got: Array) -> int:
    """Elements at the largest magnitude that their type has, where the golden is not that large."""
    kind = tensor_dtype_to_np_dtype(golden.elem_type)
    largest = {2: 65504.0, 4: float(np.finfo(np.float32).max)}.get(np.dtype(kind).itemsize)
    if largest is None or got.dtype.kind != "f" or not got.size or not np.abs(got).max() >= largest:
        return 0
    at_end = np.isfinite(got) & (np.abs(got) >= largest)
    return int(np.count_nonzero(at_end & (np.abs(golden.data) < largest * (1 - 2.0**-11))))
