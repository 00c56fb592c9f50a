"""The peak memory of a command and of all processes that it starts."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cold

SAMPLER = Path(__file__).with_name("pss.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """MiB of PSS, summed over processes at one moment; `golden` are mapped pages of the store, `rest` all others."""

    everything: float
    golden: float
    rest: float
    processes: int


def peak(side: cold.Side, runs: int = 1) -> Peak:
    """The median run's peak, by `rest`, of `runs` runs of a side."""
    cold.byte_compile()
    found = sorted((_peak(side) for _ in range(runs)), key=lambda each: each.rest)
    return found[len(found) // 2]


def _peak(side: cold.Side) -> Peak:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "peak.json"
        side.run(through=(sys.executable, "-I", str(SAMPLER), str(result)))
        seen = json.loads(result.read_text(encoding="utf-8"))
    sys.stderr.write(f"{side.name}: {seen}\n")
    return Peak(
        everything=seen["all_mib"], golden=seen["golden_mib"], rest=seen["rest_mib"], processes=seen["processes"]
    )
