"""Each operator by itself: float64's answer to the tensors that somebody else recorded, and how far float32 may be off.

The graph runs in order, but what was recorded takes the place of what was computed, so nothing that one operator did
wrong reaches the next one's answer. Where a tensor was not recorded (a runtime had fused it away) float64's own goes on
in its place, and its operator's error is taken along into the sigma of the first recorded tensor behind it: the unit of
blame is then the block between recorded tensors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from sysnoise_conform.backend import Tensors
from sysnoise_conform.compare.arithmetic import ARITHMETICS, FLOAT32, INT8
from sysnoise_conform.compare.parts import parts_of, sums_by_part
from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.floor import Sigma, floor_of
from sysnoise_conform.golden.narrow import Kept, Narrowed
from sysnoise_conform.golden.sigma import Sigmas
from sysnoise_conform.golden.simulation import Disturbed
from sysnoise_conform.golden.types import FLOATS, type_name
from sysnoise_conform.golden.values import Value, from_numpy, to_numpy
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store.entry import STORED, EntryWriter

BLOCK_RUNS = 4  # simulated runs that tell what the inside of blocks may be off



class Replayer:
    """The references of one model, for any number of recordings.

    With `operands`, one of `ARITHMETICS`, what operators read is rounded to that format first, and so are the weights
    of dot products: what a unit gives that multiplies in it and adds in float32. Floors and sigmas are then those of
    that arithmetic. How a result was kept, what was recorded tells (`golden.narrow`). The grid of int8 is the runtime's
    own choice: there nothing is rounded, and the sigma holds its steps.
    """

    def __init__(self, model: onnx.ModelProto, base_dir: Path, operands: str | None = None) -> None:
        self._arithmetic = FLOAT32 if operands is None else ARITHMETICS[operands]
        self._narrowed = Narrowed(model, base_dir, self._arithmetic)
        model = self._narrowed.model
        self._exact = Executor(model, Mode.FLOAT64, base_dir=base_dir)
        self._float32 = Executor(model, Mode.FLOAT32, base_dir=base_dir)
        self._sigmas = Sigmas(model, self._arithmetic)
        self.inputs = frozenset(each.name for each in model.graph.input)
        self._rounded = frozenset(each.input[0] for each in model.graph.node if each.op_type == "QuantizeLinear")

    def write(
        self, feeds: Tensors, recorded: Tensors, out: Path, stored: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Write an entry: for each recorded tensor what its operator gives in float64, and that one operator's floor.

        The floor's sums are those of the same operator in float32 on the same inputs, its result rounded where it is
        `stored` in the arithmetic's format: unless told, where every recorded value has it. Its sigma is derived, with
        what the unrecorded operators before it add. `about.parts` holds the floor's sums by part (`compare.parts`).
        Beside them stands what a QuantizeLinear rounds inside of a block: it tells how close to a tie that was.
        Raises what the golden raises.
        """
        kept = self._narrowed.kept(recorded, stored)
        feeds, recorded = (
            {name: self._arithmetic.rounded(array) for name, array in each.items()} for each in (feeds, recorded)
        )
        floats = {name: array for name, array in recorded.items() if array.dtype.kind not in "iub"}
        for any_size in (True, False):
            try:
                return self._write(feeds, recorded, out, kept, any_size=any_size)
            except BadModel:  # what a backend gave for an index, a size or a condition may be impossible
                out.write_bytes(b"")
                if not any_size and len(floats) == len(recorded):
                    raise
        return self._write(feeds, floats, out, kept, any_size=False)

    def errors(
        self, feeds: Tensors, recorded: Tensors, names: Collection[str]
    ) -> dict[str, tuple[torch.Tensor, float]]:
        """What each of the recorded tensors `names` is off by itself, in float64, and the norm of the right answer.

        None of one that is no float, that has another shape, or that is not finite.
        """
        stand_in = _StandIn(recorded)
        found: dict[str, tuple[torch.Tensor, float]] = {}

        def keep(_: onnx.NodeProto, __: Sequence[Any], name: str, held: Value) -> None:
            exact = stand_in.computed.pop(name, None)
            if exact is None or name not in names or name in stand_in.other_shapes or exact.elem_type not in FLOATS:
                return
            right = exact.data.to(torch.float64)
            error = held.data.to(torch.float64) - right
            if bool(torch.isfinite(error).all()):
                found[name] = (error, float(torch.linalg.vector_norm(right)))

        self._exact.run(feeds, listen=keep, disturb=stand_in)
        return found

    def _write(self, feeds: Tensors, recorded: Tensors, out: Path, kept: Kept, *, any_size: bool) -> dict[str, Any]:
        squares: dict[str, float | None] = {}
        relative: dict[str, float] = {}
        left_out: dict[str, str] = {}
        floors: dict[str, Floor] = {}
        parts: dict[str, list[list[float]]] = {}
        steps = self._arithmetic is INT8
        with EntryWriter(out) as writer:
            stand_in = _StandIn(recorded, kept=kept, any_size=any_size)

            def keep(node: onnx.NodeProto, inputs: Sequence[Any], name: str, _: Value) -> None:
                value = stand_in.computed.pop(name, None)
                if value is None:
                    return
                if name not in recorded:
                    narrow = self._arithmetic is not FLOAT32
                    relative[name] = self._sigmas.relative(
                        node, inputs, name, value, stored=self._arithmetic.stores, represented=narrow
                    )
                    if name in self._rounded and not narrow and value.elem_type in STORED:
                        writer.add(name, value.elem_type, _stored(value))
                elif value.elem_type in STORED:
                    squares[name] = self._sigmas.sum_of_squares(
                        node, inputs, name, value, stored=kept.stored(name), represented=steps
                    )
                    writer.add(name, value.elem_type, _stored(kept.exact(node, inputs, name, value)))
                else:
                    left_out[name] = f"of type {type_name(value.elem_type)}"

            self._exact.run(feeds, listen=keep, disturb=stand_in)
            inside = self._inside(feeds, recorded, relative, writer, any_size=any_size)

            def measure(_: onnx.NodeProto, __: Sequence[Any], name: str, ___: Value) -> None:
                value = single.computed.pop(name, None)
                if value is not None and name in writer:
                    value = kept.single(name, value)
                    floors[name] = _with_sigma(floor_of(writer, name, value), squares.get(name), inside.get(name))
                    parts.update(_by_part(writer, name, value))

            single = _StandIn(recorded, kept=kept, any_size=any_size)
            self._float32.run(feeds, listen=measure, disturb=single)
            writer.finish(floors, left_out=left_out, about={"parts": parts})
        return {"count": len(floors), "left_out": left_out, "other_shapes": sorted(stand_in.other_shapes)}

    def _inside(
        self, feeds: Tensors, recorded: Tensors, relative: Mapping[str, float], exact: EntryWriter, *, any_size: bool
    ) -> dict[str, Sigma]:
        """What the errors of unrecorded operators become at the recorded tensors behind them."""
        if not any(relative.values()):
            return {}
        found: dict[str, Sigma] = {}

        def seen(name: str, value: Value) -> None:
            if name in exact:
                found.setdefault(name, Sigma()).add(exact, name, value)

        for number in range(BLOCK_RUNS):
            disturbed = Disturbed(relative, feeds, number)
            self._exact.run(feeds, disturb=_StandIn(recorded, disturbed, seen, any_size=any_size))
        return found


def _by_part(exact: EntryWriter, name: str, value: Value) -> dict[str, list[list[float]]]:
    """What the float32 run is off in each part of the tensor, under its name; nothing where it has no parts."""
    shape = exact.shape(name)
    if value.elem_type not in FLOATS or tuple(value.data.shape) != shape or not parts_of(shape):
        return {}
    truth = exact.block(name, 0, math.prod(shape)).reshape(shape)
    return {name: sums_by_part(truth, value.data.to(torch.float64).numpy()).tolist()}


class _StandIn:
    """What was recorded, in the place of what is computed, which is noted before it goes.

    With `any_size` a tensor of another size, as a pool by another rule makes it, too: what is behind it read that one.
    Where the graph can't be computed from it, float64's own goes on.
    """

    def __init__(
        self, recorded: Tensors, disturbed: Disturbed | None = None, seen: Any = None, kept: Kept | None = None, *,
        any_size: bool = False,
    ) -> None:  # fmt: skip
        self._recorded = recorded
        self._any_size = any_size
        self._kept = kept
        self._disturbed = disturbed
        self._seen = seen
        self.computed: dict[str, Value] = {}
        self.other_shapes: set[str] = set()

    def __call__(self, name: str, value: Value) -> Value:
        if self._seen is None:
            self.computed[name] = value
        elif name in self._recorded:
            self._seen(name, value)
        if name not in self._recorded:
            if self._disturbed is not None:
                return self._disturbed(name, value)
            return value if self._kept is None else self._kept.operand(name, value)
        array = self._recorded[name]
        if tuple(array.shape) != tuple(value.data.shape):
            self.other_shapes.add(name)
            if not self._any_size:
                return value
        return _held(array, value)


def _held(array: np.ndarray[Any, Any], like: Value) -> Value:
    value = from_numpy(array, like.elem_type)
    if isinstance(value.data, np.ndarray) or value.data.dtype is like.data.dtype:
        return value
    return replace(value, data=value.data.to(like.data.dtype))


def _stored(value: Value) -> np.ndarray[Any, Any]:
    return to_numpy(value, declared=value.elem_type not in FLOATS)


def _with_sigma(floor: Floor, squares: float | None, inside: Sigma | None) -> Floor:
    """The floor with its sigma: derived for the operator itself, simulated for what is unrecorded before it."""
    more, _ = (None, 0.0) if inside is None else inside.moments(floor)
    if squares is None and not more:
        return replace(floor, sigma_sq=None)
    total = (squares or 0.0) + (more or 0.0)
    # A derived variance is known as if from any number of runs, in which all elements take an equal part; of normal
    # errors in a tensor of some thousand elements the largest is about four times the rms.
    largest = 4 * math.sqrt(total / max(1, floor.n))
    return replace(
        floor, sigma_sq=total, sigma_quad=3 * total**2 / max(1, floor.n), sigma_runs=8,
        sigma_max=largest if inside is None else max(largest, inside.max_abs),
    )  # fmt: skip

