"""The facts of a run: what was measured, and why what was not measured was not.

Numbers and reasons only: no threshold lives here. `compare` makes `TensorDiff`s, the runner puts
them into an `Outcome`, `report` writes them down, `judge` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """PyTorch's own rounding at one tensor: golden32 - golden64, and what its declared type costs.

    Sums over all finite elements of the samples merged so far. The sigma is derived: `sigma_runs` float64 runs in
    which every operator was off by a random error as large as its arithmetic allows (docs/error-model.md) were this
    far from the undisturbed one. None where there was no such run.
    """

    n: int = 0
    sum_sq: float = 0.0  # of golden32 - golden64
    sum_quad: float = 0.0  # of its fourth power: tells how many elements carry it
    max_abs: float = 0.0
    rounding_sum_sq: float = 0.0  # of declared(golden64) - golden64
    rounding_max: float = 0.0
    mismatches: int = 0  # elements where golden32, in the declared type, is another value (ints, bools)
    shapes_differ: bool = False  # golden32 has another shape than golden64 (NonZero, NonMaxSuppression)
    sigma_sq: float | None = None  # summed over elements, the mean of the runs
    sigma_quad: float = 0.0  # of the fourth power, likewise
    sigma_max: float = 0.0
    sigma_runs: int = 0

    def merged(self, other: Floor) -> Floor:
        """Both, as if measured together."""
        both = self.sigma_sq is not None and other.sigma_sq is not None
        return Floor(
            n=self.n + other.n,
            sum_sq=self.sum_sq + other.sum_sq,
            sum_quad=self.sum_quad + other.sum_quad,
            max_abs=max(self.max_abs, other.max_abs),
            rounding_sum_sq=self.rounding_sum_sq + other.rounding_sum_sq,
            rounding_max=max(self.rounding_max, other.rounding_max),
            mismatches=self.mismatches + other.mismatches,
            shapes_differ=self.shapes_differ or other.shapes_differ,
            sigma_sq=(self.sigma_sq or 0.0) + (other.sigma_sq or 0.0) if both else None,
            sigma_quad=self.sigma_quad + other.sigma_quad,
            sigma_max=max(self.sigma_max, other.sigma_max),
            sigma_runs=min(self.sigma_runs, other.sigma_runs) if both else 0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """The element that is furthest off: sample number, index, the golden's value and the backend's."""

    sample: int
    index: tuple[int, ...]
    golden: float
    got: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a difference looks like: a hypothesis, its fitted value, and how much of the error it explains.

    `kind` is one of `bfloat16`, `float16`, `tf32`, `scale`, `sign_flip`, `offset`, `shift`, `channels_swapped`,
    `transposed`, `constant`, `nan_hidden`, `clipped`, `border`, `one_channel`, `int8`; of integers `clipped`,
    `saturated`, `wrapped`, `float32`; of decisions `rounding_mode`, `tie_order`; of any operator `attribute`.
    `residual` is rms(error left under the hypothesis) / rms(error); for the number formats see compare.readings, for
    integers compare.codes, for decisions decisions.rules.
    """

    kind: str
    residual: float
    value: str = ""  # "1.02", "by 1 pixel to the right", "2, 1, 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorDiff:
    """A backend's tensor against the golden's of the same name, merged over samples. Numbers only.

    Sums run over the elements that are finite on both sides; what is not finite is counted apart.
    `shape_got` and `dtype_got` are set only where they differ from the golden's: then nothing else counts.
    """

    name: str
    dtype: str  # ONNX's name of the declared type: FLOAT, INT64
    shape: tuple[int, ...]  # of the first sample
    op_type: str = ""  # the operator that makes it; "" for a graph input
    shape_got: tuple[int, ...] | None = None
    dtype_got: str | None = None
    samples: int = 0
    n: int = 0  # elements compared, finite or not
    finite: int = 0
    sum_sq_err: float = 0.0
    sum_quad_err: float = 0.0  # of (got - golden)^4: tells how many elements carry the error
    max_abs: float = 0.0
    worst: Worst | None = None
    sum_golden: float = 0.0
    sum_got: float = 0.0
    sum_sq_golden: float = 0.0
    sum_quad_golden: float = 0.0  # of the golden's fourth power
    sum_sq_got: float = 0.0
    dot: float = 0.0
    max_golden: float = 0.0
    mismatches: int = 0  # elements that differ at all, after rounding the golden to the declared type
    ties: int | None = None  # of a decision: elements that rounding explains, counted as equal; None: no decision
    nan_golden: int = 0  # NaN or Inf
    nan_got: int = 0
    nan_mismatch: int = 0  # NaN or Inf on one side only, NaN against Inf, or Inf of the other sign
    first_nonfinite: tuple[int, ...] | None = None  # sample, then index, of the first such place
    ulp_histogram: Mapping[int, int] = field(default_factory=dict)  # bin -> count; see compare.ulp
    floor: Floor = field(default_factory=Floor)
    readings: tuple[Reading, ...] = ()

    @property
    def exact(self) -> bool:
        """Every element equals the golden's, rounded to the declared type (NaN equals NaN)."""
        return self.comparable and self.n > 0 and self.mismatches == 0 and self.nan_mismatch == 0

    @property
    def empty(self) -> bool:
        """There is no element on either side: neither a difference nor evidence of anything."""
        return self.comparable and self.n == 0

    @property
    def comparable(self) -> bool:
        """Shape and dtype are the golden's."""
        return self.shape_got is None and self.dtype_got is None

    @property
    def rmse(self) -> float | None:
        """sqrt(mean((got - golden)^2)) over the finite elements; None without any."""
        return math.sqrt(self.sum_sq_err / self.finite) if self.finite else None

    @property
    def rel_l2(self) -> float | None:
        """||got - golden|| / ||golden||; None where the golden is all zero."""
        return math.sqrt(self.sum_sq_err / self.sum_sq_golden) if self.sum_sq_golden > 0 else None

    @property
    def sqnr_db(self) -> float | None:
        """-20 log10(rel_l2); None where there is no error or no signal."""
        rel = self.rel_l2
        return -20 * math.log10(rel) if rel else None

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between the two; None where either is all zero."""
        norm = math.sqrt(self.sum_sq_golden) * math.sqrt(self.sum_sq_got)
        return self.dot / norm if norm > 0 else None

    @property
    def floor_rms(self) -> float:
        """max(rms(golden32 - golden64), rms of rounding golden64 to its declared type)."""
        if not self.floor.n:
            return 0.0
        return math.sqrt(max(self.floor.sum_sq, self.floor.rounding_sum_sq) / self.floor.n)

    @property
    def floor_ratio(self) -> float | None:
        """rms(got - golden64) / floor_rms; None where the floor is 0 (ints, bools, pure data movement)."""
        rmse, floor = self.rmse, self.floor_rms
        return rmse / floor if rmse is not None and floor > 0 else None

    @property
    def max_floor_ratio(self) -> float | None:
        """The same with the maximum in place of the rms."""
        floor = max(self.floor.max_abs, self.floor.rounding_max)
        return self.max_abs / floor if floor > 0 else None

    @property
    def z(self) -> float | None:
        """rms(got - golden64) in units of the derived sigma; None where there is none."""
        rmse, f = self.rmse, self.floor
        if rmse is None or f.sigma_sq is None or f.sigma_sq <= 0 or not f.n:
            return None
        return rmse / math.sqrt(f.sigma_sq / f.n)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unobservable:
    """A tensor that could not be compared: the backend could not show it, or the golden can't keep it."""

    tensor: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFigure:
    """A figure without labels that a user would notice: `top1_flips`, `box_flips`, with what it is out of."""

    name: str
    value: float
    of: float | None = None
    about: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """Wall-clock seconds: converting and compiling, all runs, the child's whole life."""

    compile: float = 0.0
    run: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeFacts:
    """The runtime as it was: installed version, and the configuration read back after compiling."""

    name: str
    version: str
    device: str
    effective_precision: str
    options: Mapping[str, Any] = field(default_factory=dict)
    asked_precision: str | None = None  # what the variant asked for: None = the model's own types
    python: str = ""
    # `effective_precision` in numbers from 0 to 1, as far as it was read back: "layers", and "flops" of matrix products
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The variant ran: outputs from the untouched graph, layers from the tapped one.

    Of a converted graph total = design + implementation: the last is in `outputs` and `layers`.
    """

    runtime: RuntimeFacts
    outputs: tuple[TensorDiff, ...]
    layers: tuple[TensorDiff, ...] = ()
    unobservable: tuple[Unobservable, ...] = ()
    missing_outputs: tuple[Unobservable, ...] = ()  # graph outputs that could not be compared, or for some samples only
    observer_effect: tuple[TensorDiff, ...] = ()  # outputs: tapped graph against untouched graph
    # Of a converted graph, whose own golden `outputs` and `layers` are compared with:
    design: tuple[TensorDiff, ...] = ()  # its golden against the original's, by the original's names
    total: tuple[TensorDiff, ...] = ()  # the outputs against the original's golden
    tasks: tuple[TaskFigure, ...] = ()
    nondeterministic: tuple[str, ...] = ()  # outputs that differed when the same feeds ran twice
    seconds: Seconds = field(default_factory=Seconds)
    peak_rss_mb: float | None = None
    notes: tuple[str, ...] = ()  # one line each: what a reader should know of how this was measured
    probe: tuple[str, ...] = ()  # one line each: nodes of a kind that this target got wrong when it was probed


@dataclass(frozen=True, kw_only=True, slots=True)
class NoOp:
    """The variant is the same computation as another one."""

    same_as: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """Not run, on purpose."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotApplicable:
    """What was asked for does not exist in this model."""

    why: str
    node: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsupported:
    """The runtime refuses by a clean error. `stage`: convert, compile, run; plan: conform itself declines before it."""

    stage: str
    why: str
    node: str | None = None
    op: str | None = None
    runtime: RuntimeFacts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Crashed:
    """The child died, hung or ran out of memory while it did `stage`."""

    stage: str
    cause: str  # crash, timeout, memory
    why: str
    signal: str | None = None
    runtime: RuntimeFacts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unavailable:
    """The runtime or device is not here; `cure` is the command that brings it."""

    why: str
    cure: str | None = None


Outcome = Measured | NoOp | Skipped | NotApplicable | Unsupported | Crashed | Unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One variant's outcome. `variant` is its text form."""

    variant: str
    outcome: Outcome
    log: str | None = None  # path of the runtime's cleaned messages, relative to the report's folder
