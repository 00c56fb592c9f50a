"""What a matrix found, as facts; `reports` writes and shows them, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sysnoise_conform.datasets import Problem
from sysnoise_conform.statistics.gate import Word

if TYPE_CHECKING:
    from sysnoise_conform.matrix.gallery import Gallery

Status = Literal["measured", "noop", "not_applicable", "unavailable", "unsupported", "crashed"]
Order = Literal["pipeline", "greedy", "given"]
Levels = tuple[tuple[str, str], ...]  # axis and level, in pipeline order
Feed = Mapping[str, np.ndarray]  # a graph's inputs by name
Shapes = tuple[tuple[str, tuple[int, ...]], ...]  # of a feed


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A cell's figure and what it is against the baseline over the same pictures; positive is a drop, 0..1."""

    value: float
    others: Mapping[str, float]
    delta: float
    interval: tuple[float, float]
    p: float
    p_holm: float | None
    lost: int
    won: int
    changed: int
    verdict: Word
    pictures: int
    images_to_decide: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CellFacts:
    """One cell. `axis` is `backend` for the card's own way on a backend, `control` for the baseline run again."""

    axis: str
    level: str
    backend: str
    status: Status
    figures: Figures | None = None
    reason: str = ""
    left_out: int = 0  # pictures that this cell has no answer for


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisFacts:
    """An axis over its levels on one backend, as the paper reports it, and all of them as a vector.

    A level without effect has no drop, which is None, and is in no mean; an axis of such alone has none either.
    """

    axis: str
    backend: str
    mean_delta: float | None
    max_delta: float | None
    worst: str | None
    deltas: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Noises put on one after another: what `added` makes of all before it. Pictures of the second half."""

    backend: str
    order: Order
    added: str
    level: str
    value: float
    delta: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one axis has of the drop of all together: by taking it away alone, and order-free (Shapley)."""

    backend: str
    axis: str
    level: str
    recovered: float | None = None  # the drop that is gone without it
    shapley: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanCounts:
    """Work of the plan, and of running every cell by itself."""

    decodes: int
    resizes: int
    inferences: int
    naive_decodes: int
    naive_resizes: int
    naive_inferences: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """One picture whose answer is another one in a cell; a detector's answers have boxes: x, y, width, height."""

    picture: str
    axis: str
    level: str
    backend: str
    before: str
    after: str
    right_before: bool | None
    right_after: bool | None
    boxes_before: tuple[tuple[float, float, float, float], ...] = ()
    boxes_after: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Everything."""

    model: str
    task: str
    metric: str
    layout: str
    pictures: int  # items: what `noun` says
    baseline_backend: str
    baseline: Mapping[str, float]
    margin: float
    seed: int
    cells: tuple[CellFacts, ...]
    axes: tuple[AxisFacts, ...]
    steps: tuple[Step, ...]
    shares: tuple[Share, ...]
    plan: PlanCounts
    problems: tuple[Problem, ...] = ()
    flips: tuple[Flip, ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0  # pictures whose results were there already
    gallery: Gallery | None = None  # where pictures are to be shown
    noun: str = "picture"  # what an item is called


def shapes_of(feed: Feed) -> Shapes:
    """The shapes of a feed, to be compared."""
    return tuple((name, array.shape) for name, array in feed.items())


def words(levels: Levels) -> str:
    """`decoder=opencv + resize=pillow-box`, or `card`."""
    return " + ".join(f"{axis}={level}" for axis, level in levels) or "card"
