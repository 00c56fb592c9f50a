"""Ranges of activations, seen once by PyTorch in float32 for all presets and observers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.inputs import Samples
from sysnoise_conform.inputs.samples import Feed
from sysnoise_conform.precision.observed import Observed, Ranges, merged
from sysnoise_conform.printable import one_line

DEFAULT_SAMPLES = 16  # of a split, where --calibration names none

Ask = Callable[[Feed], Ranges]  # one sample's ranges, by PyTorch's child


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """The samples that ranges come from, and where they were taken from: `given`, `split`, `synthetic`, `judged`."""

    samples: Samples
    origin: str
    judged_too: tuple[str, ...] = ()  # names of calibration samples that are among those judged

    def record(self) -> dict[str, Any]:
        """JSON, as the report carries it."""
        return {
            "origin": self.origin, "kind": self.samples.kind, "samples": len(self.samples),
            "sha256": self.samples.sha256, "names": list(self.samples.names), "judged_too": list(self.judged_too),
        }  # fmt: skip


def subset(samples: Samples, numbers: tuple[int, ...]) -> Samples:
    """Some of the samples, in their order; the hash covers the whole and the choice."""
    if numbers == tuple(range(len(samples))):
        return samples
    chosen = hashlib.sha256(f"{samples.sha256} {numbers}".encode()).hexdigest()
    return Samples(
        kind=samples.kind,
        names=tuple(samples.names[number] for number in numbers),
        sha256=chosen,
        make=lambda number: samples.make(numbers[number]),
        notes=samples.notes,
        chosen=samples.chosen,
    )


def split(samples: Samples, judged: int | None = None, *, most: int = DEFAULT_SAMPLES) -> tuple[Samples, Samples]:
    """The samples to judge, and others to calibrate on: never the same ones.

    With `judged`, the first so many are judged and calibration takes from the rest. Without it, or where nothing is
    left, every second one is held out from the judged, at most `most` and at most half. Raises BadInput for one sample.
    """
    count = len(samples)
    if judged is not None and judged < count:
        rest = tuple(range(judged, count))[:most]
        return subset(samples, tuple(range(judged))), subset(samples, rest)
    if count < 2:
        raise BadInput(
            "there is one sample: it can't be judged and calibrated on as well",
            hint="give others to calibrate on with --calibration DATA, or more --inputs",
        )
    held = min(most, count // 2)
    step = count / held
    out = tuple(sorted({int(step * (each + 0.5)) for each in range(held)}))
    return subset(samples, tuple(each for each in range(count) if each not in set(out))), subset(samples, out)


def of_judged(samples: Samples, *, most: int = DEFAULT_SAMPLES) -> Calibration:
    """For 16-bit floats alone: extremes of the judged samples. They fit nothing, they tell what would overflow."""
    count = min(most, len(samples))
    return Calibration(
        samples=subset(samples, tuple(range(count))), origin="judged", judged_too=tuple(samples.names[:count])
    )


def calibrate(calibration: Calibration, model: Model, ask: Ask) -> Ranges:
    """The ranges of every float32 tensor that depends on an input, over all calibration samples.

    `ask` gets each sample once, whatever is made of the ranges afterwards. Raises BadInput for no samples and for NaN
    or infinities in one, and what `ask` raises.
    """
    samples = calibration.samples
    if not len(samples):
        raise BadInput("the calibration set is empty", hint="give --calibration DATA with at least one sample")
    parts = []
    for number in range(len(samples)):
        feed = samples.feed(number)
        if calibration.origin != "judged":  # those are the gate's to judge
            _check_finite(feed, samples.names[number])
        parts.append(ask(feed))
    return merged(parts)


def _check_finite(feed: Mapping[str, np.ndarray], name: str) -> None:
    for port, array in feed.items():
        if array.dtype.kind != "f":
            continue
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise BadInput(
                f"calibration sample {one_line(name, 80)!r} holds {bad:,} NaN or infinities in input "
                f"{one_line(port, 80)!r}",
                hint="ranges can't come from it; leave it out, or mend it",
            )


def ranges_of(names: list[str], tensors: Mapping[str, np.ndarray]) -> Ranges:
    """One sample's ranges, as `golden.observing` answers them."""
    counts = tensors.get("counts")
    return {
        name: Observed(
            lows=np.array([tensors["low"][place]]),
            highs=np.array([tensors["high"][place]]),
            nonfinite=int(tensors["nonfinite"][place]),
            exponent=int(tensors["exponent"][place]),
            counts=None if counts is None else np.array(counts[place]),
        )
        for place, name in enumerate(names)
    }


def judged_too(calibration: Samples, judged: Samples) -> tuple[str, ...]:
    """Names of the calibration samples whose content is among the judged ones'."""
    known = {_content(judged.feed(number)) for number in range(len(judged))}
    return tuple(
        name for number, name in enumerate(calibration.names) if _content(calibration.feed(number)) in known
    )


def _content(feed: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(feed):
        digest.update(f"{name}\0{feed[name].dtype}\0{feed[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(feed[name]).tobytes())
    return digest.hexdigest()
