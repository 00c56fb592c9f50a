"""A network through the real machinery: golden, children, tapped graphs; what comes out is a report."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx
from calibration.draft import Network

from sysnoise_conform.case import Case, Deployed, Limits
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.process.child import Child
from sysnoise_conform.report import Report
from sysnoise_conform.runner import crew_for, run
from sysnoise_conform.runner.crew import IMPORT_SECONDS, Crew
from sysnoise_conform.variant import Variant, parse_variants

LIMITS = Limits(timeout_s=120, threads=1)  # how much the number of threads matters is measured apart


class _Lasting(Child):
    def hang_up(self) -> None:
        """It will be asked again."""


class LastingCrew(Crew):
    """Children that outlive a run, so that hundreds of small networks don't pay for as many starts of a runtime."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self._idle: dict[str, list[Child]] = {}
        self._homes: dict[Child, Path] = {}
        self._runs = 0
        self._guard = threading.Lock()

    def recruit_golden(self) -> None:
        """There is one, or the first that is asked for stays."""

    @contextmanager
    def member(self, label: str, log: Path, *, variant: Variant | None = None) -> Iterator[Child]:
        """One that has done with its last run, or a new one; its folder is another for each run."""
        with self._guard:
            free = self._idle.setdefault(label, [])
            python = None if variant is None else self.interpreter(variant)
            child = free.pop() if free else _Lasting.start(python=python, limits=LIMITS, log=log, label=label)
            home = self._homes.setdefault(child, child.workdir)
            self._runs += 1
            child.workdir = home / str(self._runs)
        child.workdir.mkdir(parents=True)
        try:
            if variant is None:
                child.call("prepare", stage="start", timeout_s=IMPORT_SECONDS)
            yield child
        except BackendDied:
            child.close()
            raise
        except BaseException:
            self._rest(label, child)
            raise
        self._rest(label, child)

    def _rest(self, label: str, child: Child) -> None:
        if child.dead:  # a tapped graph took it down, which costs layers and is no error of the run's
            child.close()
            return
        shutil.rmtree(child.workdir)
        with self._guard:
            self._idle[label].append(child)

    def __enter__(self) -> LastingCrew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (child for idle in self._idle.values() for child in idle):
            each.close()


def write(network: Network, folder: Path) -> Path:
    """The model and, beside it, its samples in `inputs/`."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for number, feed in enumerate(network.feeds):
        np.savez(inputs / f"{number}.npz", **feed)
    path = folder / "model.onnx"
    onnx.save(network.model, path)
    return path


def measured(
    model: Path, variants: Sequence[str], out: Path, *, deployed: onnx.ModelProto | None = None,
    crew: Crew | None = None,
) -> Report:  # fmt: skip
    """The report of a run over `variants`; with `deployed`, they get that graph, and PyTorch the model."""
    shipped = None
    if deployed is not None:
        shipped = Deployed(path=model.parent / f"{out.name}.onnx")
        onnx.save(deployed, shipped.path)
    case = Case(
        model=model,
        inputs=model.parent / "inputs",
        variants=parse_variants(",".join(variants)),
        deployed=shipped,
        limits=LIMITS,
    )
    with crew_for(case) if crew is None else nullcontext(crew) as children:
        run(case, out, command="calibrate", watch=lambda *_: None, crew=children)
    return Report.read(out)
