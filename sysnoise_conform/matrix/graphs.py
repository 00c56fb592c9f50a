"""The graphs of a matrix: the model's own, and what the noises of its graph make of it.

Whether a graph can be rewritten, and what that changes, hangs on the sizes that it meets: it is asked, by a run of its
own, and a rewritten graph whose sizes move is run once before anything is measured on it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from sysnoise_conform.errors import BackendError, BackendUnavailable, BadInput, UsageError
from sysnoise_conform.graph.intake import Model, Port, open_model, write_proto
from sysnoise_conform.graph.measured import Measured, question
from sysnoise_conform.graph.rewrite import Edits, NoOp, NotApplicable, Rewrite, Rewritten, edited, merged, name_of
from sysnoise_conform.matrix.calibrated import Calibrator
from sysnoise_conform.matrix.facts import Feed, Levels, Shapes, Status, shapes_of
from sysnoise_conform.noise import graphs, precision
from sysnoise_conform.precision.convert import convert
from sysnoise_conform.precision.floats import TYPES, to_float
from sysnoise_conform.precision.observed import Ranges
from sysnoise_conform.precision.opset import raised
from sysnoise_conform.precision.presets import PRESETS
from sysnoise_conform.precision.recipe import BF16, INT8, Recipe
from sysnoise_conform.printable import one_line

# Runs a graph on a feed; its outputs. Raises BackendError.
Ask = Callable[[onnx.ModelProto, Feed], Mapping[str, np.ndarray]]
BFLOAT16_SINCE = 22  # the opset in which Conv and poolings take it
_OWN = Rewritten(edits={}, changed=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Distinct:
    """Levels of one axis that make the same graph: the first, and what they are; `same` are the others."""

    level: str
    found: Rewrite
    same: tuple[str, ...] = ()


class Graphs:
    """Knows what levels make of the model for inputs of a shape, and writes the graphs for sessions. For any thread.

    `ports` are the inputs that items fill; `ask` runs a graph, and is asked by one thread at a time; `calibrator`
    measures what integer graphs need, where there is one.
    """

    def __init__(self, model: Model, ports: Sequence[Port], ask: Ask, calibrator: Calibrator | None = None) -> None:
        self._model = model
        self._ask = ask
        self._calibrator = calibrator
        self._ranges: dict[tuple[str, bool], Ranges] = {}
        self._lock = threading.RLock()
        shapes = [each.shape for each in ports]
        self._fixed = all(shape is not None and all(isinstance(each, int) for each in shape) for shape in shapes)
        self._found: dict[tuple[Levels, Shapes], Rewrite] = {}
        self._measured: dict[tuple[Levels, Shapes], Measured | NotApplicable] = {}

    def resolve(self, levels: Levels, feed: Feed) -> Rewrite:
        """What `levels`, put on in their order, make of the graph for inputs of these shapes.

        NoOp where every one of them is, NotApplicable where one can't be. Raises BackendUnavailable where nobody is
        there to be asked, BackendDied.
        """
        if not levels:
            return _OWN
        key = (levels, shapes_of(feed))
        with self._lock:
            if key not in self._found:
                self._found[key] = self._resolved(levels, feed)
            return self._found[key]

    def refusal(self, levels: Levels, feed: Feed) -> tuple[Status, str] | None:
        """Why there is no graph of these levels for inputs of these shapes; None where there is."""
        try:
            found = self.resolve(levels, feed)
        except BackendError as err:
            status: Status = "unavailable" if isinstance(err, BackendUnavailable) else "crashed"
            return status, one_line(f"what the graph meets can't be told: {err}", 240)
        return ("not_applicable", reason(found)) if isinstance(found, NotApplicable) else None

    def _resolved(self, levels: Levels, feed: Feed) -> Rewrite:
        *before, (axis, level) = levels
        first = self.resolve(tuple(before), feed)
        if isinstance(first, NotApplicable):
            return first
        edits = first.edits if isinstance(first, Rewritten) else {}
        if axis == precision.AXIS.name:
            return self._converted(edits, level)
        measured = self._meets(tuple(before), edits, feed)
        if isinstance(measured, NotApplicable):
            return measured
        proto = edited(self._model.proto, edits) if edits else self._model.proto
        found = graphs.rewrite(proto, axis, level, measured)
        if isinstance(found, NoOp) and edits:  # what was put on before it stays
            return first
        if not isinstance(found, Rewritten):
            return found
        both = Rewritten(
            edits=merged(edits, found.edits), resizes=found.resizes, effect=found.effect,
            changed=tuple(dict.fromkeys((*(first.changed if isinstance(first, Rewritten) else ()), *found.changed))),
        )  # fmt: skip
        if not found.resizes:
            return both
        after = self._meets(levels, both.edits, feed)
        return after if isinstance(after, NotApplicable) else self._same_outputs(measured, after) or both

    def _converted(self, edits: Edits, level: str) -> Rewrite:
        """The graph in another precision, if there is anything to convert."""
        if level in precision.PRESETS and not self.calibrated_on:
            why = "int8 needs something to calibrate on that is not judged"
            return NotApplicable(node="", why=f"{why}: give --calibration DATA, or a smaller --samples")
        try:
            _, count = self._in_precision(edits, level)
        except (BadInput, UsageError) as err:
            return NotApplicable(node="", why=one_line(err, 240))
        if not count:
            return NoOp(why=f"no operator of the graph computes in {level}", always=True)
        return Rewritten(edits=edits, changed=(f"{count} nodes in {level}",), precision=level)

    def _in_precision(self, edits: Edits, level: str) -> tuple[onnx.ModelProto, int]:
        """The edited graph converted, and how many nodes of it were. Raises BadInput, UsageError."""
        if level in precision.PRESETS:
            return self._quantised(edits, level)
        proto = raised(edited(self._model.proto, edits), BFLOAT16_SINCE if level == BF16 else 0, f":{level}")
        found = to_float(proto, TYPES[level], self._model.path.parent)
        return found.proto, found.converted

    def _quantised(self, edits: Edits, level: str) -> tuple[onnx.ModelProto, int]:
        assert self._calibrator is not None
        preset = precision.PRESETS[level]
        recipe = Recipe(precision=INT8, preset=preset, observer=PRESETS[preset].observer)
        with tempfile.TemporaryDirectory(prefix="conform-") as folder:
            model = self._model
            if edits:
                place = Path(folder)
                model = open_model(write_proto(edited(model.proto, edits), place, "model.onnx", model.data_files))
            key = (repr(sorted((at, sorted(each.items())) for at, each in edits.items())), recipe.histograms)
            with self._lock:
                if key not in self._ranges:
                    self._ranges[key] = self._calibrator.ranges(model, recipe)
            made = convert(model, recipe, self._ranges[key])
        return made.proto, int(made.record["converted"])

    @property
    def calibrated_on(self) -> str:
        """What integer graphs have their ranges from, in words; "" of nothing."""
        return "" if self._calibrator is None else self._calibrator.held.told

    def _meets(self, levels: Levels, edits: Edits, feed: Feed) -> Measured | NotApplicable:
        key = (levels, shapes_of(feed))
        if key not in self._measured:
            asked = question(edited(self._model.proto, edits))
            try:
                self._measured[key] = asked.answered(self._ask(asked.proto, feed))
            except BackendUnavailable:
                raise
            except BackendError as err:
                what = "the graph no longer runs" if levels else "the graph's sizes can't be told"
                node = str(getattr(err, "node", None) or "")
                self._measured[key] = NotApplicable(node=node, why=f"{what}: {one_line(err.message, 200)}")
        return self._measured[key]

    def _same_outputs(self, before: Measured, after: Measured) -> NotApplicable | None:
        """An output of another size than what decodes it was made for; sizes that hang on values are passed over."""
        makers = {name: node for node in self._model.proto.graph.node for name in node.output}
        for port in self._model.outputs:
            was, now = before.shapes[port.name], after.shapes[port.name]
            declared = port.shape if port.shape is not None and len(port.shape) == len(was) else (None,) * len(was)
            if len(was) != len(now) or any(
                a != b and (isinstance(size, int) or not self._fixed)
                for a, b, size in zip(was, now, declared, strict=True)
            ):
                node, name = makers.get(port.name), one_line(port.name, 80)
                return NotApplicable(
                    node=name if node is None else name_of(node),
                    why=f"the output {name!r} would be {list(now)}, what decodes it takes {list(was)}",
                )
        return None

    def distinct(self, axis: str, levels: Sequence[str], feed: Feed) -> list[Distinct]:
        """An axis' levels, those that come to the same under the first of them.

        Of a model whose input has no fixed size this is told only where it holds for every size.
        """
        kept: list[tuple[str, Rewrite, list[str]]] = []
        for level in levels:
            found = self.resolve(((axis, level),), feed)
            twin = next((same for _, other, same in kept if self._same(found, other)), None)
            if twin is None:
                kept.append((level, found, []))
            else:
                twin.append(level)
        return [Distinct(level=level, found=found, same=tuple(same)) for level, found, same in kept]

    def settled(self, found: Rewrite) -> bool:
        """Whether a NoOp holds for every picture."""
        return isinstance(found, NoOp) and (self._fixed or found.always)

    def _same(self, one: Rewrite, other: Rewrite) -> bool:
        match one, other:
            case Rewritten(), Rewritten():
                return self._fixed and one.same_effect(other)
            case NoOp(), NoOp():
                return one == other and self.settled(one)
            case NotApplicable(), NotApplicable():
                return one == other
            case _:
                return False

    def write(self, levels: Levels, folder: Path, feed: Feed) -> Path:
        """A private copy in `folder` of the graph that levels make for inputs of these shapes, if they can."""
        found = self.resolve(levels, feed)
        if not isinstance(found, Rewritten) or not (found.edits or found.precision):
            return self._model.write(folder)
        if found.precision:  # its weights are in it
            return write_proto(self._in_precision(found.edits, found.precision)[0], folder, "model.onnx")
        return write_proto(edited(self._model.proto, found.edits), folder, "model.onnx", self._model.data_files)


def reason(found: NotApplicable) -> str:
    """Which node stands in the way, and why."""
    return f"{found.node}: {found.why}" if found.node else found.why
