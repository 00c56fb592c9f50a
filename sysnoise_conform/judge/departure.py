"""Whether one tensor departs from PyTorch's, given its numbers and its limits. The theory: docs/error-model.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.judge.chance import fisher_quantile
from sysnoise_conform.judge.policy import Limits
from sysnoise_conform.judge.verdict import Owner
from sysnoise_conform.outcome import Floor, TensorDiff

# A limit is for the true ratio; what is measured on n elements strays around it. The limit is widened
# so that a tensor whose true ratio is AT the limit is let through with this probability.
CONFIDENCE = 0.999

# The golden has no second run for these: DOUBLE has no finer truth than itself, complex tensors have no
# float32 form. Only what is FLOORLESS_SLACK roundings off is a departure: any lower precision is 2**13
# off or more, and no order of summation comes near.
FLOORLESS = ("DOUBLE", "COMPLEX64", "COMPLEX128")
FLOORLESS_SLACK = 1024.0

# Functions whose kernels are built on approximations that are right to a
# rounding of 1, not of a tiny result (ONNX Runtime's Sigmoid is 0 below 1.5e-8).
BOUNDED = ("Sigmoid",)

CODES = ("INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Departure:
    """Why a tensor departs: in floor units (None where there is no such unit), and in words.

    `broken` tensors are no departure of the backend's: it gives the NaN or Inf that PyTorch gives.
    """

    diff: TensorDiff
    number: float | None
    words: str
    broken: bool = False
    owner: Owner = "implementation"


def departure(
    diff: TensorDiff, limits: Limits, *, max_code_share: float, converted: bool = False
) -> Departure | None:
    """The departure of a tensor, or None when it conforms. A NaN anywhere in the numbers departs.

    Of a `converted` graph it is told in the unit that it is judged in, where the floor is the smaller one.
    """
    if not diff.comparable:
        return Departure(diff=diff, number=None, words=_other_kind(diff))
    if diff.nan_mismatch:
        return Departure(diff=diff, number=None, words=_nonfinite(diff))
    if diff.exact or diff.empty:
        return None
    if unit_roundoff(diff.dtype) is None:
        return _counted(diff, limits, max_code_share)
    return _rounded(diff, limits, converted=converted)


def is_unsettled(diff: TensorDiff) -> bool:
    """PyTorch's own float32 and float64 disagree here as a whole: a tie, or a shape that hangs on one.

    What a backend answers there is neither right nor wrong, but a shape or a type of its own always is wrong.
    """
    floor = diff.floor
    if diff.dtype_got is not None:
        return False
    if floor.shapes_differ or diff.shape_got is not None:
        return floor.shapes_differ
    settled = floor.n if unit_roundoff(diff.dtype) is not None else floor.n - floor.mismatches
    return floor.mismatches > 0 and settled <= 0  # floors of floats count in n what is finite in both runs


def floor_of(diff: TensorDiff) -> float:
    """The rms that one floor unit stands for: what was measured, but no less than rounding theory allows.

    On few elements PyTorch's float32 may hit the truth by luck. Rounding values of this size to the
    declared type costs u / sqrt(6) of their rms, and no runtime can be held to less.
    """
    return max(diff.floor_rms, _least_floor(diff))


def unit_of(diff: TensorDiff) -> float:
    """The rms error that a tensor is judged in: its floor, or what correct float32 arithmetic may be off at it."""
    floor, sigma = floor_of(diff), diff.floor.sigma_sq
    if sigma is None or not diff.floor.n:
        return floor
    return max(floor, math.sqrt(sigma / diff.floor.n))


def allowed_rms(diff: TensorDiff, limits: Limits) -> float:
    """The rms error up to which a tensor of floating-point numbers does not depart, chance allowed for."""
    floors = limits.max_floor_ratio * floor_of(diff) * widening(carriers(diff))
    sigma = diff.floor.sigma_sq
    if sigma is None or not diff.floor.n:
        return floors
    sigmas = math.sqrt(sigma / diff.floor.n) * widening(carriers(diff), _sigma_carriers(diff.floor))
    return max(floors, limits.max_z * sigmas)


def _least_floor(diff: TensorDiff) -> float:
    roundoff = unit_roundoff(diff.dtype)
    if roundoff is None or not diff.finite:
        return 0.0
    slack = FLOORLESS_SLACK if diff.dtype in FLOORLESS else 1.0
    size = 1.0 if diff.op_type in BOUNDED else math.sqrt(diff.sum_sq_golden / diff.finite)
    return slack * roundoff / math.sqrt(6) * size


def carriers(diff: TensorDiff) -> int:
    """How many elements carry the rounding: all of them when it is even, 1 when one huge value outweighs the rest.

    These are the degrees of freedom of a rms whose elements have unequal variances s² (Satterthwaite 1946,
    Biometrics Bulletin 2:110): (sum s²)² / sum s⁴. For n normal elements f, E(sum f²)² / E(sum f⁴) = (n + 2) / 3,
    so a measured error tells them by 3 (sum f²)² / sum f⁴ - 2; where the floor is a rounding of the golden's own
    values g, s is proportional to |g|. The backend's error counts where more elements carry it than carry the
    floor, never the other way: one wrong element would then excuse itself.
    """
    n, floor = diff.finite, diff.floor
    if diff.floor_rms > _least_floor(diff):
        known = 3 * _participation(floor.sum_sq, floor.sum_quad, n) - 2
    elif diff.op_type in BOUNDED:
        known = n
    else:
        known = _participation(diff.sum_sq_golden, diff.sum_quad_golden, n)
    known = max(known, 3 * _participation(diff.sum_sq_err, diff.sum_quad_err, n) - 2)
    return max(1, min(n, math.floor(known + 1e-6)))


def _sigma_carriers(floor: Floor) -> int:
    """How many elements carry the sigma, over all simulated runs: few where now and then a decision flips."""
    total = floor.n * floor.sigma_runs
    known = 3 * floor.sigma_runs * _participation(floor.sigma_sq or 0.0, floor.sigma_quad, floor.n) - 2
    return max(1, min(total, math.floor(known + 1e-6)))


def _participation(squares: float, powers: float, n: int) -> float:
    if not (powers > 0 and math.isfinite(powers) and math.isfinite(squares)):
        return float(n)  # unknown, or beyond float64
    return squares * (squares / powers)


def floor_units(diff: TensorDiff) -> float | None:
    """How far the tensor is off, in floor units; 0 when it is exact, None where it has no floor."""
    if diff.exact:
        return 0.0
    if unit_roundoff(diff.dtype) is None:
        return diff.mismatches / diff.floor.mismatches if diff.floor.mismatches else None
    floor = floor_of(diff)
    return diff.rmse / floor if diff.rmse is not None and floor > 0 else None


def floor_excess(diff: TensorDiff) -> float | None:
    """Floor units, divided by what chance may add to them; None where there is no floor."""
    units = floor_units(diff)
    return None if units is None else units / widening(carriers(diff))


def sigma_excess(diff: TensorDiff) -> float | None:
    """The same in units of the derived sigma, which several runs tell better than one; None where there is none."""
    return None if diff.z is None else diff.z / widening(carriers(diff), _sigma_carriers(diff.floor))


def in_units(diff: TensorDiff) -> float | None:
    """The error in the unit that it is judged in, see `unit_of`; None where there is no unit, as of integers."""
    unit = unit_of(diff) if unit_roundoff(diff.dtype) is not None else 0.0
    return diff.rmse / unit if diff.rmse is not None and diff.comparable and unit > 0 else None


def by_sigma(diff: TensorDiff) -> bool:
    """Whether what correct arithmetic may be off is the larger unit, so that floor units tell nothing."""
    return unit_roundoff(diff.dtype) is not None and unit_of(diff) > floor_of(diff)


def in_its_unit(diff: TensorDiff) -> str:
    """Of a tensor whose unit that is: `2.43 times what correct arithmetic of its types may be off`."""
    return f"{plain(in_units(diff) or 0.0)} times what correct arithmetic of its types may be off"


def sigma_limit(diff: TensorDiff, limits: Limits) -> str:
    """`limit 5`, or `limit 27.3 at 20 elements`: in units of what correct arithmetic may be off."""
    wider = widening(carriers(diff), _sigma_carriers(diff.floor))
    said = f"limit {plain(limits.max_z * wider)}"
    return said if wider < 1.05 else f"{said} at {diff.finite:,} {'element' if diff.finite == 1 else 'elements'}"


def peak_excess(diff: TensorDiff) -> float | None:
    """The largest single error in units of the largest that float32 made anywhere in the tensor, divided likewise."""
    floor = diff.floor
    unit = max(floor_of(diff), floor.max_abs, floor.rounding_max, floor.sigma_max)
    return diff.max_abs / unit / widening(carriers(diff)) if unit > 0 else None


def _rounded(diff: TensorDiff, limits: Limits, *, converted: bool) -> Departure | None:
    if diff.rmse is None:
        return None  # no finite element, and NaN and Inf where PyTorch has them
    in_floors, in_sigmas, at_peak = floor_excess(diff), sigma_excess(diff), peak_excess(diff)
    # Written so that a comparison with NaN departs.
    typical = in_floors is not None and in_floors <= limits.max_floor_ratio
    typical = typical or (in_sigmas is not None and in_sigmas <= limits.max_z)
    peak = at_peak is not None and at_peak <= limits.max_peak_ratio
    if typical and peak:
        return None
    if diff.ties is not None:
        return _decided(diff, 0)
    if not typical:
        number = floor_units(diff)
        words = f"is {departure_units(number)} off ({limit_words(limits.max_floor_ratio, diff)})"
        if converted and by_sigma(diff):
            words = f"is off by {in_its_unit(diff)} ({sigma_limit(diff, limits)})"
    else:
        number = None if at_peak is None else at_peak * widening(carriers(diff))
        at = "" if diff.worst is None else f" at index {_place(diff.worst.index)} of sample {diff.worst.sample}"
        words = f"has an element that is {departure_units(number)} off"
        words += f" ({limit_words(limits.max_peak_ratio, diff)}){at}"
    if number is None:
        words = f"differs by up to {plain(diff.max_abs)} where PyTorch has no rounding at all"
    return Departure(diff=diff, number=number, words=words)


def limit_words(limit: float, diff: TensorDiff) -> str:
    """`limit 10`, `limit 29.6 at 10 elements`, or `limit 6,370: 1 of 500 elements carries the rounding`."""
    carrying = carriers(diff)
    wider = widening(carrying)
    if wider < 1.05:
        return f"limit {plain(limit)}"
    said = f"limit {plain(limit * wider)}"
    if 2 * carrying > diff.finite:
        return f"{said} at {diff.finite:,} {'element' if diff.finite == 1 else 'elements'}"
    return f"{said}: {carrying:,} of {diff.finite:,} elements {'carries' if carrying == 1 else 'carry'} the rounding"


def _counted(diff: TensorDiff, limits: Limits, max_code_share: float) -> Departure | None:
    """Integers, bools, strings: by equality, but for PyTorch's own ties and a share of the elements."""
    share = limits.max_mismatch_share
    if diff.ties is not None:
        return _decided(diff, math.floor(share * diff.n))
    if diff.dtype in CODES and diff.max_abs <= 1:
        share = max(share, max_code_share)
    ties = diff.floor.mismatches
    # However many ties there are, half of what PyTorch agrees with itself on must be right.
    tied = 0.0 if is_unsettled(diff) else min(limits.max_floor_ratio * ties, (diff.n + ties) / 2)
    allowed = math.floor(tied + share * diff.n)
    if diff.mismatches <= allowed:
        return None
    # Behind the first rounding to codes a float32's rounding moves many of them: runs with random errors tell how far.
    in_sigmas = sigma_excess(diff) if diff.dtype in CODES else None
    if in_sigmas is not None and in_sigmas <= limits.max_z:
        return None
    words = f"differs at {diff.mismatches:,} of {diff.n:,} elements (limit {allowed:,}"
    words += f"; PyTorch's float32 differs from its float64 at {ties:,})" if ties else ")"
    if diff.worst is not None:
        words += f", by up to {plain(diff.max_abs)} at index {_place(diff.worst.index)} of sample {diff.worst.sample}"
    return Departure(diff=diff, number=diff.mismatches / ties if ties else None, words=words)


def _decided(diff: TensorDiff, allowed: int) -> Departure | None:
    """Decisions: what lies within rounding has been counted apart, so what is left was clear."""
    if diff.mismatches <= allowed:
        return None
    words = f"decides otherwise at {diff.mismatches:,} of {diff.n:,} elements where it is clear by more than rounding"
    words += f" ({diff.ties:,} more are ties)" if diff.ties else ""
    if diff.worst is not None:
        words += f", by up to {plain(diff.max_abs)} at index {_place(diff.worst.index)} of sample {diff.worst.sample}"
    return Departure(diff=diff, number=None, words=words)


def _other_kind(diff: TensorDiff) -> str:
    parts = []
    if diff.shape_got is not None:
        parts.append(f"has shape {_place(diff.shape_got)}, PyTorch has {_place(diff.shape)}")
    if diff.dtype_got is not None:
        parts.append(f"has type {diff.dtype_got}, the model declares {diff.dtype}")
    return " and ".join(parts)


def _nonfinite(diff: TensorDiff) -> str:
    where = ""
    if diff.first_nonfinite:
        sample, *index = diff.first_nonfinite
        where = f", first at index {_place(tuple(index))} of sample {sample}"
    count = f"at {diff.nan_mismatch:,} of {diff.n:,} elements{where}"
    if diff.nan_golden > diff.nan_got:
        return f"hides PyTorch's NaN or Inf {count}"
    if diff.nan_got > diff.nan_golden:
        return f"has NaN or Inf where PyTorch has a number {count}"
    return f"has other NaN and Inf than PyTorch {count}"


@lru_cache(maxsize=4096)
def widening(n: int, m: int | None = None) -> float:
    """By how much a ratio of two rms values may exceed the true ratio by chance: over n elements, and over m.

    Its square follows F(n, m); m = n unless given. 637 for two scalars, 3.0 for 10 elements each, 1.37 for 100,
    1.10 for 1,000; 5.0 for one element against 8, 1.8 for 10 against 80.
    """
    if n < 1:
        return 1.0
    return math.sqrt(fisher_quantile(CONFIDENCE, n, n if m is None else max(1, m)))


def departure_units(number: float | None) -> str:
    """`11,300 floor units`."""
    return "far" if number is None else f"{plain(number)} floor units"


def plain(number: float) -> str:
    """Three significant digits, without an exponent where a person would write none: 11,300; 9.87; 0.0123."""
    if not math.isfinite(number):
        return "infinitely many" if number > 0 else str(number)
    if number == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(number)))
    rounded = round(number, digits)
    if abs(rounded) >= 1e9 or abs(rounded) < 1e-4:
        return f"{number:.2e}"
    return f"{rounded:,.{max(0, digits)}f}".rstrip("0").rstrip(".") if digits > 0 else f"{rounded:,.0f}"


def _place(index: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, index)) + ")"
