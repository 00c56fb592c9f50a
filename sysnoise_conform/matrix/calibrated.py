"""Integer graphs of a matrix: their ranges come from items that are not judged, fed as the card says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sysnoise_conform.card import ImageInput
from sysnoise_conform.datasets import DataSet, Picture
from sysnoise_conform.datasets.facts import Problems, pictures_below
from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.files import content, read_regular
from sysnoise_conform.graph.intake import Model, Port
from sysnoise_conform.graph.shapes import numpy_type
from sysnoise_conform.inputs import Samples
from sysnoise_conform.inputs.samples import IMAGES, Feed
from sysnoise_conform.judge.sentences import counted
from sysnoise_conform.noise.preparation import prepared
from sysnoise_conform.pictures.guard import MAX_FILE_BYTES
from sysnoise_conform.pictures.place import Fixed
from sysnoise_conform.precision.calibration import DEFAULT_SAMPLES, Calibration
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.recipe import Recipe
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner import calibrating
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.tasks.evaluation import Told


def apart(given: Path | None, whole: DataSet, judged: DataSet, *, allow_linked: bool) -> tuple[Path, ...]:
    """The pictures to calibrate on: those of a folder, or at most 16 of the data that are not judged.

    A picture with a judged one's content is left out, whatever it is called. Raises UsageError for a folder of which
    nothing is left, BadInput for no folder and for what can't be read.
    """
    if given is not None:
        problems = Problems("fail", allow_linked=allow_linked)
        there = pictures_below(given, problems)
        left = _others([each for each in there if problems.stays(given, each, each.name)], judged.pictures)
        if not left:
            why = "are all judged as well" if there else "are none"
            raise UsageError(
                f"the pictures to calibrate on, in {one_line(given, 200)!r}, {why}", hint="name a folder with others"
            )
        return tuple(left)
    names = {each.name for each in judged.pictures}
    rest = _others([each.path for each in whole.pictures if each.name not in names], judged.pictures)
    count = min(DEFAULT_SAMPLES, len(rest))
    return tuple(rest[at * len(rest) // count] for at in range(count))


def _others(paths: Sequence[Path], judged: Sequence[Picture]) -> list[Path]:
    """Those whose content no judged picture has; only files of one size can be the same."""
    sizes: dict[int, list[Path]] = {}
    for each in judged:
        sizes.setdefault(each.path.stat().st_size, []).append(each.path)
    return [
        path for path in paths
        if _digest(path) not in {_digest(other) for other in sizes.get(path.stat().st_size, [])}
    ]  # fmt: skip


def _digest(path: Path) -> bytes:
    return hashlib.sha256(read_regular(path, what="the picture", error=BadInput, limit=MAX_FILE_BYTES)).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What is held out to calibrate on, which may be nothing: feeds by their number, `told` of what in words.

    `identity` is of all that determines them.
    """

    names: tuple[str, ...] = ()
    told: str = ""
    identity: tuple[str, ...] = ()
    make: Callable[[int], Feed] = field(default=lambda _: {}, repr=False)


def of_pictures(paths: Sequence[Path], port: Port, spec: ImageInput, fixed: Fixed) -> Held:
    """Pictures, prepared as the card says."""
    way = prepared(spec, {})

    def make(number: int) -> Feed:
        placed = way.placed(way.coloured(way.decoded(paths[number])), fixed)
        return {port.name: way.tensor(placed).astype(numpy_type(port), copy=False)}

    return Held(
        names=tuple(each.name for each in paths), told=counted(len(paths), "picture") if paths else "",
        identity=tuple(f"{each.name}\0{content(each)}" for each in paths), make=make,
    )  # fmt: skip


def of_told(told: Told, identity: Sequence[str]) -> Held:
    """Texts or sounds of a task: every feed of each."""
    feeds = [(name, feed) for at, name in enumerate(told.names) for feed in told.feeds(at, {})]
    return Held(
        names=tuple(name for name, _ in feeds), told=counted(len(told.names), told.noun), identity=tuple(identity),
        make=lambda number: dict(feeds[number][1]),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrator:
    """Measures the ranges of a graph of the model's on what is held out."""

    held: Held
    pytorch: PyTorch
    threads: int

    def ranges(self, model: Model, recipe: Recipe) -> Ranges:
        """What PyTorch sees of every tensor in float32. Raises BadInput, GoldenDied, GoldenUnavailable."""
        samples = Samples(kind=IMAGES, names=self.held.names, sha256="", make=self.held.make)
        calibration = Calibration(samples=samples, origin="given")
        return calibrating.measure(calibration, model, [recipe], self.pytorch, threads=self.threads)
