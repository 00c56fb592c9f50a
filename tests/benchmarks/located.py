"""How surely a diagnosis names the operator: planted faults at the depths of networks, and healthy runtimes.

Run: python tests/benchmarks/located.py [--every N] [--networks LIST] [--backends LIST] [--minutes M] [--page PAGE].

Each finished diagnosis is kept in a journal, so the same command goes on where it was ended, and several at a time
divide the work among them. All of it takes hours: `--minutes` ends it earlier, and the page says what was not tried.
The page has the known deviations of known_in_depth.py, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import known_in_depth
from calibration.draft import Network
from calibration.measure import LastingCrew
from calibration.sets import networks
from locating.cells import Cell, Journal, Key
from locating.networks import DEMO, NAMES, chosen
from locating.page import Asked, page, section
from locating.planting import Place, Subject, every_so_many, one_depth_each, shapes_of

BACKENDS = ("ort", "openvino", "mnn", "tflite")
CONVERTED = ("tflite",)  # every graph is converted anew, in many seconds: a sample of depths, and no healthy set
EVERY = 6


class Run:
    """The work, as far as time allows; what is finished is in the journal."""

    def __init__(self, journal: Journal, crew: LastingCrew, minutes: float) -> None:
        self._journal, self._crew = journal, crew
        self._end = time.monotonic() + 60 * minutes
        self.planned: list[Key] = []
        self.healthy: list[Key] = []

    def planted(self, network: Network, backend: str, subject: Subject, places: Sequence[Place]) -> None:
        """One network on one backend: as it is, then with each fault at each place."""
        self.healthy.append(subject.key())
        self.planned += [subject.key(each) for each in places]
        with self._journal.alone(f"{network.name} {backend}") as mine:
            done = self._journal.cells()
            waiting = [each for each in places if subject.key(each) not in done]
            if not mine or self._late() or not (waiting or subject.key() not in done):
                return
            self._add(subject.healthy())
            for place in waiting:
                if self._late():
                    return
                self._add(subject.planted(place))

    def sound(self, network: Network, backend: str) -> None:
        """One network on one backend, as it is."""
        subject = Subject(network, backend, self._crew, {})
        self.healthy.append(subject.key())
        with self._journal.alone(f"{network.name} {backend} healthy") as mine:
            if mine and not self._late() and subject.key() not in self._journal.cells():
                self._add(subject.healthy())

    def _late(self) -> bool:
        return time.monotonic() > self._end

    def _add(self, cell: Cell) -> None:
        self._journal.add(cell)
        about = " ".join(each for each in cell.key if each)
        sys.stderr.write(f"{cell.seconds:7.1f} s  {about}: {cell.outcome} {cell.said[:200]}\n")


def measure(run: Run, crew: LastingCrew, *, every: int, names: Sequence[str], backends: Sequence[str]) -> Asked:
    """Plant, diagnose, keep; what was to be done."""
    absent, operators = {}, {}
    for number, network in enumerate(chosen(names)):
        if not isinstance(network, Network):
            name, absent[name] = network[0], network[1]
            continue
        operators[network.name] = len(network.model.graph.node)
        shapes = shapes_of(network)
        for backend in backends:
            if backend not in CONVERTED:
                places = list(every_so_many(network, shapes, every))
            else:
                places = list(one_depth_each(network, shapes, number))
            run.planted(network, backend, Subject(network, backend, crew, shapes), places)
    for network in networks("held-out", samples=1):
        for backend in backends:
            if backend not in CONVERTED and network.name not in operators:
                run.sound(network, backend)
    return Asked(every=every, planned=run.planned, healthy=run.healthy, absent=absent, operators=operators)


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=EVERY, help="1: each fault at each tensor that it fits")
    parser.add_argument("--networks", default=",".join(NAMES))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing new after so many")
    parser.add_argument("--journal", type=Path, default=DEMO / "located" / "cells.jsonl")
    parser.add_argument("--page", type=Path, help="write a page in place of printing")
    given = parser.parse_args()
    os.environ.setdefault("CONFORM_CACHE", str(given.journal.parent / "cache"))
    journal = Journal(given.journal)
    with LastingCrew() as crew:
        asked = measure(
            Run(journal, crew, given.minutes), crew, every=given.every, names=given.networks.split(","),
            backends=given.backends.split(","),
        )  # fmt: skip
    found = section(journal.cells(), asked)
    if given.page is None:
        sys.stdout.write(found.markdown() + "\n")
    else:
        given.page.write_text(page(found, known_in_depth.measure()), encoding="utf-8")


if __name__ == "__main__":
    main()
