"""What a pass gathers while it goes: diffs, merged over samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sysnoise_conform.compare.readings import read
from sysnoise_conform.compare.tensors import measure, merge
from sysnoise_conform.outcome import Reading, TensorDiff
from sysnoise_conform.store import GoldenTensor

# Reading what a difference looks like costs more than measuring it. Below this many floor units it is
# rounding and looks like nothing; of a diverged network only the first layers are worth the look.
READ_ABOVE = 8.0
MOST_READ = 8


@dataclass(slots=True)
class Tally:
    """Diffs by tensor name, merged over samples."""

    ops: Mapping[str, str] = field(default_factory=dict)  # tensor -> the operator that makes it
    diffs: dict[str, TensorDiff] = field(default_factory=dict)
    read: int = 0

    def compare(
        self, golden: GoldenTensor, got: np.ndarray, sample: int, *, ties: int | None = None,
        readings: tuple[Reading, ...] = (),
    ) -> None:  # fmt: skip
        """Measure one sample's tensor and merge it in; read what the first abnormal ones look like.

        `ties` and `readings` are what is known of a decision already.
        """
        diff = replace(
            measure(golden, got, sample=sample), op_type=self.ops.get(golden.name, ""), ties=ties, readings=readings
        )
        known = self.diffs.get(diff.name)
        if self.read < MOST_READ and (known is None or not known.readings) and _abnormal(diff):
            self.read += known is None and golden.data.dtype.kind == "f"  # integers are read at once
            diff = replace(diff, readings=_best_first(readings, read(golden, got)))
        self.diffs[diff.name] = diff if known is None else merge(known, diff)

    def update(self, other: Tally) -> None:
        """Take over the tensors of another tally, which are not in this one."""
        self.diffs.update(other.diffs)

    def merge(self, other: Tally) -> None:
        """Take in what another tally gathered, of other samples or of other tensors."""
        self.read += other.read
        for name, diff in other.diffs.items():
            known = self.diffs.get(name)
            self.diffs[name] = diff if known is None else merge(known, diff)

    def in_order(self, names: Iterable[str]) -> tuple[TensorDiff, ...]:
        """The diffs there are, in the order of `names`."""
        return tuple(self.diffs[each] for each in names if each in self.diffs)


def _best_first(decided: tuple[Reading, ...], other: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """What a decision looks like comes first, unless something else leaves less of it."""
    if decided and other and other[0].residual < decided[0].residual:
        return (*other, *decided)
    return (*decided, *other)


def _abnormal(diff: TensorDiff) -> bool:
    ratio = diff.floor_ratio
    if diff.mismatches and diff.max_abs > 1 and "INT" in diff.dtype:
        return True
    return diff.nan_mismatch > 0 or not diff.comparable or (ratio is not None and ratio > READ_ABOVE)
