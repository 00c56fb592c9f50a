"""What a runtime's answer hangs on beside the model and the input: the session, the threads, the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from calibration.draft import Array, Feed, Network
from calibration.measure import LastingCrew

from sysnoise_conform.errors import BackendError
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.variant import parse_variant

BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """The largest rms difference of any output, in units of that output; None where the runtime refuses."""

    run_again: float | None
    compiled_again: float | None
    threads: float | None  # 1 against 2
    batch: float | None  # 1 against BATCH


def differences(
    network: Network, model: Path, runtime: str, units: Mapping[str, float], crew: LastingCrew
) -> Differences:
    """Of one runtime on one network."""
    feeds = network.feeds

    def run(threads: int, given: Sequence[Feed]) -> list[Feed] | None:
        try:
            return _outputs(model, runtime, threads, given, crew)
        except BackendError:
            return None

    once = run(1, [*feeds, *feeds])
    if once is None:
        return Differences(run_again=None, compiled_again=None, threads=None, batch=None)
    count = len(feeds)
    first = once[:count]
    repeats = -(-BATCH // count)
    stacked = {name: np.concatenate([each[name] for each in feeds] * repeats)[:BATCH] for name in feeds[0]}
    together = run(1, [stacked])
    apart = None if together is None else [
        {name: array[number : number + 1] for name, array in together[0].items()} for number in range(count)
    ]  # fmt: skip
    return Differences(
        run_again=_largest(first, once[count:], units),
        compiled_again=_largest(first, run(1, feeds), units),
        threads=_largest(first, run(2, feeds), units),
        batch=_largest(first, apart, units),
    )


def _outputs(model: Path, runtime: str, threads: int, feeds: Sequence[Feed], crew: LastingCrew) -> list[Feed]:
    """The outputs for each feed, out of one new session."""
    opened = open_model(model)
    with crew.member(f"{runtime} apart", model.parent / "apart.txt") as child:
        target = Target(path=model, format="onnx", model=opened)
        graph = opened.write(child.workdir)
        session = RemoteSession(child, parse_variant(runtime), target, graph, feeds[0], name="apart", threads=threads)
        return [{name: array.copy() for name, array in session.run(feed).items()} for feed in feeds]


def _largest(one: Sequence[Feed], other: Sequence[Feed] | None, units: Mapping[str, float]) -> float | None:
    if other is None:
        return None
    return max((_difference([e[name] for e in one], [e[name] for e in other]) / unit for name, unit in units.items()),
               default=0.0)  # fmt: skip


def _difference(one: Sequence[Array], other: Sequence[Array]) -> float:
    """rms over all samples, which must have the same shapes."""
    errors = np.concatenate([(a.astype(np.float64) - b).reshape(-1) for a, b in zip(one, other, strict=True)])
    return float(np.sqrt(np.mean(errors**2)))
