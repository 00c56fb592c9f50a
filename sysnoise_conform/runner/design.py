"""What a conversion itself costs: PyTorch's answer to the converted graph against its answer to the original."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from sysnoise_conform.compare.goldens import apart
from sysnoise_conform.compare.tensors import merge
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.store import GoldenSample


class Design:
    """golden(converted) - golden(original) at every tensor that has a counterpart, each sample once.

    Whichever cell comes to a sample first does the work for all that share the conversion. `stands_for` maps tensors of
    the converted graph to those of the original, in the original's graph order; `ops` the latter to their operators.
    """

    def __init__(self, original: Goldens, stands_for: Mapping[str, str], ops: Mapping[str, str]) -> None:
        self._original = original
        self._stands_for = stands_for
        self._ops = ops
        self._seen: set[int] = set()
        self._diffs: dict[str, TensorDiff] = {}
        self._lock = threading.Lock()

    def add(self, number: int, converted: GoldenSample) -> GoldenSample:
        """Take a sample in, unless it was before; the original's golden of it."""
        original = self._original.sample(number)
        with self._lock:
            if number not in self._seen:
                self._seen.add(number)
                for theirs, ours in self._stands_for.items():
                    if theirs in converted and ours in original:
                        self._take(apart(original[ours], converted[theirs], sample=number))
        return original

    def diffs(self) -> tuple[TensorDiff, ...]:
        """What was found, under the original's names, in its graph order."""
        with self._lock:
            return tuple(self._diffs[each] for each in self._stands_for.values() if each in self._diffs)

    def _take(self, diff: TensorDiff) -> None:
        diff = replace(diff, op_type=self._ops.get(diff.name, ""))
        known = self._diffs.get(diff.name)
        self._diffs[diff.name] = diff if known is None else merge(known, diff)
