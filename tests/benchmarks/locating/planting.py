"""One planted fault: where it fits, what float64 says of its effect, and whom the diagnosis names."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from calibration.draft import Network
from calibration.measure import LastingCrew, write
from diagnose import diagnosing
from diagnose.planted import FAULTS, fits, plant
from locating.cells import HEALTHY, Cell, Key, Outcome

from sysnoise_conform.diagnose.facts import Diagnosis, Layer
from sysnoise_conform.errors import ConformError
from sysnoise_conform.golden.executor import Executor, Mode, Value
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.outcome import TensorDiff

EFFECT = 6.0  # sigma
UNDONE = "the runtime is wrong at "

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A fault and the tensor where it is to sit."""

    fault: str
    tensor: str


def exact_tensors(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every floating-point tensor of the main graph in float64. Raises BadModel where the graph does not run."""
    found: dict[str, np.ndarray] = {}

    def listen(_: object, __: object, name: str, value: Value) -> None:
        if value.data.dtype.is_floating_point:
            found[name] = value.data.numpy()

    Executor(model, Mode.FLOAT64).run(feeds, listen=listen)
    return found


def diagnosed(network: Network, backend: str, crew: LastingCrew, faulty: onnx.ModelProto | None = None) -> Diagnosis:
    """One diagnosis, whose files are gone with it; with `faulty`, the backend gets that graph. Raises ConformError."""
    with tempfile.TemporaryDirectory(prefix="located-") as name:
        return diagnosing.diagnosed(network, backend, Path(name), crew, faulty)


def shapes_of(network: Network) -> dict[str, tuple[int, ...]]:
    """The layers that hold floating-point numbers, in graph order, by their shapes."""
    with tempfile.TemporaryDirectory(prefix="located-") as name:
        layers = {each.tensor for each in open_model(write(network, Path(name))).layers}
    known = exact_tensors(network.model, network.feeds[0])
    return {name: array.shape for name, array in known.items() if name in layers}


def every_so_many(network: Network, shapes: Shapes, every: int) -> Iterator[Place]:
    """Each fault at each `every`th tensor that it fits, beginning elsewhere for each; at one where there are few."""
    for at, fault in enumerate(FAULTS):
        fit = [name for name, shape in shapes.items() if fits(fault, network.model, name, shape)]
        first = at * every // len(FAULTS)
        for name in fit[first::every] or fit[first % max(1, len(fit)) :][:1]:
            yield Place(fault=fault, tensor=name)


def one_depth_each(network: Network, shapes: Shapes, number: int) -> Iterator[Place]:
    """Every second fault at one depth, which faults and how deep another in each network."""
    for at, fault in enumerate(FAULTS):
        fit = [name for name, shape in shapes.items() if fits(fault, network.model, name, shape)]
        if fit and (number + at) % 2 == 0:
            yield Place(fault=fault, tensor=fit[(7 * number + 5 * at) % 12 * len(fit) // 12])


def moved(unit: TensorDiff, sound: np.ndarray, faulty: np.ndarray) -> float:
    """By how many sigma the fault moves the operator's output, the worst element's fifteenth counted too."""
    if sound.shape != faulty.shape or not np.array_equal(np.isnan(sound), np.isnan(faulty)):
        return np.inf
    error, one = np.nan_to_num(np.abs(faulty - sound)), unit_of(unit)
    size = float(max(np.sqrt(np.mean(error**2)), error.max(initial=0.0) / 15))
    if not size:
        return 0.0
    return size / one if one else np.inf


class Subject:
    """A network on a backend, known to be healthy there."""

    def __init__(self, network: Network, backend: str, crew: LastingCrew, shapes: Shapes) -> None:
        self._network, self._backend, self._crew = network, backend, crew
        inputs = {name: array.shape for name, array in network.feeds[0].items() if array.dtype == np.float32}
        self._shapes = inputs | dict(shapes)
        self._layers: dict[str, Layer] = {}
        self._refusal = ""

    def key(self, place: Place | None = None) -> Key:
        """What a cell is about; without a place, the network as it is."""
        return (self._network.name, self._backend, place.fault if place else HEALTHY, place.tensor if place else "")

    def healthy(self) -> Cell:
        """Nothing is planted: a culprit is a false alarm. To be asked before anything is planted."""
        began = time.monotonic()
        try:
            found = diagnosed(self._network, self._backend, self._crew)
        except ConformError as err:
            self._refusal = str(err)
            return self._cell(None, "refused", self._refusal, began)
        self._layers = {each.output: each for each in found.layers}
        return self._cell(None, "alarm" if found.culprits else "clean", found.sentence if found.culprits else "", began)

    def planted(self, place: Place) -> Cell:
        """The fault at its place: what becomes of it."""
        began = time.monotonic()
        try:
            return self._cell(place, *self._tried(place), began)
        except ConformError as err:
            return self._cell(place, "refused", str(err), began)

    def _tried(self, place: Place) -> tuple[Outcome, str]:
        if self._refusal:
            return "refused", self._refusal
        made = plant(place.fault, self._network.model, place.tensor, self._shapes)
        if made is None:
            return "without_effect", "what the operator reads can't carry it"
        layer = self._layers[place.tensor]
        own = layer.replayed or layer.island
        if own is None:
            return "not_shown", ""
        feeds = self._network.feeds
        sound, faulty = (exact_tensors(each, feeds[0])[place.tensor] for each in (made.sound, made.exact))
        if moved(own, sound, faulty) <= EFFECT:
            return "without_effect", ""
        carrier = Network(name=self._network.name, family=self._network.family, model=made.sound, feeds=feeds)
        found = diagnosed(carrier, self._backend, self._crew, made.faulty)
        named = [each.layer for each in found.culprits]
        others = {each.output for each in named} - {place.tensor}
        nobody = len(others) == len(named)
        wrong = self._wrong_in(made.sound) if others else {}
        if others <= wrong.keys() and not nobody:
            return "located", f"and {', '.join(sorted(others))}, wrong without the fault" if others else ""
        if len(named) == 1 and layer.node and layer.node in named[0].block:
            return "in_its_block", f"named {named[0].output}"
        if others <= wrong.keys():  # nobody but what the runtime gets wrong itself: is there a fault where it runs?
            undone = [each for each in wrong.values() if each.startswith("fault_")]
            undone = undone or [each for each in self._wrong_in(made.faulty).values() if each.startswith("fault_")]
            if undone:
                return "without_effect", f"{UNDONE}{', '.join(undone)}, of which the fault is made"
        return "missed", f"named {', '.join(each.output for each in named) or 'nobody'}; {found.sentence}"

    def _wrong_in(self, model: onnx.ModelProto) -> dict[str, str]:
        """What the runtime itself gets wrong in a graph: the tensor, and the node that makes it.

        What hides a NaN when it runs alone counts as well: in the graph it may be fed none, where the one before it
        has hidden that.
        """
        network = Network(
            name=self._network.name, family=self._network.family, model=model, feeds=self._network.feeds
        )  # fmt: skip
        found = diagnosed(network, self._backend, self._crew)
        hides = [each for each in found.layers if each.island is not None and each.island.nan_mismatch]
        return {each.output: each.node for each in [*hides, *(culprit.layer for culprit in found.culprits)]}

    def _cell(self, place: Place | None, outcome: Outcome, said: str, began: float) -> Cell:
        network, backend, fault, tensor = self.key(place)
        return Cell(
            network=network, backend=backend, fault=fault, tensor=tensor, outcome=outcome, said=said,
            seconds=round(time.monotonic() - began, 2),
        )  # fmt: skip
