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
from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.floor import Sigma, floor_of
from sysnoise_conform.golden.sigma import Sigmas
from sysnoise_conform.golden.simulation import Disturbed
from sysnoise_conform.golden.types import FLOATS, type_name
from sysnoise_conform.golden.values import Value, from_numpy, to_numpy
from sysnoise_conform.outcome import Floor
from sysnoise_conform.store.entry import STORED, EntryWriter

BLOCK_RUNS = 4  # simulated runs that tell what the inside of blocks may be off

# Bits of a float32's mantissa that a dot product in this arithmetic drops from its operands.
DROPPED_BITS = {"bfloat16": 16, "float16": 13, "tf32": 13}
_DOT_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Replayer:
    """The references of one model, for any number of recordings.

    With `operands`, one of `DROPPED_BITS`, what operators read is rounded to that format first, and so are the weights
    of dot products: what a unit gives that multiplies in it and adds in float32. (float16's narrower range is lost.)
    """

    def __init__(self, model: onnx.ModelProto, base_dir: Path, operands: str | None = None) -> None:
        self._dropped = 0 if operands is None else DROPPED_BITS[operands]
        if self._dropped:
            model = _rounded_weights(model, base_dir, self._dropped)
        self._exact = Executor(model, Mode.FLOAT64, base_dir=base_dir)
        self._float32 = Executor(model, Mode.FLOAT32, base_dir=base_dir)
        self._sigmas = Sigmas(model)
        self.inputs = frozenset(each.name for each in model.graph.input)

    def write(self, feeds: Tensors, recorded: Tensors, out: Path) -> dict[str, Any]:
        """Write an entry: for each recorded tensor what its operator gives in float64, and that one operator's floor.

        The floor's sums are those of the same operator in float32 on the same inputs; its sigma is derived, with what
        the unrecorded operators before it add. Raises what the golden raises.
        """
        if self._dropped:
            feeds, recorded = (
                {name: rounded(array, self._dropped) for name, array in each.items()} for each in (feeds, recorded)
            )
        try:
            return self._write(feeds, recorded, out)
        except BadModel:  # what a backend gave for an index, a size or a condition may be impossible
            floats = {name: array for name, array in recorded.items() if array.dtype.kind not in "iub"}
            if len(floats) == len(recorded):
                raise
            out.write_bytes(b"")
            return self._write(feeds, floats, out)

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

    def _write(self, feeds: Tensors, recorded: Tensors, out: Path) -> dict[str, Any]:
        squares: dict[str, float | None] = {}
        relative: dict[str, float] = {}
        left_out: dict[str, str] = {}
        floors: dict[str, Floor] = {}
        with EntryWriter(out) as writer:
            stand_in = _StandIn(recorded)

            def keep(node: onnx.NodeProto, inputs: Sequence[Any], name: str, _: Value) -> None:
                value = stand_in.computed.pop(name, None)
                if value is None:
                    return
                if name not in recorded:
                    relative[name] = self._sigmas.relative(node, inputs, name, value)
                elif value.elem_type in STORED:
                    squares[name] = self._sigmas.sum_of_squares(node, inputs, name, value)
                    writer.add(name, value.elem_type, _stored(value))
                else:
                    left_out[name] = f"of type {type_name(value.elem_type)}"

            self._exact.run(feeds, listen=keep, disturb=stand_in)
            inside = self._inside(feeds, recorded, relative, writer)

            def measure(_: onnx.NodeProto, __: Sequence[Any], name: str, ___: Value) -> None:
                value = single.computed.pop(name, None)
                if value is not None and name in writer:
                    floors[name] = _with_sigma(floor_of(writer, name, value), squares.get(name), inside.get(name))

            single = _StandIn(recorded)
            self._float32.run(feeds, listen=measure, disturb=single)
            writer.finish(floors, left_out=left_out)
        return {"count": len(floors), "left_out": left_out, "other_shapes": sorted(stand_in.other_shapes)}

    def _inside(
        self, feeds: Tensors, recorded: Tensors, relative: Mapping[str, float], exact: EntryWriter
    ) -> dict[str, Sigma]:
        """What the errors of unrecorded operators become at the recorded tensors behind them."""
        if not any(relative.values()):
            return {}
        found: dict[str, Sigma] = {}

        def seen(name: str, value: Value) -> None:
            if name in exact:
                found.setdefault(name, Sigma()).add(exact, name, value)

        for number in range(BLOCK_RUNS):
            self._exact.run(feeds, disturb=_StandIn(recorded, Disturbed(relative, feeds, number), seen))
        return found


def rounded(array: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """A float32 array rounded to nearest even without its last `bits` of the mantissa; another type as it is."""
    if array.dtype != np.float32:
        return array
    whole = np.ascontiguousarray(array).view(np.uint32)
    half = np.uint32((1 << (bits - 1)) - 1)
    kept = (whole + half + ((whole >> np.uint32(bits)) & np.uint32(1))) & ~np.uint32((1 << bits) - 1)
    return np.where(np.isfinite(array), kept.view(np.float32), array).reshape(array.shape)


def _rounded_weights(model: onnx.ModelProto, base_dir: Path, bits: int) -> onnx.ModelProto:
    weights = {name for node in model.graph.node if node.op_type in _DOT_PRODUCTS for name in node.input[:2]}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for each in made.graph.initializer:
        if each.name in weights and each.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(each, base_dir=str(base_dir))
            each.CopyFrom(onnx.numpy_helper.from_array(rounded(array, bits), each.name))
    return made


class _StandIn:
    """What was recorded, in the place of what is computed, which is noted before it goes."""

    def __init__(self, recorded: Tensors, disturbed: Disturbed | None = None, seen: Any = None) -> None:
        self._recorded = recorded
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
            return value if self._disturbed is None else self._disturbed(name, value)
        array = self._recorded[name]
        if tuple(array.shape) != tuple(value.data.shape):  # nothing behind it could be computed from that
            self.other_shapes.add(name)
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

