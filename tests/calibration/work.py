"""The folder that a calibration fills: a report for each healthy run and each fault, so that tables cost nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from calibration.differences import Differences, differences
from calibration.draft import Network
from calibration.faults import KINDS, SCALE, planted
from calibration.measure import LastingCrew, measured, write
from calibration.sets import networks

from sysnoise_conform.errors import ConformError
from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy
from sysnoise_conform.judge.departure import carriers, floor_of, unit_of
from sysnoise_conform.outcome import Measured, TensorDiff
from sysnoise_conform.report import Report

RUNTIMES = ("ort", "openvino", "tflite", "mnn")
EVERYWHERE = (*RUNTIMES, "ort+opt=disable", "mnn:auto")
NOW_AND_THEN = ("tflite+delegate=none",)  # a second conversion, which takes seconds
EVERY = 3

CALIBRATION = "calibration"
FAULTY = (CALIBRATION, "third", "held-out")  # the sets in which faults are planted
RERUNS, RERUN_EVERY = 50, 20

FACTOR = 10.0  # how large a planted fault is, in units of its tensor
FAULTS = 3  # in each network


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What was planted: an error of `rms` = FACTOR units of the tensor, whose own floor is `floor`."""

    tensor: str
    op_type: str
    kind: str
    rms: float
    floor: float
    carriers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One report of the calibration; `fault` is None for a healthy run."""

    network: str
    report: Report
    fault: Fault | None = None
    folder: Path | None = None  # of the network, with its model and inputs
    faulty: Path | None = None  # the graph with the fault in it


class Work:
    """A folder of one set's runs; what is there is not measured again."""

    def __init__(self, folder: Path, which: str) -> None:
        self.which = which
        self._folder = folder / which

    def healthy(self) -> Iterator[Run]:
        """The healthy runs that are there."""
        for each in sorted(self._folder.glob("*/healthy/report.jsonl")):
            report = _finished(each)
            if report is not None:
                yield Run(network=each.parents[1].name, report=report)

    def faulty(self) -> Iterator[Run]:
        """The runs with a fault that are there."""
        for each in sorted(self._folder.glob("*/fault-*/report.jsonl")):
            report = _finished(each)
            if report is not None:
                fault = Fault(**json.loads((each.parents[1] / f"{each.parent.name}.json").read_text()))
                folder = each.parents[1]
                yield Run(
                    network=folder.name, report=report, fault=fault, folder=folder,
                    faulty=folder / f"{each.parent.name}.onnx",
                )  # fmt: skip

    def differences(self) -> Iterator[tuple[str, str, Differences]]:
        """Network, runtime and what its answers hang on."""
        for each in sorted(self._folder.glob("*/differences.json")):
            for runtime, found in json.loads(each.read_text()).items():
                yield each.parent.name, runtime, Differences(**found)

    def reruns(self) -> Iterator[tuple[str, list[Report]]]:
        """Network and the reports of its reruns."""
        for folder in sorted(self._folder.glob("*/reruns")):
            yield folder.parent.name, [Report.read(each) for each in sorted(folder.iterdir())]

    def measure(self, *, networks: int | None = None, reruns: int = RERUNS) -> Iterator[str]:
        """Run what is missing; a line for each thing that was."""
        with LastingCrew() as crew:
            yield from self.measure_healthy(crew, networks)
            if self.which in FAULTY:
                yield from self.measure_faults(crew, networks)
            if self.which == CALIBRATION:
                yield from self.measure_differences(crew, networks)
                yield from self.measure_reruns(reruns, networks)

    def measure_differences(self, crew: LastingCrew, limit: int | None = None) -> Iterator[str]:
        """Sessions, threads and batches of every few networks."""
        for network in self._networks(limit, every=EVERY):
            folder = self._folder / network.name
            if (folder / "differences.json").exists():
                continue
            outputs = _outputs(Report.read(folder / "healthy"))
            units = {each.name: unit_of(each) for each in outputs if each.dtype == "FLOAT"}
            found = {each: differences(network, folder / "model.onnx", each, units, crew) for each in RUNTIMES}
            (folder / "differences.json").write_text(json.dumps({each: asdict(one) for each, one in found.items()}))
            yield f"{self.which} {network.name}: differences"

    def measure_reruns(self, count: int, limit: int | None = None) -> Iterator[str]:
        """The same command again and again, each time with children of its own."""
        for number, network in enumerate(self._networks(limit, every=RERUN_EVERY)):
            folder = self._folder / network.name
            runtimes = RUNTIMES if number == 0 else [each for each in RUNTIMES if each != "tflite"]
            for again in range(count):
                out = folder / "reruns" / f"{again:03}"
                if _finished(out) is None:
                    measured(folder / "model.onnx", runtimes, out)
            yield f"{self.which} {network.name}: {count} reruns"

    def _networks(self, limit: int | None, *, every: int = 1) -> Iterator[Network]:
        return itertools.islice(networks(self.which), 0, limit, every)

    def measure_healthy(self, crew: LastingCrew, limit: int | None = None) -> Iterator[str]:
        """Run what is missing, over every runtime and its options; a line for each network."""
        for number, network in enumerate(self._networks(limit)):
            out = self._folder / network.name / "healthy"
            if _finished(out) is not None:
                continue
            more = NOW_AND_THEN if number % EVERY == 0 else ()
            measured(write(network, out.parent), (*EVERYWHERE, *more), out, crew=crew)
            yield f"{self.which} {network.name}"

    def measure_faults(self, crew: LastingCrew, limit: int | None = None) -> Iterator[str]:
        """Plant and run what is missing; a line for each fault."""
        for number, network in enumerate(self._networks(limit)):
            folder = self._folder / network.name
            healthy = Report.read(folder / "healthy")
            for choice, fault in enumerate(choose(network, healthy, number)):
                out = folder / f"fault-{choice}"
                if _finished(out) is not None:
                    continue
                (folder / f"{out.name}.json").write_text(json.dumps(asdict(fault)))
                runtimes = [each for each in RUNTIMES if each != "tflite" or choice == 0]
                plant_and_run(network, healthy, fault, folder / "model.onnx", runtimes, out, crew, seed=number)
                yield f"{self.which} {network.name}: {fault.kind} at {fault.tensor}"


def _finished(out: Path) -> Report | None:
    """The report, unless its run did not come to its end."""
    try:
        return Report.read(out)
    except ConformError:
        return None


def _outputs(report: Report) -> tuple[TensorDiff, ...]:
    """Every output that was compared, by whichever runtime ran."""
    measured_ = [each.outcome for each in report.results if isinstance(each.outcome, Measured)]
    return max((each.outputs for each in measured_), key=len, default=())


def diffs_of(report: Report, variant: str) -> tuple[TensorDiff, ...]:
    """The layers of one variant, and its outputs in their place; nothing where it did not run."""
    outcome = next(each.outcome for each in report.results if each.variant == variant)
    if not isinstance(outcome, Measured):
        return ()
    outputs = {each.name: each for each in outcome.outputs}
    return tuple(outputs.get(each.name, each) for each in outcome.layers)


def without_effect(run: Run) -> bool:
    """Whether float64 gives the very same outputs with the fault: nothing that is computed from it depends on it.

    An element that a mask throws away, or a value that a Clip cuts off behind it.
    """
    assert run.folder is not None
    assert run.faulty is not None
    sound, faulty = (
        Executor(onnx.load(path), Mode.FLOAT64) for path in (run.folder / "model.onnx", run.faulty)
    )
    for path in sorted((run.folder / "inputs").glob("*.npz")):
        feeds = dict(np.load(path))
        with_it = faulty.run(feeds)
        for name, value in sound.run(feeds).items():
            if not isinstance(value, Value) or not np.array_equal(to_numpy(value), to_numpy(with_it[name])):  # type: ignore[arg-type]
                return False
    return True


def choose(network: Network, healthy: Report, number: int, count: int = FAULTS) -> list[Fault]:
    """The faults for a network: tensors drawn by its number, kinds in turn. Only values that are rounded can be off."""
    rng = np.random.default_rng(number)
    candidates = (each for each in diffs_of(healthy, "ort") if each.dtype == "FLOAT")
    rounded = [each for each in candidates if each.sum_sq_golden and each.finite == each.n]
    places = sorted(rng.permutation(len(rounded))[:count])
    chosen = []
    for turn, place in enumerate(places):
        diff = rounded[place]
        kind = KINDS[(number * count + turn) % len(KINDS)]
        chosen.append(
            Fault(
                tensor=diff.name, op_type=diff.op_type, kind=kind, rms=FACTOR * unit_of(diff), floor=floor_of(diff),
                carriers=carriers(diff),
            )
        )  # fmt: skip
    return chosen


def plant_and_run(
    network: Network, healthy: Report, fault: Fault, model: Path, runtimes: Sequence[str], out: Path, crew: LastingCrew,
    *, seed: int,
) -> Report:  # fmt: skip
    """The report of healthy runtimes that were given the network with the fault in it."""
    diff = next(each for each in diffs_of(healthy, "ort") if each.name == fault.tensor)
    golden_rms = math.sqrt(diff.sum_sq_golden / diff.finite)
    kind = SCALE if math.prod(diff.shape) == 1 else fault.kind
    faulty = planted(
        network.model, fault.tensor, kind, rms=fault.rms, golden_rms=golden_rms, shape=diff.shape, seed=seed
    )
    return measured(model, runtimes, out, deployed=faulty, crew=crew)
