"""How much of an operator's error arrives at an output: the error that it made, put into the float64 network alone.

Everything else is exact, so what the output is then off by is that one error's doing, through every nonlinearity behind
it. Only what is computed from the tensor is computed again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor

from sysnoise_conform.backend import Tensors
from sysnoise_conform.golden.executor import Executor, Mode
from sysnoise_conform.golden.replay import Replayer
from sysnoise_conform.golden.types import FLOATS
from sysnoise_conform.golden.values import Value, settle

KEPT_BYTES = 2 << 30  # tensors of one float64 run; beyond, the whole network is computed again for each error

Gain = tuple[float, float]  # the error made and the error that arrives, each relative to its tensor


class Injector:
    """The gains of one model's tensors, for any number of recordings."""

    def __init__(self, model: onnx.ModelProto, base_dir: Path, replayer: Replayer) -> None:
        self._exact = Executor(model, Mode.FLOAT64, base_dir=base_dir)
        self._replayer = replayer
        made = {name for node in model.graph.node for name in node.output if name}
        self._kept = made | {each.name for each in model.graph.input}  # what is behind an error may read these, too

    def gains(
        self, feeds: Tensors, recorded: Tensors, names: Sequence[str], output: str, *, seconds: float
    ) -> dict[str, Gain]:
        """For each of `names`, in this order and until `seconds` are over, how its error arrives at `output`.

        Left out is a tensor of no floating-point type, and one whose error or its effect is zero or not finite.
        """
        over = time.monotonic() + seconds
        errors = self._replayer.errors(feeds, recorded, names)
        truth, with_error = self._runs(feeds, output, sum(array.size for array in recorded.values()))
        found: dict[str, Gain] = {}
        for name in names:
            if time.monotonic() > over:
                break
            if name not in errors:
                continue
            error, size = errors.pop(name)
            arrived = with_error(name, error)
            if arrived.shape != truth.shape:
                continue
            gain = (_ratio(_norm(error), size), _ratio(_norm(arrived - truth), _norm(truth)))
            if all(math.isfinite(each) and each > 0 for each in gain):
                found[name] = gain
        return found

    def _runs(
        self, feeds: Tensors, output: str, elements: int
    ) -> tuple[Tensor, Callable[[str, Tensor], Tensor]]:
        """The output of the undisturbed run, and how to get it with an error in one tensor."""
        if 8 * elements <= KEPT_BYTES:
            exact = self._exact.run(feeds, keep=self._kept)

            def followed(name: str, error: Tensor) -> Tensor:
                value = exact[name]
                assert isinstance(value, Value)
                return _wide(self._exact.follow(exact, {name: _with(value, error)})[output])

            return _wide(exact[output]), followed

        def whole(name: str, error: Tensor) -> Tensor:
            def disturb(each: str, value: Value) -> Value:
                return _with(value, error) if each == name else value

            return _wide(self._exact.run(feeds, disturb=disturb)[output])

        return _wide(self._exact.run(feeds)[output]), whole


def _with(value: Value, error: Tensor) -> Value:
    if value.elem_type not in FLOATS or value.data.shape != error.shape:
        return value
    return Value(settle(value.data.to(torch.float64) + error, value.elem_type, torch.float64), value.elem_type)


def _wide(value: object) -> Tensor:
    if not isinstance(value, Value) or value.elem_type not in FLOATS:
        return torch.zeros(0, dtype=torch.float64)
    wide: Tensor = value.data.to(torch.float64)
    return wide


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
