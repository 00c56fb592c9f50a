"""How much of a model ran in which precision, by layers and by operations: one form for all runtimes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Shares:
    """Layers, and the operations of those that multiply matrices, by precision (`fp32`, `int8`, ...)."""

    layers: Counter[str] = field(default_factory=Counter)
    flops: dict[str, float] = field(default_factory=dict)

    def add(self, precision: str, flops: float = 0) -> None:
        """Count one layer; `flops` are 0 where it is no matrix product or its sizes are not known."""
        self.layers[precision] += 1
        if flops:
            self.flops[precision] = self.flops.get(precision, 0.0) + flops

    @property
    def text(self) -> str:
        """By layers: `fp32`, or `int8 80 %, fp32 20 %`; empty without layers."""
        return worded(self.layers)

    @property
    def told(self) -> dict[str, str]:
        """By operations, for the options that a session reports; empty where they are not known."""
        return {"operations": worded(self.flops)} if self.flops else {}

    def fields(self) -> dict[str, dict[str, float]]:
        """The shares as numbers from 0 to 1: `layers`, and `flops` where they are known."""
        found = {"layers": _parts(self.layers)}
        return {**found, "flops": _parts(self.flops)} if self.flops else found


def worded(counts: Mapping[str, float]) -> str:
    """Counts by precision in words, the largest first."""
    if len(counts) < 2:
        return next(iter(counts), "")
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{word} {_percent(count / total)} %" for word, count in ordered)


def _percent(share: float) -> str:
    """A share in per cent; never 0 or 100 for what is neither."""
    rounded = round(100 * share)
    return "<1" if rounded == 0 else ">99" if rounded == 100 else str(rounded)


def _parts(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {word: round(count / total, 6) for word, count in sorted(counts.items(), key=lambda each: -each[1])}
