"""A task over a data set: what is kept of each picture, the figures of all of them, and whether two runs differ.

What is kept of a picture is small (`Result`: arrays by name) and all that a figure needs, so that a figure of another
choice of pictures, or of a resample of them, costs no inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sysnoise_conform.datasets.facts import Problem
from sysnoise_conform.pictures.place import Placement
from sysnoise_conform.statistics.bootstrap import Resampled
from sysnoise_conform.statistics.gate import CONFIDENCE, Word, non_inferior
from sysnoise_conform.statistics.paired import images_to_decide
from sysnoise_conform.statistics.unseen import pictures_to_exclude, with_unseen
from sysnoise_conform.tasks.decoding import Decoding

Result = Mapping[str, np.ndarray]

ERRORS = ("mel_mse",)  # figures that are better the smaller they are


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs over the same pictures; a positive `delta` is a drop, in the units of the figure (0..1).

    `interval` is two-sided with 90 %, that is 95 % on each side. `lost` and `won` count the pictures whose answer went
    from right to wrong and back, `changed` those whose answer is another one at all. `images_to_decide` is how many
    pictures would tell, where these do not.
    """

    delta: float
    interval: tuple[float, float]
    p: float
    lost: int
    won: int
    changed: int
    verdict: Word
    images_to_decide: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What an answer looks like to a person: one line, and of a detector the boxes, x, y, width, height each."""

    text: str
    right: bool | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()


class Figured(Protocol):
    """What the results of one task over one data set come to."""

    metric: str  # the figure that is compared: top1, mAP, mIoU, agreement, acc_norm, mel_mse

    def figures(
        self, results: Sequence[Result], pictures: Sequence[int], base: Sequence[Result]
    ) -> Mapping[str, float]:
        """Every figure of the task, over these pictures; `base` are the same pictures in the baseline."""

    def compare(
        self, base: Sequence[Result], other: Sequence[Result], pictures: Sequence[int], *, margin: float, seed: int
    ) -> Comparison:
        """The first against the second, over these pictures, against a margin in the units of the figure."""

    def differs(self, at: int, base: Result, other: Result) -> bool:
        """Whether a person would call the answer another one."""

    def shown(self, at: int, result: Result) -> Shown:
        """The answer for a person."""


class Evaluation(Figured, Protocol):
    """One task over one set of pictures."""

    def result(
        self, at: int, outputs: Mapping[str, np.ndarray], placement: Placement, size: tuple[int, int], how: Decoding
    ) -> Result:
        """What is kept of picture `at`, out of its outputs (batch dimension 1); `size` is the tensor's.

        Raises UsageError where the card contradicts the outputs.
        """


class Told(Figured, Protocol):
    """One task over texts or sounds, which makes the feeds of an item itself.

    `noun` is what an item is called, `cut` how many texts are longer than the model reads, `problems` are items that
    were left out.
    """

    noun: str
    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    cut: int
    runs: int  # of all items together

    def feeds(self, at: int, levels: Mapping[str, str]) -> tuple[Mapping[str, np.ndarray], ...]:
        """The model's inputs for item `at` under levels of the axes of audio, one for each run. Raises BadInput."""

    def result(self, at: int, answers: Sequence[Mapping[str, np.ndarray]], levels: Mapping[str, str]) -> Result:
        """What is kept of item `at`, out of the outputs of these runs. Raises BadInput, UsageError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """An interval against a margin, with how many pictures would settle it.

    `figure` is what pictures that were not seen can take away: that of the other run, or 1 of a share of answers.
    """

    delta: float
    interval: tuple[float, float]
    spread: float  # standard error of the delta
    n: int
    margin: float
    figure: float = 1.0
    word: Word = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "word", non_inferior(self.interval, self.margin))

    def needed(self) -> int | None:
        """Pictures at which the interval would lie on one side of the margin with a power of 80 %; None if it does."""
        if self.word != "INCONCLUSIVE" or not np.isfinite(self.spread) or self.n == 0:
            return None
        # The variance of one picture, in the place of the share of flips: (z_alpha + z_power)^2 var / distance^2. Where
        # nothing flipped, one picture among so many that loses all is what can't be excluded.
        variance = max(self.spread**2 * self.n, self.figure**2 / self.n)
        distance = abs(self.margin - self.delta)
        wanted = images_to_decide(variance, distance, alpha=(1 - CONFIDENCE) / 2)
        if wanted is None:
            return None
        return max(wanted, pictures_to_exclude(distance, self.figure, confidence=CONFIDENCE), self.n + 1)


def resampled_gate(
    found: Resampled, *, base: float, other: float, n: int, margin: float, gain: float | None = None
) -> Gate:
    """A bootstrap of the drop from `base` to `other` against a margin, with what `n` pictures can't exclude.

    Of a share of further pictures `other` may lose all that it has, or `base` may, which is a gain unless told.
    """
    delta = base - other
    most = abs(base) if gain is None else gain
    interval = with_unseen(
        found.interval(CONFIDENCE), delta, loss=abs(other), gain=most, n=n, confidence=CONFIDENCE
    )  # fmt: skip
    figure = max(abs(base), abs(other)) if np.isfinite(delta) else 1.0
    return Gate(delta=delta, interval=interval, spread=found.spread(), n=n, margin=margin, figure=figure)
